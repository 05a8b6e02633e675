"""What would be done and what is there, as tables: `cosmo plan`, and the summary after a run.

Belongs here: reading manifests and the prompt table into rich tables. Does not belong here: doing any of it.
"""

from collections import Counter

from rich.table import Table

from cosmo_assets.generation.plan import documents_of
from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe import Recipe
from cosmo_assets.schemas import TABLES
from cosmo_resources.storage.store import ALL, CorpusStore


def plan_tables(recipe: Recipe, store: CorpusStore) -> list[Table]:
    """Before money is spent: prompts by source, audience and format, documents that exist and that would be asked for.

    Without a prompt table, the recipe's sources and mixes are shown instead, as nothing more is known yet.
    """
    prompts = store.current("prompt_table")
    if prompts is None:
        table = Table("source", "kind", "prompts per seed", "templates", title=f"{recipe.name}: no prompt table yet")
        for source in recipe.sources:
            mix = recipe.prompts.mixes[source.kind]
            table.add_row(
                source.name, source.kind, f"{mix.per_seed:g}", ", ".join(use.template for use in mix.templates)
            )
        table.caption = (
            "`cosmo run --asset seed_documents ... --asset prompt_table` makes one; it asks the model for labels only"
        )
        return [table]
    rows = prompts.table(["source", "audience", "format", "max_tokens"]).to_pylist()
    counts: Counter[tuple[str, str, str]] = Counter((row["source"], row["audience"], row["format"]) for row in rows)
    limits: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        limits[row["source"], row["audience"], row["format"]] += row["max_tokens"] * recipe.generation.samples
    table = Table("source", "audience", "format", "prompts", "output tokens at most", title=f"{recipe.name}: prompts")
    for key in sorted(counts):
        table.add_row(*key, str(counts[key]), f"{limits[key]:,}")
    table.add_row("[bold]all[/]", "", "", f"[bold]{len(rows)}[/]", f"[bold]{sum(limits.values()):,}[/]")
    return [table, _work(recipe, store)]


def _work(recipe: Recipe, store: CorpusStore) -> Table:
    table = Table("bucket", "documents", "there already", "to generate", title="generation")
    totals: Counter[str] = Counter()
    for name in [bucket_name(index) for index in range(recipe.buckets)]:
        wanted, there = documents_of(recipe, store, name)
        table.add_row(name, str(wanted), str(there), str(wanted - there))
        totals.update(wanted=wanted, there=there)
    to_do = totals["wanted"] - totals["there"]
    table.add_row("[bold]all[/]", str(totals["wanted"]), str(totals["there"]), f"[bold]{to_do}[/]")
    return table


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
