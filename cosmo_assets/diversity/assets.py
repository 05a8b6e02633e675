"""The diversity asset, which only recipes with a section `diversity` have.

Belongs here: its definition and what it shows. Does not belong here: sampling and measuring (`stage`).
"""

import os
import sys

import dagster as dg

from cosmo_assets.diversity import stage
from cosmo_assets.diversity.checks import CHECKS
from cosmo_assets.generation.assets import generations
from cosmo_assets.mixture.assets import mixture
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_resources.resources import EmbedderResource, StoreResource


@corpus_asset(
    stage.ASSET,
    deps=[mixture, generations, prompt_table],
    group="mixture",
    kinds={"openvino", "parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=CHECKS,
)
def corpus_diversity(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    embedder: EmbedderResource,
) -> Result:
    """How diverse the chosen documents are, by a sample: meanings, words, clusters, stock phrases; and whether less so
    than in the accepted version."""
    python = os.environ.get("COSMO_PROXY_PYTHON") or sys.executable
    manifest = stage.build(workspace(context, store, recipe), embedder.create(), python)
    table, chart = stage.shown(manifest, recipe)
    return materialized(manifest, recipe, CHECKS, Show({"diversity": chart}, {"by_measure": table}))
