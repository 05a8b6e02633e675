"""README and docs against the project: links, verbs, commands, options, variables, fields, checks.

With COSMO_UPDATE_GOLDEN=1 the generated blocks of docs/cli.md, docs/recipes.md, docs/decontamination.md and
docs/format.md are written anew.
"""

import ast
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from cosmo_assets.recipe.recipe import SHIPPED, load_recipe
from cosmo_assets.schemas.corpus import EXPORTED_DOCUMENTS, TOKEN_LINEAGE, TOKENIZED_SHARDS
from cosmo_resources.deployments import CONCURRENCY, settings
from cosmo_resources.storage.manifest import FileEntry, Flow, InputRef, Manifest, Tokens
from tests.corpora import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
DEPLOY = sorted((ROOT / "deploy").rglob("README.md"))
PAGES = [ROOT / "README.md", *DOCS, *DEPLOY, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
WIDTH = 100
CHEAP = ("plan", "doctor")
"""Commands that are run as they stand in the documents, unless they ask a cluster: they build nothing."""

LINK = re.compile(r"(!?)\[[^\]]*\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"<!-- begin: (?P<name>\w+) -->\n(?P<body>.*?)<!-- end: (?P=name) -->", re.DOTALL)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def shell_lines(path: Path) -> Iterator[str]:
    """The command lines of a page's shell blocks; what lies inside a here-document is none."""
    for language, body in FENCE.findall(text_of(path)):
        end = None
        for line in body.splitlines() if language == "bash" else ():
            if end is None:
                yield line
                end = here.group(1) if (here := re.search(r"<<-?\s*'?(\w+)'?", line)) else None
            elif line.strip() == end:
                end = None


def commands(path: Path) -> Iterator[list[str]]:
    """The arguments of every `cosmo` that a page's shell blocks call."""
    for line in shell_lines(path):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words and words[0] in ("cosmo", ".venv/bin/cosmo"):
            yield words[1:]


COMMANDS = [(page, arguments) for page in PAGES for arguments in commands(page)]


RUN_BY = {
    "tasks.md": "tests/e2e/test_tasks.py",
    "deployment.md": "tests/deploy/test_deployment_page.py",
    "slurm.md": "tests/slurm/test_slurm_page.py",
    "quantity.md": "tests/e2e/test_budget.py",
    "composition.md": "tests/e2e/test_weights.py",
    "proxy.md": "tests/e2e/test_ablation.py",
    "format.md": "tests/e2e/test_nanotron.py",
}
"""Which test types the commands of a page; of those that are not here, tests/e2e/test_demo.py does."""


def verbs() -> set[str]:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text_of(ROOT / "Makefile"), re.MULTILINE)
    return set(phony.split())


def tracked() -> list[Path]:
    """The files that git has or would take."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git repository")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_and_picture_exists(page: Path) -> None:
    for picture, target in LINK.findall(text_of(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), f"{page.name}: {target}"
        if picture:
            assert found.read_bytes()[:4] == b"\x89PNG", f"{page.name}: {target} is no picture"
            assert found.stat().st_size <= 400_000, f"{page.name}: {target} is too large"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(found), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name}: {target}"


def test_every_picture_has_words_for_those_who_do_not_see_it() -> None:
    pictures = [found for page in PAGES for found in re.findall(r"!\[([^\]]*)\]", text_of(page))]
    assert len(pictures) >= 4
    assert all(len(words) > 30 for words in pictures)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_the_documentation_links_to_nothing_outside_itself(page: Path) -> None:
    for _, target in LINK.findall(text_of(page)):
        assert re.match(r"https?://", target) or not target.startswith(".."), "mkdocs would not find it"


def test_every_page_is_in_the_navigation_and_named_on_the_first() -> None:
    first = set(re.findall(r"\]\((\w+\.md)\)", text_of(ROOT / "docs" / "index.md")))
    assert {page.name for page in DOCS} - {"index.md"} == first
    assert {f": {page.name}" for page in DOCS} <= set(re.findall(r": \w+\.md", text_of(ROOT / "mkdocs.yml")))


def test_the_tests_that_hold_a_claim_are_there() -> None:
    named = set(re.findall(r"`([\w/]+/test_\w+\.py)`", text_of(ROOT / "docs" / "claims.md")))
    assert len(named) > 15
    for name in named:
        assert any((ROOT / "tests" / at / name).is_file() for at in ("", "unit/cosmo_assets")), name


def test_verbs_exist_and_are_documented() -> None:
    makefile, documented = text_of(ROOT / "Makefile"), set()
    assert len(verbs()) <= 14
    for page in PAGES:
        words = [line for line in shell_lines(page) if re.match(r"(\w+=\S+ )*make ", line)]
        words += re.findall(r"`(make [a-z][^`]*)`", text_of(page))
        for words_of_line in words:
            documented |= set(re.findall(r"make ([a-z-]+)", words_of_line.split("#")[0]))
    assert documented <= verbs()
    for verb in verbs():
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE)
        assert verb in documented or f"`{verb}`" in text_of(ROOT / "README.md"), f"make {verb} is not documented"


def test_the_commands_of_every_page_are_typed_by_a_test() -> None:
    for page in {page for page, _ in COMMANDS}:
        test = ROOT / RUN_BY.get(page.name, "tests/e2e/test_demo.py")
        assert re.search(rf'["/]{page.name}"', text_of(test)), f"{page.name}: not in {test.name}"


def test_there_are_commands_to_look_at() -> None:
    used = {next(word for word in arguments if word in main.commands) for _, arguments in COMMANDS}
    assert used == set(main.commands)


@pytest.mark.parametrize(
    ("page", "arguments"), COMMANDS, ids=lambda value: value.name if isinstance(value, Path) else " ".join(value)
)
def test_a_command_line_parses(
    page: Path, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for template in (word for word in arguments if word.startswith("templates/")):
        Path("templates").mkdir()
        Path(template).touch()
    context = main.make_context("cosmo", [], resilient_parsing=True)
    _, rest, _ = main.make_parser(context).parse_args(list(arguments))
    name, command, rest = main.resolve_command(context, rest)
    assert command is not None
    command.make_context(name, rest, parent=context)
    recipes = [value for option, value in pairwise(arguments) if option in ("--recipe", "-r")]
    if (
        name not in CHEAP
        or "--slurm" in arguments
        or any(not (SHIPPED / f"{recipe}.yaml").is_file() for recipe in recipes)
    ):
        return
    for variable in settings_read() | {"COSMO_SAMPLES"}:  # the command sets some itself: they are put back afterwards
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("COSMO_DATA", str(tmp_path))
    found = CliRunner().invoke(main, arguments)
    needs = any("$" in source.path for recipe in recipes for source in load_recipe(recipe).sources)
    assert found.exit_code == (1 if needs and name == "doctor" else 0), found.output


def settings_read() -> set[str]:
    """The environment variables that `settings` reads."""
    return set(re.findall(r'"(COSMO_[A-Z]+)"', text_of(ROOT / "cosmo_resources" / "deployments.py")))


def test_the_environment_variables_are_those_that_are_read() -> None:
    architecture = text_of(ROOT / "docs" / "architecture.md")
    (table,) = re.findall(r"^\| environment variable .*?\n\n", architecture, re.MULTILINE | re.DOTALL)
    rows = dict(re.findall(r"^\| `(COSMO_[A-Z]+)` \| (.*?) \|", table, re.MULTILINE))
    assert set(rows) == settings_read()
    chosen = settings({})
    for name, value in (
        ("DEPLOYMENT", chosen.deployment),
        ("RECIPE", chosen.recipe),
        ("MODEL", chosen.model),
        ("WORKERS", chosen.workers),
        ("CONCURRENCY", chosen.concurrency or CONCURRENCY),
    ):
        assert rows[f"COSMO_{name}"] == f"`{value}`"
    assert (ROOT / rows["COSMO_DATA"].strip("`")).name == chosen.data.name
    assert (ROOT / rows["COSMO_STATE"].strip("`")).name == chosen.state.name


def test_every_variable_that_is_named_is_read_somewhere() -> None:
    elsewhere = "".join(
        text_of(path)
        for folder in ("cosmo_assets", "cosmo_resources", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml") and path.name != Path(__file__).name
    )
    named = {name for page in PAGES for name in re.findall(r"COSMO_[A-Z_]+", text_of(page))}
    assert {name for name in named if name not in elsewhere} == set()


def test_no_path_of_a_machine_and_no_package_index_is_in_the_project() -> None:
    machine = re.compile(r"(?<![\w.$}-])/(?:work|root|home|Users)/\w")
    index = re.compile(r"https?://[^\s\"'<>)]*(?:pypi|pythonhosted|anaconda|conda-forge|npmjs|/simple\b)")
    for path in tracked():
        if path.suffix in (".png", ".xz", ".bz2", ".gz") or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            assert not machine.search(line), f"{path.relative_to(ROOT)}:{number}"
            assert not index.search(line), f"{path.relative_to(ROOT)}:{number}"


def test_the_readme_names_tests_that_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(tests/[\w/.<>]*|cosmo_[\w/.<>]*\.\w+)`", text_of(page))}
    assert len(named) > 15
    for name in named:
        assert "<" in name or (ROOT / name).exists(), name


def test_python_in_the_documents_imports_what_exists() -> None:
    looked_at = 0
    for page in PAGES:
        for language, body in FENCE.findall(text_of(page)):
            for node in ast.walk(ast.parse(body)) if language == "python" else ():
                if isinstance(node, ast.ImportFrom):
                    assert node.module is not None
                    if node.module.startswith("cosmo_"):
                        module = importlib.import_module(node.module)
                        assert all(hasattr(module, alias.name) for alias in node.names)
                        looked_at += 1
    assert looked_at


def test_every_check_and_every_field_of_a_manifest_is_described() -> None:
    page = text_of(ROOT / "docs" / "architecture.md")
    for path in sorted((ROOT / "cosmo_assets").glob("*/checks.py")):
        module = importlib.import_module(f"cosmo_assets.{path.parent.name}.checks")
        checks = [check for name, found in vars(module).items() if name.endswith("CHECKS") for check in found]
        assert checks, path
        for check in checks:
            assert f"`{check.name}`" in page, f"{path.parent.name}: {check.name}"
    for model in (Manifest, FileEntry, Flow, InputRef, Tokens):
        for name in model.model_fields:
            assert f"`{name}`" in page, f"{model.__name__}.{name}"


def reference() -> ModuleType:
    specification = importlib.util.spec_from_file_location("recipe_reference", ROOT / "docs" / "recipe_reference.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def helps() -> str:
    """The --help texts of all commands as Markdown."""
    parts = []
    for arguments in ([], *([name] for name in main.commands)):
        words = ["cosmo", *arguments]
        found = CliRunner().invoke(main, [*arguments, "--help"], prog_name="cosmo", terminal_width=WIDTH)
        assert found.exit_code == 0
        parts.append(f"## `{' '.join(words)}`\n\n```text\n{found.output.rstrip()}\n```\n")
    return "\n".join(parts)


GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("cli.md", "help"): helps,
    ("recipes.md", "fields"): lambda: reference().reference(),
    ("recipes.md", "readers"): lambda: reference().readers(),
    ("recipes.md", "templates"): lambda: reference().templates(),
    ("decontamination.md", "benchmarks"): lambda: reference().benchmarks(),
    ("decontamination.md", "parts"): lambda: reference().parts(),
    ("format.md", "lineage"): lambda: reference().columns(TOKEN_LINEAGE, TOKENIZED_SHARDS.names),
    ("format.md", "exported"): lambda: reference().columns(EXPORTED_DOCUMENTS),
}


@pytest.mark.parametrize(("page", "name"), GENERATED, ids=str)
def test_a_generated_block_is_what_the_code_says(page: str, name: str) -> None:
    path, expected = ROOT / "docs" / page, f"\n{GENERATED[page, name]()}\n"
    if os.environ.get("COSMO_UPDATE_GOLDEN"):
        block = f"<!-- begin: {name} -->\n{expected}<!-- end: {name} -->"
        path.write_text(
            BLOCK.sub(lambda found: block if found["name"] == name else found[0], text_of(path)), encoding="utf-8"
        )
    found = {block["name"]: block["body"] for block in BLOCK.finditer(text_of(path))}
    assert found[name] == expected, "look at the diff; COSMO_UPDATE_GOLDEN=1 accepts it"


def test_a_field_without_a_meaning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = reference()
    monkeypatch.delitem(module.MEANINGS["Limits"], "max_failed")
    with pytest.raises(KeyError, match="max_failed"):
        module.reference()
