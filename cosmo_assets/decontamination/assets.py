"""The decontamination assets: the index of all benchmarks, and the verdicts per bucket.

Belongs here: their definitions and what they show. Does not belong here: the rules (`rules`).
"""

import dagster as dg

from cosmo_assets.adopt import DATA_VERSION_TAG
from cosmo_assets.charts import bars
from cosmo_assets.decontamination import stage
from cosmo_assets.decontamination.checks import CHECKS, INDEX_CHECKS
from cosmo_assets.generation.assets import generations
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.quality.assets import generation_quality
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_resources.resources import StoreResource

GROUP = "decontamination"


@corpus_asset(
    "benchmark_index",
    deps=[],
    group=GROUP,
    kinds={"numpy"},
    stage_version=stage.INDEX_VERSION,
    checks=INDEX_CHECKS,
)
def benchmark_index(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """The texts of the items of all benchmarks, and for each rule what a text is looked up in; every bucket maps the
    same files. Each benchmark is observed with the version that was read."""
    manifest = stage.build_benchmarks(workspace(context, store, recipe))
    found = [{**row, "parts": ", ".join(row["parts"])} for row in manifest.summary["benchmarks"]]
    for row in found:
        shown = {name: row[name] for name in ("version", "licence", "files", "parts", "items", "texts", "unchecked")}
        tags = {DATA_VERSION_TAG: row["version"]}
        context.log_event(dg.AssetObservation(["benchmarks", row["benchmark"]], metadata=shown, tags=tags))
    benchmarks = columns(found, "benchmark", "items", "texts", "unchecked", "unchecked_texts", "parts", "version")
    rules = columns(manifest.summary["rules"], "rule", "texts", "says")
    unchecked = columns(manifest.summary["unchecked"], "benchmark", "item", "part")
    sizes = [(row["benchmark"], row["items"]) for row in benchmarks]
    return materialized(
        manifest,
        recipe,
        INDEX_CHECKS,
        Show(
            {"items": bars("Items by benchmark", sizes, unit="items")},
            {"benchmarks": benchmarks, "rules": rules, "unchecked_texts": unchecked},
        ),
    )


@corpus_asset(
    "decontaminated",
    deps=[generation_quality, generations, prompt_table, benchmark_index],
    group=GROUP,
    kinds={"parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=CHECKS,
    bucketed=True,
)
def decontaminated(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Whether a benchmark item stands in a kept text or in the prompt that made it, by any rule of the recipe."""
    manifest = stage.build(workspace(context, store, recipe), context.partition_key)
    benchmarks = columns(manifest.summary["benchmarks"], "benchmark", "items", "removed", "unique_items")
    cases = columns(manifest.summary["cases"], "rule", "benchmark", "item", "part", "ratio", "place", "doc_id", "span")
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
