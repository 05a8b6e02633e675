"""The program `cosmo`: its commands at a glance, and the options before them.

Belongs here: which commands there are. Does not belong here: a command; each lies in the module that `COMMANDS` names,
with its options, its output and its exit code, and calls what is importable elsewhere. What takes long to import
(Dagster, polars, ...) is imported inside the commands.
"""

import os
from pathlib import Path

import click

from cosmo_assets.cli import (
    budgeting,
    housekeeping,
    machine,
    planning,
    proving,
    purging,
    running,
    tracing,
    training,
    weighing,
)
from cosmo_assets.cli.terminal import Commands, choose_recipe

COMMANDS = (
    running.run, running.watch,
    planning.plan, planning.preview, planning.pilot, planning.lint,
    budgeting.budget, weighing.weights, proving.ablation, proving.mixtures, proving.doge, proving.doremi,
    tracing.trace, tracing.tokens, tracing.lineage, tracing.diff,
    training.nanotron,
    purging.purge,
    housekeeping.adopt, housekeeping.gc, housekeeping.prune,
    machine.doctor, machine.tune,
)  # fmt: skip


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--recipe", "-r", help="Recipe: a shipped name or a .yaml file. Default: $COSMO_RECIPE, else demo.")
@click.option("--data", type=click.Path(path_type=Path), help="Data root. Default: $COSMO_DATA, else .cosmo/data.")
def main(recipe: str | None, data: Path | None) -> None:
    """Seed text in, a traceable synthetic pretraining corpus out.

    A corpus is described by a recipe and lies under the data root; `cosmo run` builds it, `cosmo trace` tells where any
    of its tokens comes from.
    """
    if recipe:
        choose_recipe(recipe)
    if data:
        os.environ["COSMO_DATA"] = str(data.absolute())


for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
