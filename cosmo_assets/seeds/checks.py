"""Checks of the seeds.

Belongs here: what must hold of `seed_documents`. Does not belong here: repairing it (`documents`, `cleaning`).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_resources.storage.manifest import Manifest


def every_source(manifest: Manifest, _: Recipe) -> Verdict:
    empty = [name for name, funnel in manifest.summary["funnel"].items() if not funnel["kept"]]
    return not empty, {"sources without seeds": ", ".join(empty)}


def licensed(manifest: Manifest, _: Recipe) -> Verdict:
    unnamed = manifest.summary["unlicensed"]
    return unnamed == 0, {"seeds without a licence": unnamed}


BAD_ROWS = share_at_most(
    "bad_rows",
    "The share of source rows that could not be read is within the recipe's limit; they are listed as rejected.",
    lambda manifest: sum(manifest.flow.failed.values()),
    lambda manifest: manifest.flow.rows_in,
    "max_bad_seed_rows",
)

CHECKS = (
    Check("every_source", "Every source of the recipe gives at least one seed.", every_source),
    Check("licensed", "Every seed has a licence.", licensed, blocking=True),
    BAD_ROWS,
)


def _outlined(manifest: Manifest, recipe: Recipe) -> Verdict:
    share = manifest.flow.rows_out / manifest.summary["courses"] if manifest.summary["courses"] else 1.0
    bound = recipe.limits.min_outlined
    figures = {"share of courses with an outline": round(share, 4), "limit": bound}
    return share >= bound, {**figures, "recipe field": "limits.min_outlined"}


OUTLINE_CHECKS = (Check("outlined", "Enough courses have an outline; the others are listed as rejected.", _outlined),)
