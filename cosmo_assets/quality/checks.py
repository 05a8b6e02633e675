"""Checks of generation quality.

Belongs here: what must hold of a bucket's verdicts. Does not belong here: the rules themselves (`rules`).
"""

from cosmo_assets.drift import of_commonest
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, drift_check, share_at_most
from cosmo_resources.storage.manifest import Manifest


def _openers(manifest: Manifest, recipe: Recipe) -> Verdict:
    openers = manifest.summary["openers"]
    opener, count = openers[0] if openers else ("", 0)
    share = count / max(manifest.flow.rows_in, 1)
    limit = recipe.limits.max_opener_share
    return count <= 1 or share <= limit, {"opener": opener, "share": round(share, 4), "limit": limit}


CHECKS = (
    share_at_most(
        "low_quality",
        "The share of texts that break a quality rule is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_low_quality",
    ),
    Check("openers", "No opening of five words is shared by too many texts.", _openers),
    drift_check(
        "opener_drift",
        "No opening of five words has come to begin more of the texts, beyond limit and chance.",
        of_commonest,
        "max_opener_drift",
    ),
)
