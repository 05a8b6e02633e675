"""What would be done and what is there, as tables: `cosmo plan`, and the summary after a run.

Belongs here: reading manifests and drawing without building, into rich tables. Does not belong here: doing any of it,
or the arithmetic of a forecast (`cosmo_assets.prompts.forecast`)."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import polars as pl
from rich.table import Table

from cosmo_assets.generation.plan import documents_of
from cosmo_assets.ids import bucket_name
from cosmo_assets.prompts.allocation import Cell
from cosmo_assets.prompts.draw import draw
from cosmo_assets.prompts.forecast import NOTHING_MEASURED, Forecast, Measured, expected, forecast
from cosmo_assets.prompts.items import open_inputs
from cosmo_assets.prompts.mixes import used_templates, uses_of
from cosmo_assets.recipe import Recipe
from cosmo_assets.report.changes import changes
from cosmo_assets.schemas import TABLES
from cosmo_assets.stage import silent
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL, CorpusStore

INPUTS = ("seed_documents", "seed_topics", "seed_extracts")
MEASURED_BUCKETS = 2
"""Buckets that are read for what answers were like; each is a sample of the corpus."""


def plan_tables(recipe: Recipe, store: CorpusStore) -> list[Table]:
    """Before money is spent: prompts and expected tokens by source, audience and format, device hours and cost, how far
    the sources suffice, and documents that exist already.

    The seeds are drawn anew, so that a change to the recipe or a template shows before anything is built; where there
    are no seeds yet, the recipe's `expected_seeds` stand for them.

    Raises:
        CosmoError: the seeds cannot give what the recipe asks for.
    """
    templates = used_templates(recipe)
    uses = uses_of(recipe, templates)
    there = all(store.current(asset) is not None for asset in INPUTS)
    if there:
        plan = draw(open_inputs(store, recipe), recipe, silent)
        counted = list(zip(plan.cells, plan.quotas, strict=True))
    else:
        counted = expected(recipe, templates)
    basis = "drawn from the seeds" if there else "from the recipe's expected_seeds, as no seeds were read yet"
    found = forecast(recipe, uses, counted, measured(recipe, store))
    tables = [_prompts(recipe, found, basis), _sources(counted), _totals(found)]
    return [*tables, _work(recipe, store)] if store.current("prompt_table") is not None else tables


def measured(recipe: Recipe, store: CorpusStore) -> Measured:
    """What the first buckets that were generated say; nothing, where there are none."""
    prompts = store.current("prompt_table")
    names = [bucket_name(index) for index in range(recipe.buckets)]
    done = [dataset for name in names if (dataset := store.current("generations", name)) is not None]
    if prompts is None or not done:
        return NOTHING_MEASURED
    answers = pl.scan_parquet([path for dataset in done[:MEASURED_BUCKETS] for path in dataset.paths()])
    templates = pl.scan_parquet(prompts.paths()).select("prompt_id", "template")
    means = (
        answers.filter(pl.col("status") == "ok")
        .select("prompt_id", "completion_tokens")
        .join(templates, on="prompt_id")
        .group_by("template")
        .agg(pl.col("completion_tokens").mean())
        .collect()
    )
    runs = [dataset.manifest.run for dataset in done if float(dataset.manifest.run.get("generation_seconds", 0)) > 0]
    tokens = sum(float(run.get("generated_tokens", 0)) for run in runs)
    seconds = sum(float(run["generation_seconds"]) for run in runs)
    return Measured(dict(means.iter_rows()), tokens / seconds if tokens and seconds else None)


def _prompts(recipe: Recipe, found: Forecast, basis: str) -> Table:
    table = Table(
        "source", "audience", "format", "prompts", "tokens each", "output tokens", title=f"{recipe.name}: prompts"
    )
    prompts: Counter[tuple[str, str, str]] = Counter()
    tokens: Counter[tuple[str, str, str]] = Counter()
    marks: dict[tuple[str, str, str], set[bool]] = defaultdict(set)
    for line in found.lines:
        key = (line.cell.source, line.cell.audience, line.cell.format)
        prompts[key] += line.prompts
        tokens[key] += round(line.tokens * found.samples)
        marks[key].add(line.measured)
    for key in sorted(key for key in prompts if prompts[key]):
        each = tokens[key] / prompts[key] / found.samples
        table.add_row(
            *key, f"{prompts[key]:,}", f"{each:,.0f}{'' if marks[key] == {True} else '?'}", f"{tokens[key]:,}"
        )
    table.add_row("[bold]all[/]", "", "", f"[bold]{found.prompts:,}[/]", "", f"[bold]{round(found.tokens):,}[/]")
    table.caption = f"{basis}; ? = as long as the template asks for, not measured"
    return table


def _sources(counted: Sequence[tuple[Cell, int]]) -> Table:
    table = Table(
        "mix", "source", "seeds", "prompts", "per seed", "at most", "used", title="how far the sources suffice"
    )
    cells: dict[tuple[str, str], list[tuple[Cell, int]]] = defaultdict(list)
    for cell, count in counted:
        cells[cell.mix, cell.source].append((cell, count))
    for (mix, source), mine in cells.items():
        seeds, most = max(cell.seeds for cell, _ in mine), sum(cell.seeds for cell, _ in mine)
        prompts = sum(count for _, count in mine)
        used = (f"{prompts / seeds:.2f}", f"{most:,}", f"{prompts / most:.0%}") if seeds else ("", "0", "")
        table.add_row(mix, source, f"{seeds:,}", f"{prompts:,}", *used)
    table.caption = "at most: every template of every seed (segment, unit), once"
    return table


def _totals(found: Forecast) -> Table:
    table = Table(show_header=False, box=None)
    table.add_row("prompts", f"{found.prompts:,}")
    table.add_row("output tokens", f"{round(found.tokens):,}")
    if found.speed is None or found.hours is None or found.cost is None:
        table.add_row("device hours", "unknown: set budget.tokens_per_second in the recipe, or generate a bucket")
        return table
    speed = found.speed
    table.add_row("device hours", f"{found.hours:,.1f} at {speed.tokens_per_second:,.0f} tokens/s ({speed.device})")
    table.add_row("cost", f"{found.cost:,.2f} at {found.price:g} an hour")
    table.add_row("speed from", speed.source)
    return table


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


def change_table(store: CorpusStore, before: Manifest | None) -> Table | None:
    """By how many documents and tokens the corpus differs from that of an earlier report, and why."""
    after = store.current_manifest("corpus_report")
    found = changes(store, before, after) if after else []
    table = Table("since the last version", "because of", "documents", "tokens")
    for row in found:
        table.add_row(row["what"], row["because"], f"{row['documents']:+,}", f"{row['tokens']:+,}")
    return table if found else None
