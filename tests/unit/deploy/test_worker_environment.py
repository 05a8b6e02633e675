"""The environment of workers: its list is pinned, complete and has nothing too much, and the real one does a bucket."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cosmo_assets.generation.generate import WORKER
from cosmo_assets.generation.plan import GenerationPlan
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.pools.task import SPEC_NAME, TaskSpec
from tests.corpora import ROOT
from tests.unit.cosmo_assets.generation.jobs import job, sealed_rows
from tests.unit.cosmo_assets.synthetic import MODEL, recipe

REQUIREMENTS = ROOT / "deploy" / "slurm" / "worker-requirements.txt"
ROWS = 23


def pins(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def names() -> set[str]:
    return {re.split("[=;<> ]", pin)[0] for pin in pins(REQUIREMENTS)}


def bucket(folder: Path) -> tuple[GenerationPlan, Path]:
    """A job with its task's description, whose server is the replay server."""
    plan, place = job(folder, recipe(), ROWS)
    program = [sys.executable, "-m", "tests.doubles.replay_program", "--port", "{port}", "--model", "{name}"]
    (folder / "state").mkdir()
    server = ServerSpec(
        engine="command",
        model=MODEL,
        command=(*program, "--state", str(folder / "state")),
        environment={"PYTHONPATH": str(ROOT)},
    )
    task = TaskSpec(module=WORKER, server=server, concurrency=4, shards=plan.shards)
    (place / SPEC_NAME).write_text(task.model_dump_json(), encoding="utf-8")
    return plan, place


def run(python: Path | str, arguments: Sequence[str], folder: Path, **environment: str) -> str:
    """Run Python away from the project, and without what the environment says of Python, Slurm or Cosmo."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SLURM", "COSMO"))}
    done = subprocess.run(
        [str(python), *arguments],
        env={**clean, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def listed(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a Python that sees the packages of the list alone."""
    shutil.copy(Path(__file__).with_name("only_listed.py"), tmp_path / "sitecustomize.py")
    (tmp_path / "used").mkdir()
    return {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "COSMO_TEST_LISTED": " ".join(names()),
        "COSMO_TEST_USED": str(tmp_path / "used"),
    }


def test_every_line_is_one_of_the_constraints() -> None:
    assert set(pins(REQUIREMENTS)) <= set(pins(ROOT / "constraints.txt"))
    assert all("==" in pin for pin in pins(REQUIREMENTS))


def test_a_bucket_is_made_with_these_packages_and_all_of_them(tmp_path: Path, listed: dict[str, str]) -> None:
    plan, place = bucket(tmp_path)
    run(sys.executable, ["-m", "cosmo_resources.pools.task", str(place)], tmp_path, **listed)
    assert len(sealed_rows(plan, place)) == ROWS
    told = [set(path.read_text(encoding="utf-8").split()) for path in (tmp_path / "used").glob("*.txt")]
    assert any("aiohttp" in used for used in told), "the worker had the same restriction"
    assert set.union(*told) == names()


@pytest.mark.parametrize("module", ["cosmo_resources.pools.agent", "cosmo_resources.examination.probe"])
def test_other_programs_of_nodes_need_no_more(module: str, tmp_path: Path, listed: dict[str, str]) -> None:
    run(sys.executable, ["-c", f"import {module}"], tmp_path, **listed)


def test_what_is_not_listed_is_hidden(tmp_path: Path, listed: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="No module named 'polars' in the environment of workers"):
        run(sys.executable, ["-c", "import polars"], tmp_path, **listed)


@pytest.mark.slow
def test_the_environment_that_make_builds_makes_a_bucket(tmp_path: Path) -> None:
    where = tmp_path / "worker-env"
    make = ["make", "-o", ".venv/installed", f"BIN={Path(sys.executable).parent}", f"PYTHON={sys.executable}"]
    done = subprocess.run(
        [*make, "worker-env", f"WORKER_ENV={where}"], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    if done.returncode and re.search(r"connection|network|resolve|retries", done.stderr, re.IGNORECASE):
        pytest.skip(f"no package index: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    python = where / "bin" / "python"
    listing = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    there = {name.lower().replace("_", "-") for name in run(python, ["-c", listing], tmp_path).split()}
    assert there - {"pip", "setuptools"} == names() | {"cosmo"}
    assert run(python, ["-c", "import cosmo_assets; print(cosmo_assets.__file__)"], tmp_path).startswith(str(where))
    plan, place = bucket(tmp_path)
    run(python, ["-m", "cosmo_resources.pools.task", str(place)], tmp_path)
    assert len(sealed_rows(plan, place)) == ROWS
