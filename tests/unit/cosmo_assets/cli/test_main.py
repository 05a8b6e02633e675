"""The tree of commands: none is forgotten, all lie in the room, and help waits for no heavy import."""

import importlib
import subprocess
import sys

import click
import pytest

from cosmo_assets.cli.main import COMMANDS, main
from tests.corpora import ROOT

ROOM = ROOT / "cosmo_assets" / "cli"
HEAVY = ("dagster", "polars", "pyarrow", "numpy", "pydantic", "rich.progress")


def test_every_command_of_the_room_is_in_the_tree() -> None:
    modules = [importlib.import_module(f"cosmo_assets.cli.{path.stem}") for path in ROOM.glob("[!_]*.py")]
    written = {one for module in modules for one in vars(module).values() if isinstance(one, click.Command)}
    assert written == {main, *COMMANDS}
    assert set(main.commands.values()) == set(COMMANDS)


@pytest.mark.parametrize("arguments", [[], *([name] for name in main.commands)], ids=lambda words: " ".join(words))
def test_help_imports_nothing_that_takes_long(arguments: list[str]) -> None:
    program = (
        "import atexit, os, sys; from cosmo_assets.cli.main import main; "
        f"atexit.register(lambda: os._exit(1) if set({HEAVY}) & set(sys.modules) else None); main()"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, "something heavy is imported outside a command"
    assert found.stdout.startswith("Usage: ")
