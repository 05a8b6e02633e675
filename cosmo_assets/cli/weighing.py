"""In which shares: `cosmo weights`.

Belongs here: its options, and what it prints. Does not belong here: the answer (`cosmo_assets.composition`).
"""

from pathlib import Path

import click

from cosmo_assets.cli.terminal import console, print_json, warn
from cosmo_resources.errors import CosmoError


@click.command()
@click.argument("runs", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--target", "targets", multiple=True, metavar="NAME=WEIGHT", help="What a target counts; those that are "
              "not named, nothing.  [default: all the same]")  # fmt: skip
@click.option("--at-most", multiple=True, metavar="DOMAIN=SHARE", help="Largest weight of a domain: web=0.3.")
@click.option("--method", type=click.Choice(["auto", "law", "trees"]), default="auto", show_default=True,
              help="What predicts the loss; auto: what does so best.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--chart", type=click.Path(dir_okay=False, path_type=Path), help="Also draw the weights into this .svg file."
)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def weights(
    runs: Path,
    targets: tuple[str, ...],
    at_most: tuple[str, ...],
    method: str,
    seed: int,
    chart: Path | None,
    as_json: bool,
) -> None:
    """The weights of domains that promise the least loss, from trainings with different weights.

    RUNS is a .csv, .jsonl or .parquet file with a row for each training: columns weight.DOMAIN, which sum to 1, and
    loss.TARGET. The answer ends with the components of a recipe's mixture. It trains nothing and needs no corpus.
    """
    from cosmo_assets.composition.advice import advise, bounds_of, numbers_said, shares_of
    from cosmo_assets.composition.runs import read_runs
    from cosmo_assets.composition.show import (
        NOTHING,
        advice_values,
        best_table,
        fragment,
        gaps_table,
        scores_table,
        weights_chart,
    )

    if chart is not None and not chart.absolute().parent.is_dir():
        raise CosmoError(f"--chart: there is no folder {chart.parent}", remedy="make it, or name another file")
    wanted = numbers_said("--target", targets)
    bound = numbers_said("--at-most", at_most)
    table = read_runs(runs, wanted)
    found = advise(table, shares_of(table, wanted), bounds_of(table, bound), method=method, seed=seed)
    if chart is not None and found.best is not None:
        chart.write_text(weights_chart(found, found.best), encoding="utf-8")
    if as_json:
        print_json(advice_values(found))
        return
    warn(found.warnings)
    console.print(scores_table(found))
    console.print(gaps_table(found))
    if found.best is None:
        console.print(NOTHING, highlight=False)
        return
    console.print(best_table(found, found.best))
    click.echo(fragment(found, found.best), nl=False)
