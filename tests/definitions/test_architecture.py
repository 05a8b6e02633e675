"""The two rules of direction: who may import Dagster, and who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpora import ROOT

MAY_IMPORT_DAGSTER = {
    "definitions", "build", "partitions", "automation", "sensors", "reporting", "adopt", "assets", "checks"
}  # fmt: skip
RESOURCES_MAY_IMPORT_DAGSTER = {"resources", "deployments"}
MODULES = sorted(path for package in ("cosmo_assets", "cosmo_resources") for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 60


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dagster_is_imported_only_where_it_may_be(path: Path) -> None:
    allowed = MAY_IMPORT_DAGSTER if path.is_relative_to(ROOT / "cosmo_assets") else RESOURCES_MAY_IMPORT_DAGSTER
    uses = any(name.split(".")[0].startswith("dagster") for name in imports(path))
    assert not uses or path.stem in allowed


@pytest.mark.parametrize("path", [path for path in MODULES if path.is_relative_to(ROOT / "cosmo_resources")], ids=str)
def test_resources_never_import_assets(path: Path) -> None:
    assert not any(name.split(".")[0] == "cosmo_assets" for name in imports(path))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_belongs_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py":
        assert text == "", "an __init__.py stays empty"
        return
    docstring = ast.get_docstring(ast.parse(text)) or ""
    said = " ".join(docstring.split())
    assert "elongs here" in said
    assert "ot belong here" in said


def test_the_worker_runs_without_dagster() -> None:
    program = "import sys, cosmo_assets.generation.worker; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0


def test_every_stage_has_its_assets_and_checks_beside_its_logic() -> None:
    stages = sorted(path.parent for path in (ROOT / "cosmo_assets").glob("*/assets.py"))
    assert len(stages) == 19
    for stage in stages:
        assert (stage / "checks.py").is_file()
        assert len(list(stage.glob("*.py"))) > 3, f"{stage} has no module of its own logic"
