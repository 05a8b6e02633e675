"""Prompt templates: Markdown files with a YAML front matter, read, checked, and rendered for one seed.

Belongs here: what a template file may hold, the fence around a seed's extract, the renderer. Does not belong here:
which seed meets which template, or how long an extract is (`cosmo_assets.prompts.extracts`).
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import jinja2
import pydantic
import yaml
from jinja2 import meta, nodes
from jinja2.sandbox import SandboxedEnvironment
from pydantic import Field

from cosmo_assets.recipe import Count, SourceKind
from cosmo_resources.errors import CosmoError

SHIPPED = Path(__file__).parent / "templates"

Words = Annotated[str, Field(min_length=1)]

_FILE = re.compile(r"---\n(?P<fields>.*?\n)---\n(?P<body>.*)", re.DOTALL)
_FENCE_WIDTH = 5


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class Template:
    """A way to ask for a text. `kinds` are the kinds of source whose seeds it suits, `max_tokens` bounds the answer
    (tokens of the generator), `body` is the Jinja source."""

    id: Words
    version: Words
    kinds: Annotated[tuple[SourceKind, ...], Field(min_length=1)]
    audience: Words
    format: Words
    max_tokens: Count
    body: Words
    description: str = ""


@dataclasses.dataclass(frozen=True)
class SeedView:
    """What a template sees of a seed: the variables of its body.

    `context` is where the seed stands in its source (book and chapter, course subject, topic-tree path), outermost
    first. `extract` is raw; the renderer fences it. `name_topic` says whether the prompt shall name the topic. `unit`
    is the unit of the course that the prompt is about, `outline` all its units; a seed without an outline has neither.
    """

    title: str | None
    context: tuple[str, ...]
    extract: str
    topic: str | None
    name_topic: bool
    unit: str | None = None
    outline: tuple[str, ...] = ()


_TRIAL = SeedView("Title", ("Book", "Chapter"), "Extract.", "Topic", name_topic=True, unit="Unit", outline=("Unit",))


def load_templates(folders: Sequence[Path]) -> dict[str, Template]:
    """The shipped templates, then those of each folder (`*.md`), by id; a later one replaces one of the same id.

    Raises:
        CosmoError: a folder without templates, or a file that is no template; the message names the file, the field
            and, in the body, the line.
    """
    templates: dict[str, Template] = {}
    for folder in (SHIPPED, *folders):
        paths = sorted(folder.glob("*.md"))
        if not paths:
            raise CosmoError(f"no templates (*.md) in {folder}", remedy="correct the folder, or add a template to it")
        templates |= {path.stem: _read(path) for path in paths}
    return templates


def render(template: Template, view: SeedView) -> str:
    """The prompt for one seed. Title, topic and context come out as single lines, the extract verbatim inside its
    fence (an empty one without a fence, so that a body can test for it); nothing in them is taken for Jinja.

    Raises:
        CosmoError: the body fails on this seed, for example prints the title of a seed that has none.
    """
    values = {
        "title": _one_line(view.title),
        "context": tuple(line for part in view.context if (line := _one_line(part))),
        "extract": fence(view.extract) if view.extract.strip() else "",
        "topic": _one_line(view.topic),
        "name_topic": view.name_topic,
        "unit": _one_line(view.unit),
        "outline": tuple(line for unit in view.outline if (line := _one_line(unit))),
    }
    try:
        return _compiled(template.body).render(values).strip()
    except Exception as error:  # a body is somebody's program: it can raise anything
        raise CosmoError(
            f"template {template.id}, body: {error}", remedy="mend the body, or use the template for other seeds"
        ) from error


def variables(template: Template) -> set[str]:
    """The variables that a template's body reads."""
    return meta.find_undeclared_variables(_ENVIRONMENT.parse(template.body))


def fence(extract: str) -> str:
    """The extract, unchanged, between two lines that cannot occur inside it: their runs of "=" are longer than any of
    its own. So no seed can close its fence and go on as if it were the prompt."""
    longest = max(map(len, re.findall("=+", extract)), default=0)
    marker = "=" * max(_FENCE_WIDTH, longest + 1)
    return f"{marker}\n{extract}\n{marker}"


def _one_line(text: str | None) -> str | None:
    return " ".join((text or "").split()) or None


def _no_none(value: object) -> object:
    """Jinja prints None as "None": in a prompt that is a silent defect."""
    if value is None:
        raise jinja2.UndefinedError("prints a variable that has no value here; test it first, as in {% if title %}")
    return value


def _environment() -> SandboxedEnvironment:
    """No globals, and no `random` filter: a prompt is a function of its template and seed alone."""
    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_no_none
    )
    environment.globals.clear()
    del environment.filters["random"]
    return environment


_ENVIRONMENT = _environment()


@functools.cache
def _compiled(body: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(body)


def _read(path: Path) -> Template:
    try:
        parts = _FILE.fullmatch(path.read_text(encoding="utf-8"))
        fields = yaml.safe_load("\n" + parts["fields"]) if parts else None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise CosmoError(f"{path}, front matter: {error}", remedy="mend the file (UTF-8, YAML)") from error
    if parts is None or not isinstance(fields, dict):
        raise CosmoError(f"{path}: no front matter", remedy="begin the file with YAML fields between two lines of ---")
    if "body" in fields:
        raise CosmoError(f"{path}, body: no field of the front matter", remedy="write the body after the second ---")
    try:
        template = Template(**{str(key): value for key, value in fields.items()}, body=parts["body"].strip())
    except pydantic.ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise CosmoError(f"{path}:\n  " + "\n  ".join(lines), remedy="correct these fields") from error
    if template.id != path.stem:
        raise CosmoError(f"{path}, id: {template.id!r} is not the file's name", remedy=f"write id: {path.stem}")
    _check_body(path, parts["body"], first_line=parts.string[: parts.start("body")].count("\n") + 1)
    try:
        render(template, _TRIAL)
    except CosmoError as error:
        raise CosmoError(f"{path}: {error.message}", remedy="mend the body") from error
    return template


def _check_body(path: Path, body: str, *, first_line: int) -> None:
    known = {field.name for field in dataclasses.fields(SeedView)}
    try:
        tree = _ENVIRONMENT.parse(body)
        _ENVIRONMENT.compile(tree)  # finds unknown filters and tests, which parsing does not
    except jinja2.TemplateSyntaxError as error:
        line = first_line + error.lineno - 1
        raise CosmoError(f"{path}, body, line {line}: {error.message}", remedy="mend the Jinja syntax") from error
    if unknown := meta.find_undeclared_variables(tree) - known:
        line = first_line - 1 + min(name.lineno for name in tree.find_all(nodes.Name) if name.name in unknown)
        raise CosmoError(
            f"{path}, body, line {line}: unknown variable {', '.join(sorted(unknown))}",
            remedy=f"use only {', '.join(sorted(known))}",
        )
