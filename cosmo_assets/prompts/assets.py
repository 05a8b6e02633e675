"""The prompt assets.

Belongs here: their definitions and what they show. Does not belong here: allocation and rendering (`table`), cutting
(`seed_extracts`).
"""

from collections import Counter

import dagster as dg

from cosmo_assets.charts.bars import bars
from cosmo_assets.prompts import seed_extracts as extracts
from cosmo_assets.prompts import table
from cosmo_assets.prompts.checks import CHECKS, EXTRACT_CHECKS
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.seeds.licences import refusal
from cosmo_assets.tokenization.tokenizer import recipe_tokenizer
from cosmo_assets.topics.assets import seed_topics
from cosmo_resources.resources import StoreResource
from cosmo_resources.storage.manifest import Manifest


@corpus_asset(
    "seed_extracts",
    deps=[seed_documents],
    group="prompts",
    kinds={"parquet"},
    stage_version=extracts.STAGE_VERSION,
    checks=EXTRACT_CHECKS,
)
def seed_extracts(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """How much of every seed the templates show: cut by tokens at the end of a sentence, once for each length that a
    template asks for."""
    manifest = extracts.build(workspace(context, store, recipe), recipe_tokenizer(recipe))
    rows = [
        {"tokens at most": int(budget), "extracts": count, "tokens on average": round(tokens / max(count, 1), 1)}
        for budget, count in sorted(manifest.summary["extracts"].items(), key=lambda item: int(item[0]))
        for tokens in [manifest.summary["tokens"][budget]]
    ]
    return materialized(manifest, recipe, EXTRACT_CHECKS, Show(tables={"extracts": rows}))


@corpus_asset(
    "prompt_table",
    deps=[seed_documents, seed_topics, seed_extracts],
    group="prompts",
    kinds={"parquet"},
    stage_version=table.STAGE_VERSION,
    checks=CHECKS,
)
def prompt_table(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Every prompt: a seed, a template with its audience and format, the rendered text; stored by bucket. Seeds of
    excluded topics and denied licences stop here, with the reason; so do prompts that say nearly the same."""
    manifest = table.build(workspace(context, store, recipe))
    return materialized(manifest, recipe, CHECKS, _show(manifest, recipe))


def _show(manifest: Manifest, recipe: Recipe) -> Show:
    summary = manifest.summary
    mixed: Counter[tuple[str, str, str]] = Counter()
    for cell in summary["cells"]:
        mixed[cell["source"], cell["audience"], cell["format"]] += cell["prompts"]
    return Show(
        charts={
            f"by_{column}": bars(f"Prompts by {column}", sorted(summary["counts"][column].items()), unit="prompts")
            for column in ("template", "audience", "format", "source")
        },
        tables={
            "prompts_by_source_audience_and_format": [
                {"source": source, "audience": audience, "format": shape, "prompts": count}
                for (source, audience, shape), count in sorted(mixed.items())
                if count
            ],
            "near_duplicates": columns(summary["near_duplicates"], "template", "rendered", "near_duplicates"),
            "denied_licences": [
                {"licence": licence, "seeds": count, "why": refusal(licence, recipe.licences)}
                for licence, count in summary["licence_denied"].items()
            ],
        },
    )
