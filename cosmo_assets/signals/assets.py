"""The assets of signals: annotations of every document, which remove none.

Belongs here: their definitions and what they show. Does not belong here: how a figure is computed (`statistics`).
"""

import dagster as dg

from cosmo_assets.decontamination.assets import decontaminated
from cosmo_assets.generation.assets import generations
from cosmo_assets.real.assets import real_documents, real_eligible
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.signals import stage
from cosmo_assets.signals.checks import CHECKS
from cosmo_assets.signals.spread import chart_of, rows_of
from cosmo_resources.resources import StoreResource
from cosmo_resources.storage.manifest import Manifest


@corpus_asset(
    "text_statistics",
    deps=[decontaminated, generations],
    group="signals",
    kinds={"parquet"},
    stage_version=stage.STATISTICS_VERSION,
    checks=CHECKS,
    bucketed=True,
)
def text_statistics(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """Figures of every text that the published heuristics judge by: words, lines, repetition, punctuation. Annotations:
    what is kept for them, the recipe's selection says."""
    return _shown(stage.build_statistics(workspace(context, store, recipe), context.partition_key), recipe)


@corpus_asset(
    "real_statistics",
    deps=[real_documents, real_eligible],
    group="signals",
    kinds={"parquet"},
    stage_version=stage.STATISTICS_VERSION,
    checks=CHECKS,
)
def real_statistics(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """The same figures of the real texts that may stand in the corpus."""
    return _shown(stage.build_real_statistics(workspace(context, store, recipe)), recipe)


def _shown(manifest: Manifest, recipe: Recipe) -> Result:
    """Quantiles and a small histogram of every signal."""
    spread = manifest.summary["spread"]
    return materialized(manifest, recipe, CHECKS, Show({"histograms": chart_of(spread)}, {"signals": rows_of(spread)}))
