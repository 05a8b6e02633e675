"""The decontamination assets: the index of all benchmarks, the seeds that hold items, and the verdicts per bucket.

Belongs here: their definitions and what they show. Does not belong here: the rules (`rules`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from cosmo_assets.charts.bars import bars
from cosmo_assets.decontamination import seeds, stage
from cosmo_assets.decontamination.checks import CHECKS, INDEX_CHECKS, SEED_CHECKS
from cosmo_assets.decontamination.tally import removed_since, split_table
from cosmo_assets.generation.assets import generations
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.quality.assets import generation_quality
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import (
    Result,
    Show,
    Sides,
    columns,
    corpus_asset,
    materialized,
    workspace,
)
from cosmo_assets.seeds.assets import seed_documents
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
        # Without the tag of a data version: Dagster does not find that of an external asset again when it asks what is
        # stale, and would call the index out of date for ever.
        context.log_event(dg.AssetObservation(["benchmarks", row["benchmark"]], metadata=shown))
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
    "contaminated_seeds",
    deps=[seed_documents, benchmark_index],
    group=GROUP,
    kinds={"parquet"},
    stage_version=seeds.STAGE_VERSION,
    checks=SEED_CHECKS,
)
def contaminated_seeds(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """The seeds that hold a benchmark item. What is made of them is marked; no prompt waits for this."""
    manifest = seeds.build(workspace(context, store, recipe))
    sources = columns(manifest.summary["sources"], "source", "seeds", "contaminated")
    benchmarks = columns(manifest.summary["benchmarks"], "benchmark", "seeds", "unique_items")
    by_benchmark = [(row["benchmark"], row["seeds"]) for row in benchmarks]
    return materialized(
        manifest,
        recipe,
        SEED_CHECKS,
        Show(
            {"contaminated": bars("Contaminated seeds by benchmark", by_benchmark, unit="seeds")},
            {"sources": sources, "benchmarks": benchmarks},
            sides={"worst_cases": [sides_of(case, "seed") for case in manifest.summary["cases"]]},
        ),
    )


@corpus_asset(
    "decontaminated",
    deps=[generation_quality, generations, prompt_table, contaminated_seeds, benchmark_index],
    group=GROUP,
    kinds={"parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=CHECKS,
    bucketed=True,
)
def decontaminated(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Whether a benchmark item stands in a kept text or in the prompt that made it, by any rule of the recipe; and
    whether one stands in its seed."""
    before = store.create().current_manifest("decontaminated", context.partition_key)
    manifest = stage.build(workspace(context, store, recipe), context.partition_key)
    summary = manifest.summary
    benchmarks = columns(summary["benchmarks"], "benchmark", "items", "removed", "tokens", "unique_items")
    removed = [(row["benchmark"], row["removed"]) for row in benchmarks]
    return materialized(
        manifest,
        recipe,
        CHECKS,
        Show(
            {"removed": bars("Documents removed by benchmark", removed, unit="documents")},
            {
                "removed_by_split": split_table(summary["splits"], summary["sources"]),
                "benchmarks": benchmarks,
                "since_the_last_version": removed_since(before, manifest),
            },
            sides={"worst_cases": [sides_of(case, f"the {case['place']} of") for case in summary["cases"]]},
        ),
    )


def sides_of(case: Mapping[str, Any], where: str) -> Sides:
    """A case to look at: what was found, the item, and the text that holds it."""
    item = f"{case['benchmark']}:{case['item']} ({case['part']})"
    caption = f"{item}, {case['ratio']:.0%} by {case['rule']}, in {where} {case['key']}"
    return caption, case["pieces_of_item"], case["pieces_of_text"]
