"""Checks of the prompt table.

Belongs here: what must hold before anything is generated. Does not belong here: allocation (`table`).
"""

from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_assets.seeds.licences import refusal
from cosmo_resources.storage.manifest import Manifest


def _distinct(manifest: Manifest, _: Recipe) -> Verdict:
    prompts, distinct = manifest.summary["prompts"], manifest.summary["distinct"]
    return prompts == distinct, {"prompts": prompts, "distinct ids": distinct}


def _any(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.summary["prompts"] > 0, {"prompts": manifest.summary["prompts"]}


def _filled(manifest: Manifest, recipe: Recipe) -> Verdict:
    counts = manifest.summary["counts"].get("bucket", {})
    empty = recipe.buckets - len(counts)
    return empty == 0, {"buckets without prompts": empty}


def _licences_allowed(manifest: Manifest, recipe: Recipe) -> Verdict:
    stored = manifest.summary["counts"].get("licence", {})
    counted = sum(stored.values())
    denied = {licence: count for licence, count in stored.items() if refusal(licence, recipe.licences)}
    figures = {"prompts of denied licences": sum(denied.values()), "licences": ", ".join(denied), "counted": counted}
    return not denied and counted == manifest.rows, figures


CHECKS = (
    Check("any_prompts", "There is at least one prompt.", _any, blocking=True),
    Check("distinct_ids", "No two prompts have the same id.", _distinct, blocking=True),
    Check(
        "licences_allowed",
        "No stored prompt comes from a seed whose licence the recipe's policy denies; counted from the stored rows.",
        _licences_allowed,
        blocking=True,
    ),
    Check("buckets_filled", "Every bucket has prompts.", _filled),
)
