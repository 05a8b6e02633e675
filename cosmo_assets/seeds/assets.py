"""The seed asset.

Belongs here: its definition and what it shows. Does not belong here: how seeds are read and cleaned (`documents`).
"""

import dagster as dg

from cosmo_assets.charts import bars, stacked
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds import documents
from cosmo_assets.seeds.checks import CHECKS
from cosmo_resources.resources import StoreResource
from cosmo_resources.storage.manifest import Manifest


@corpus_asset("seed_documents", group="seeds", kinds={"parquet"}, stage_version=documents.STAGE_VERSION, checks=CHECKS)
def seed_documents(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Seed texts of all sources: read in their own formats, cleaned, masked, without duplicates; every row that falls
    out is listed with its reason."""
    manifest = documents.build(workspace(context, store, recipe))
    return materialized(manifest, recipe, CHECKS, _show(manifest))


def _show(manifest: Manifest) -> Show:
    funnel = manifest.summary["funnel"]
    rows = [(name, {"kept": part["kept"], **part["dropped"], **part["bad"]}) for name, part in funnel.items()]
    table = [
        {"source": name, "kind": part["kind"], "kept": part["kept"]}
        | {"dropped": sum(part["dropped"].values()), "bad": sum(part["bad"].values())}
        for name, part in funnel.items()
    ]
    return Show(
        charts={
            "funnel": stacked("Rows by source: kept, or why not", rows, unit="rows"),
            "licences": bars("Seeds by licence", sorted(manifest.summary["licences"].items()), unit="seeds"),
        },
        tables={"sources": table},
        figures={"characters": manifest.summary["characters"], "masked": manifest.summary["masked"]},
    )
