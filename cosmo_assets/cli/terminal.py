"""What all commands share: the terminal, errors on it, and the corpus that the options chose.

Belongs here: what several modules of commands need. Does not belong here: a command, or an import that takes long:
`cosmo --help` answers at once.
"""

import os
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from cosmo_resources.errors import CosmoError

if TYPE_CHECKING:
    from cosmo_assets.recipe.recipe import Recipe
    from cosmo_resources.deployments import Settings
    from cosmo_resources.storage.store import CorpusStore

console = Console()


class Commands(click.Group):
    """A group whose commands end on a `CosmoError` with its message and exit code 1, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CosmoError as error:
            stderr = Console(stderr=True, soft_wrap=True)
            stderr.print(f"[bold red]error[/] {escape(error.message)}", highlight=False)
            stderr.print(f"[bold]remedy[/] {escape(error.remedy)}", highlight=False)
            sys.exit(1)


def choose_recipe(recipe: str) -> None:
    """Make a recipe the one of this process and of its children; a file's path is taken from the working folder."""
    os.environ["COSMO_RECIPE"] = recipe if not recipe.endswith((".yaml", ".yml")) else str(Path(recipe).absolute())


def open_corpus() -> "tuple[Settings, Recipe, CorpusStore]":
    """The corpus that options and environment choose; while the command runs, `cosmo gc` leaves alone what it reads.

    Raises:
        CosmoError: a setting or the recipe is wrong.
    """
    from cosmo_assets.recipe.recipe import load_recipe
    from cosmo_resources.deployments import settings
    from cosmo_resources.storage.garbage import READER
    from cosmo_resources.storage.store import CorpusStore

    chosen = settings(os.environ)
    recipe = load_recipe(chosen.recipe)
    store = CorpusStore(chosen.data / recipe.name)
    if store.root.is_dir():
        click.get_current_context().with_resource(store.hold(f"{READER}{uuid.uuid4().hex}"))
    return chosen, recipe, store


def warn(warnings: Iterable[str]) -> None:
    """Print what checks warn of."""
    for warning in warnings:
        console.print(f"[yellow]check warns[/] {escape(warning)}", highlight=False)


def print_json(values: Any) -> None:
    """Print values for programs, as they are: nothing is wrapped or coloured."""
    import json

    click.echo(json.dumps(values, ensure_ascii=False, indent=1))
