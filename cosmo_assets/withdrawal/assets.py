"""The withdrawals asset.

Belongs here: its definition and what it shows. Does not belong here: making entries (`record`; `cosmo purge` does).
"""

import dagster as dg

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.checks import CHECKS
from cosmo_resources.resources import StoreResource


@corpus_asset(
    "withdrawals",
    group="mixture",
    kinds={"parquet"},
    stage_version=record.STAGE_VERSION,
    checks=CHECKS,
)
def withdrawals(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """What was taken out of the corpus, by whom and why. `cosmo purge` adds to it; building it changes nothing."""
    space = workspace(context, store, recipe)
    manifest = record.build(space)
    latest = [
        {
            "action": entry.action,
            "what": str(entry.item),
            "who": entry.who,
            "why": entry.why,
            "when": entry.when,
            "tokens": entry.tokens,
        }
        for entry in reversed(record.entries(space.store))
    ]
    in_force = [{"key": key, "in force": count} for key, count in manifest.summary["in_force"].items()]
    return materialized(manifest, recipe, CHECKS, Show(tables={"in_force": in_force, "record": latest}))
