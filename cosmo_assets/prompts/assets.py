"""The prompt asset.

Belongs here: its definition and what it shows. Does not belong here: allocation and rendering (`table`, `templates`).
"""

import dagster as dg

from cosmo_assets.charts import bars
from cosmo_assets.prompts import table
from cosmo_assets.prompts.checks import CHECKS
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.seeds.licences import refusal
from cosmo_assets.tokenization.tokenizer import recipe_tokenizer
from cosmo_assets.topics.assets import seed_topics
from cosmo_resources.resources import StoreResource
from cosmo_resources.storage.manifest import Manifest


@corpus_asset(
    "prompt_table",
    deps=[seed_documents, seed_topics],
    group="prompts",
    kinds={"parquet"},
    stage_version=table.STAGE_VERSION,
    checks=CHECKS,
)
def prompt_table(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Every prompt: a seed, a template with its audience and format, the rendered text; stored by bucket. Seeds of
    excluded topics and denied licences stop here, with the reason."""
    manifest = table.build(workspace(context, store, recipe), recipe_tokenizer(recipe))
    return materialized(manifest, recipe, CHECKS, _show(manifest, recipe))


def _show(manifest: Manifest, recipe: Recipe) -> Show:
    counts = manifest.summary["counts"]
    return Show(
        charts={
            f"by_{column}": bars(f"Prompts by {column}", sorted(counts[column].items()), unit="prompts")
            for column in ("template", "audience", "source")
            if column in counts
        },
        tables={
            "denied_licences": [
                {"licence": licence, "seeds": count, "why": refusal(licence, recipe.licences)}
                for licence, count in manifest.summary["licence_denied"].items()
            ],
        },
        figures={
            "prompts": manifest.summary["prompts"],
            "prompts_about_a_unit": manifest.summary["of_a_unit"],
            "prompts_naming_their_topic": manifest.summary["named_topic"],
            "output_tokens_at_most": manifest.summary["max_tokens"],
        },
    )
