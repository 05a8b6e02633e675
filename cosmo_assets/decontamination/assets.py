"""The decontamination asset.

Belongs here: its definition and what it shows. Does not belong here: the rule (`ngrams`).
"""

import dagster as dg

from cosmo_assets.charts import bars
from cosmo_assets.decontamination import stage
from cosmo_assets.decontamination.checks import CHECKS
from cosmo_assets.generation.assets import generations
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.quality.assets import generation_quality
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_resources.resources import StoreResource


@corpus_asset(
    "decontaminated",
    deps=[generation_quality, generations, prompt_table],
    group="decontamination",
    kinds={"parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=CHECKS,
    bucketed=True,
)
def decontaminated(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Whether a benchmark item stands in a kept text or in the prompt that made it: shared 10-grams make a candidate,
    more than half of the item matched condemns the document."""
    manifest = stage.build(workspace(context, store, recipe), context.partition_key)
    benchmarks = columns(manifest.summary["benchmarks"], "benchmark", "items", "removed", "unique_items")
    cases = columns(manifest.summary["cases"], "benchmark", "item", "ratio", "place", "doc_id", "span")
    removed = [(row["benchmark"], row["removed"]) for row in benchmarks]
    return materialized(
        manifest,
        recipe,
        CHECKS,
        Show(
            {"removed": bars("Documents removed by benchmark", removed, unit="documents")},
            {"benchmarks": benchmarks, "worst_cases": cases},
        ),
    )
