"""The lineage asset.

Belongs here: its definition and what it shows. Does not belong here: building or asking the index (`index`, `trace`).
"""

import dagster as dg

from cosmo_assets.charts.bars import bars
from cosmo_assets.generation.assets import generations
from cosmo_assets.lineage import index
from cosmo_assets.lineage.checks import CHECKS
from cosmo_assets.mixture.assets import mixture
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.tokenization.assets import tokenized_shards
from cosmo_resources.resources import StoreResource

TOP = 25


@corpus_asset(
    "token_lineage",
    deps=[tokenized_shards, mixture, generations, prompt_table, seed_documents],
    group="lineage",
    kinds={"parquet"},
    stage_version=index.STAGE_VERSION,
    checks=CHECKS,
)
def token_lineage(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """For every span of tokens: document, prompt, template, topic, seed, source, licence, model, sampling."""
    manifest = index.build(workspace(context, store, recipe))
    by = manifest.summary["by"]
    charts = {
        f"by_{name}": bars(
            f"Tokens by {name}", sorted(by[name].items(), key=lambda item: -item[1])[:TOP], unit="tokens"
        )
        for name in ("source", "topic", "template", "licence")
    }
    return materialized(manifest, recipe, CHECKS, Show(charts))
