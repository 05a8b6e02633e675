"""The generation asset.

Belongs here: its definition and what it shows. Does not belong here: the work (`generate`, `worker`).
"""

import dagster as dg

from cosmo_assets.charts.bars import bars
from cosmo_assets.charts.curves import histogram
from cosmo_assets.generation import generate
from cosmo_assets.generation.checks import CHECKS
from cosmo_assets.generation.marks import MARKS
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_resources.resources import PoolResource, StoreResource, TrackerResource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tracking import Work

FIGURES = (
    "generated_tokens",
    "reused_tokens",
    "tokens_per_second",
    *(key for key in generate.SPENT if key != "device"),
)
"""What is shown and logged of how a version came about; what nobody measured is left out."""
SAMPLES = 3
SAMPLE_CHARS = 700


class GenerationConfig(dg.Config):
    """`retry_refused` asks again what a server would not take, too: a longer context or another server may."""

    retry_refused: bool = False


@corpus_asset(
    "generations",
    deps=[prompt_table],
    group="generation",
    kinds={"llm", "parquet"},
    stage_version=generate.STAGE_VERSION,
    checks=CHECKS,
    bucketed=True,
    pool="llm",
)
def generations(
    context: dg.AssetExecutionContext,
    config: GenerationConfig,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    pool: PoolResource,
    tracker: TrackerResource,
) -> Result:
    """The model's answers to one bucket of prompts. Resumes from the shard ledger; a row whose prompt, model and
    sampling are unchanged is never asked again."""
    manifest = generate.generate(
        workspace(context, store, recipe), pool.create(), context.partition_key, retry_refused=config.retry_refused
    )
    figures = {key: float(manifest.run[key]) for key in FIGURES if manifest.run.get(key) is not None}
    show = _show(manifest, figures, store.create())
    tracker.create().log(
        Work(
            f"generations/{manifest.bucket}",
            manifest.version,
            {
                "model": recipe.generation.model.name,
                "revision": recipe.generation.model.revision,
                "bucket": manifest.bucket,
            },
            {
                **figures,
                "documents": manifest.flow.rows_out,
                "completion_tokens": manifest.summary.get("completion_tokens", 0),  # a bucket may be empty
            },
            series={"tokens_per_second_over_time": manifest.run.get("throughput", ())},
            pages={f"{name}.svg": chart for name, chart in show.charts.items()},
        )
    )
    return materialized(manifest, recipe, CHECKS, show)


def _show(manifest: Manifest, figures: dict[str, float], store: CorpusStore) -> Show:
    reasons = [
        (key.removeprefix("finish_"), count) for key, count in manifest.summary.items() if key.startswith("finish_")
    ]
    marks = [(mark, manifest.summary.get(f"mark_{mark}", 0)) for mark in MARKS]
    throughput = [(float(at), round(rate)) for at, rate in manifest.run.get("throughput", ())]
    dataset = store.open("generations", manifest.bucket)
    rows = next(dataset.tables(["doc_id", "status", "text"])).to_pylist()
    shown = [row for row in rows if row["status"] == "ok"][:SAMPLES]
    return Show(
        charts={
            "finish_reasons": bars("Answers by finish reason", reasons, unit="documents"),
            "marks": bars("Answers by mark", marks, unit="documents"),
            "throughput": histogram("Output tokens per second, by seconds since the start", throughput, unit="seconds"),
        },
        quotes={"samples": [(row["doc_id"][:12], row["text"][:SAMPLE_CHARS]) for row in shown]},
        figures=figures,
    )
