"""Dagster's record and old versions: `cosmo adopt`, `gc` and `prune`.

Belongs here: their options, and what they print. Does not belong here: what may go, or removing it
(`cosmo_assets.operations`).
"""

import click

from cosmo_assets.cli.terminal import console, open_corpus


@click.command()
def adopt() -> None:
    """Tell Dagster what lies on disk: rebuilds the record of a new or pruned instance from the manifests."""
    from cosmo_assets.automation import open_instance
    from cosmo_assets.operations.adopt import adopt as adopt_all

    chosen, recipe, store = open_corpus()
    with open_instance(chosen) as instance:
        adopted, damaged = adopt_all(recipe, store, instance)
    for manifest in adopted:
        console.print(f"adopted {manifest.asset} {manifest.bucket} {manifest.version}", highlight=False)
    console.print(f"{len(adopted)} adopted, {len(damaged)} damaged")
    if damaged:
        raise damaged[0]


@click.command()
@click.option("--delete", is_flag=True, help="Remove what is listed. Without it, nothing is changed.")
@click.option("--answers", is_flag=True, help="Also answers of models that are nowhere else.")
def gc(delete: bool, answers: bool) -> None:
    """Collect garbage: versions of datasets that no current one refers to, directly or through what it was made of.
    Lists what would go, with its bytes. What is being written or may be being read stays, and so do answers that a
    model would have to be asked for again."""
    from rich.table import Table

    from cosmo_assets.operations.garbage import collect_corpus

    _, recipe, store = open_corpus()
    table = Table("asset", "bucket", "version", "bytes", "stays because", title=f"{recipe.name}: unreferenced")
    found = collect_corpus(recipe, store, answers=answers, delete=delete)
    for one in found:
        table.add_row(one.asset, one.bucket, one.name, f"{one.bytes:,}", one.kept)
    if found:
        console.print(table)
    gone = [one for one in found if not one.kept]
    total = f"{len(gone)} versions, {sum(one.bytes for one in gone):,} bytes"
    console.print(f"removed {total}" if delete else f"{total} to remove: cosmo gc --delete")


@click.command()
@click.option("--days", default=30, show_default=True, help="Runs that ended less long ago stay.")
def prune(days: int) -> None:
    """Remove old runs from Dagster's record, with their events and logs. Runs stay whose result is still shown: the
    latest of each asset, bucket and check. Datasets are not touched."""
    from cosmo_assets.automation import open_instance
    from cosmo_assets.build import build_defs
    from cosmo_assets.operations.adopt import prune as prune_record
    from cosmo_resources.deployments import deployment

    chosen, recipe, _ = open_corpus()
    checks = build_defs(recipe, deployment(chosen, recipe.name)).resolve_asset_graph().asset_check_keys
    with open_instance(chosen, logs=True) as instance:
        pruned = prune_record(instance, chosen.state, sorted(checks), days=days)
    console.print(f"{pruned.runs} runs removed, {pruned.kept} old ones kept, {pruned.bytes:,} bytes freed")
