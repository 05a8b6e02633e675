"""The assets of real data, which only recipes with `real.sources` have.

Belongs here: their definitions and what they show. Does not belong here: reading (`cosmo_assets.seeds`), choosing
(`eligible`).
"""

import dagster as dg

from cosmo_assets.charts.bars import stacked
from cosmo_assets.decontamination.assets import benchmark_index, sides_of
from cosmo_assets.real import eligible
from cosmo_assets.real.checks import CHECKS, READ_CHECKS
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_assets.seeds import documents
from cosmo_assets.seeds.assets import funnel_of
from cosmo_assets.tokenization.tokenizer import recipe_tokenizer
from cosmo_resources.resources import StoreResource


@corpus_asset(
    "real_documents", group="real", kinds={"parquet"}, stage_version=documents.STAGE_VERSION, checks=READ_CHECKS
)
def real_documents(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Real texts that are mixed in: read in their own formats, cleaned, masked, without duplicates among them; every
    row that falls out is listed with its reason."""
    manifest = eligible.read(workspace(context, store, recipe))
    return materialized(manifest, recipe, READ_CHECKS, funnel_of(manifest, recipe, "may stand in the corpus"))


@corpus_asset(
    "real_eligible",
    deps=[real_documents, benchmark_index],
    group="real",
    kinds={"parquet"},
    stage_version=eligible.STAGE_VERSION,
    checks=CHECKS,
)
def real_eligible(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Real documents with a licence that the policy allows and without a benchmark item; with what deduplication
    compares of them."""
    manifest = eligible.build(workspace(context, store, recipe), recipe_tokenizer(recipe))
    names = ("kept", "licence_denied", "contaminated")
    sources = columns(manifest.summary["sources"], "source", *names, "tokens")
    parts = [(row["source"], {name: row[name] for name in names}) for row in sources]
    cases = [sides_of(case, "document") for case in manifest.summary["cases"]]
    return materialized(
        manifest,
        recipe,
        CHECKS,
        Show(
            {"by_source": stacked("Real documents by source: kept, or why not", parts, unit="documents")},
            {"sources": sources},
            sides={"worst_cases": cases},
        ),
    )
