"""What `cosmo run` shows at its end: what the corpus holds, and what has changed, as rich tables.

Belongs here: reading manifests into tables. Does not belong here: building, or saying why documents differ
(`cosmo_assets.comparison`).
"""

from rich.table import Table

from cosmo_assets.comparison.changes import changes
from cosmo_assets.comparison.show import why_table
from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.tables import TABLES
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL, CorpusStore


def summary_tables(recipe: Recipe, store: CorpusStore) -> list[Table]:
    """What the corpus holds: every asset with its rows, what was lost and the versions; then the headline."""
    table = Table(
        "asset", "buckets", "rows", "in", "out", "dropped", "failed", "seconds", title=f"{recipe.name}: {store.root}"
    )
    for asset in TABLES:
        buckets = [ALL, *(bucket_name(index) for index in range(recipe.buckets))]
        found = [dataset.manifest for bucket in buckets if (dataset := store.current(asset, bucket)) is not None]
        if found:
            dropped = sum(sum(manifest.flow.dropped.values()) for manifest in found)
            failed = sum(sum(manifest.flow.failed.values()) for manifest in found)
            flow = (sum(manifest.flow.rows_in for manifest in found), sum(manifest.flow.rows_out for manifest in found))
            seconds = sum(float(manifest.run.get("wall_seconds", 0)) for manifest in found)
            figures = (len(found), sum(manifest.rows for manifest in found), *flow, dropped, failed)
            table.add_row(asset, *(str(figure) for figure in figures), f"{seconds:.1f}")
    shards, report = store.current("tokenized_shards"), store.current("corpus_report")
    export = store.current("corpus_export")
    if shards is None or report is None or export is None:
        return [table]
    facts = Table(show_header=False, box=None)
    facts.add_column()
    facts.add_column(overflow="fold")
    summary = shards.manifest.summary
    facts.add_row(
        "corpus", f"{summary['tokens']:,} tokens of {summary['documents']} documents in {len(summary['shards'])} shards"
    )
    facts.add_row("shards", str(shards.folder))
    facts.add_row("report", str(report.folder / "report.html"))
    facts.add_row("dataset", f'datasets.load_dataset("{export.folder}")')
    facts.add_row("trace", "cosmo trace --shard 0 --token 1000")
    facts.add_row("look", "make ui")
    return [table, facts]


def change_table(store: CorpusStore, before: Manifest | None) -> Table | None:
    """By how many documents and tokens the corpus differs from that of an earlier report, and why."""
    after = store.current_manifest("corpus_report")
    found = changes(store, before, after) if after else []
    return why_table(found, "since the last version") if found else None
