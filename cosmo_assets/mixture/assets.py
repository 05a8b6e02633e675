"""The mixture asset.

Belongs here: its definition and what it shows. Does not belong here: the allocation (`allocation`).
"""

from dataclasses import asdict

import dagster as dg

from cosmo_assets.charts.bars import stacked
from cosmo_assets.deduplication.assets import deduplicated
from cosmo_assets.generation.assets import generations
from cosmo_assets.mixture import stage
from cosmo_assets.mixture.checks import CHECKS
from cosmo_assets.mixture.nearness import beside, charts, optimum_of
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_assets.withdrawal.assets import withdrawals
from cosmo_resources.resources import StoreResource


@corpus_asset(
    "mixture",
    deps=[withdrawals, deduplicated, generations, prompt_table],
    group="mixture",
    kinds={"parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=CHECKS,
)
def mixture(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Which documents stand in the corpus and how often, so that the sources' tokens have the recipe's weights; without
    those that were withdrawn. Selections and counts only; no text is copied."""
    optimum = optimum_of(recipe)
    manifest = stage.build(workspace(context, store, recipe))
    components = manifest.summary["components"]
    rows = [
        (label, {row["source"]: row[key] for row in components})
        for label, key in (("target", "target"), ("corpus", "share"))
    ]
    beside_it = beside(components, optimum) if optimum else []
    return materialized(
        manifest,
        recipe,
        CHECKS,
        Show(
            {
                "shares": stacked("Share of tokens by source", rows, unit="%"),
                **(charts(beside_it, optimum.method) if optimum else {}),
            },
            {
                "components": columns(
                    components, "source", "target", "share", "tokens", "documents", "available", "epochs", "limits"
                ),
                **({"optimum": [asdict(row) for row in beside_it]} if optimum else {}),
                "stages": columns(manifest.summary["stages"], "stage", "wanted", "tokens"),
            },
        ),
    )
