"""Checks of pilots.

Belongs here: what a pilot says about its template. Does not belong here: measuring (`statistics`).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest


def _answered(manifest: Manifest, recipe: Recipe) -> Verdict:
    failed, asked = sum(manifest.flow.failed.values()), max(manifest.flow.rows_in, 1)
    limit = recipe.limits.max_failed
    return failed <= limit * asked, {"failed": failed, "asked": asked, "limit": limit}


def _varied(manifest: Manifest, recipe: Recipe) -> Verdict:
    """The share of the commonest first five words, of the template where it is largest."""
    limit, worst, label = recipe.limits.max_opener_share, 0.0, ""
    for variant in manifest.summary["variants"]:
        found = next(openers for openers in variant["statistics"]["openers"] if openers["words"] == 5)
        share = max((share for _, share in found["most_common"]), default=0.0)
        worst, label = max((worst, label), (share, variant["label"]))
    return worst <= limit, {
        "share": round(worst, 4),
        "of": label,
        "limit": limit,
        "recipe field": "limits.max_opener_share",
    }


CHECKS = (
    Check("answered", "The share of prompts without an answer stays below the limit.", _answered),
    Check("varied_openers", "No five words begin more answers of a template than the limit.", _varied),
)
