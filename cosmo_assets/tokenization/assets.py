"""The shard asset.

Belongs here: its definition and what it shows. Does not belong here: tokenization (`shards`).
"""

import dagster as dg

from cosmo_assets.charts.bars import bars
from cosmo_assets.generation.assets import generations
from cosmo_assets.mixture.assets import mixture
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_assets.tokenization import shards
from cosmo_assets.tokenization.checks import CHECKS
from cosmo_assets.tokenization.tokenizer import recipe_tokenizer
from cosmo_resources.resources import StoreResource


@corpus_asset(
    "tokenized_shards",
    deps=[mixture, generations],
    group="tokenization",
    kinds={"datatrove"},
    stage_version=shards.STAGE_VERSION,
    checks=CHECKS,
)
def tokenized_shards(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """The corpus as token files that map into memory, shuffled by content, with the span of every document."""
    manifest = shards.build(workspace(context, store, recipe), recipe_tokenizer(recipe))
    sizes = [(name, tokens) for name, tokens in manifest.summary["shards"]]
    stages = columns(manifest.summary.get("stages", []), "stage", "folder", "start_token", "tokens", "copies")
    return materialized(
        manifest,
        recipe,
        CHECKS,
        Show(
            {"shards": bars("Tokens by shard", sizes, unit="tokens")},
            {"stages": stages},
            figures={"where a token comes from": "cosmo trace --shard 0 --token 1000"},
        ),
    )
