"""The assets of selection: which documents may stand in the corpus by their signals, and what filtering would cost.

Belongs here: their definitions and what they show. Does not belong here: limits and verdicts (`verdicts`).
"""

import dagster as dg

from cosmo_assets.deduplication.assets import deduplicated
from cosmo_assets.generation.assets import generations
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_assets.selection import costs, likeness, stage
from cosmo_assets.selection.checks import CHECKS, COSTS_CHECKS
from cosmo_resources.resources import EmbedderResource, StoreResource


@corpus_asset(
    "selection",
    deps=[deduplicated, generations],
    group="signals",
    kinds={"polars", "parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=CHECKS,
)
def selection(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Which documents may stand in the corpus by their signals, and the first limit that each other one breaks. The
    mixture leaves these out; no text and no signal is removed."""
    manifest = stage.build(workspace(context, store, recipe))
    limits, targets = manifest.summary["limits"], manifest.summary.get("targets", [])
    return materialized(
        manifest,
        recipe,
        CHECKS,
        Show(
            {"dropped": stage.chart(manifest)},
            {
                "limits": columns(limits, "reason", "signal", "low", "high", "breaks", "drops", "tokens"),
                **({"targets": columns(targets, *likeness.COLUMNS)} if targets else {}),
            },
        ),
    )


@corpus_asset(
    costs.ASSET,
    deps=[deduplicated, generations, prompt_table],
    group="signals",
    kinds={"openvino", "parquet"},
    stage_version=costs.STAGE_VERSION,
    checks=COSTS_CHECKS,
)
def filtering_costs(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    embedder: EmbedderResource,
) -> Result:
    """What would be left if only a part of the documents were kept by one signal: tokens, what repeating them costs,
    domains, diversity, mentions of groups of people. Nothing is filtered."""
    manifest = costs.build(workspace(context, store, recipe), embedder.create())
    table = columns(
        manifest.summary["trials"],
        "signal", "prefer", "rule", "fraction", "documents", "tokens", "effective", "divergence", "vendi",
        "group", "retention",
    )  # fmt: skip
    return materialized(manifest, recipe, COSTS_CHECKS, Show({"costs": costs.chart(table)}, {"trials": table}))
