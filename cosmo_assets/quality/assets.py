"""The quality asset.

Belongs here: its definition and what it shows. Does not belong here: measures and rules (`rules`).
"""

import dagster as dg

from cosmo_assets.charts.curves import histogram
from cosmo_assets.generation.assets import generations
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.quality import stage
from cosmo_assets.quality.checks import CHECKS
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_resources.resources import StoreResource


@corpus_asset(
    "generation_quality",
    deps=[generations, prompt_table],
    group="quality",
    kinds={"parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=CHECKS,
    bucketed=True,
)
def generation_quality(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """Length, repetition, language, boilerplate and copying of every answer, and whether it passes the recipe's
    rules. Attributes only: no text is changed or removed."""
    manifest = stage.build(workspace(context, store, recipe), context.partition_key)
    lengths = [(float(words), count) for words, count in manifest.summary["lengths"]]
    openers = [{"opener": opener, "texts": count} for opener, count in manifest.summary["openers"]]
    return materialized(
        manifest,
        recipe,
        CHECKS,
        Show({"lengths": histogram("Texts by words", lengths, unit="words")}, {"openers": openers}),
    )
