"""Checks of the generations.

Belongs here: what must hold of a bucket's answers. Does not belong here: their quality (`cosmo_assets.quality`).
"""

from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_resources.storage.manifest import Manifest


def _complete(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {"rows": manifest.rows, "documents asked for": manifest.flow.rows_in}


CHECKS = (
    Check(
        "complete", "Every document asked for is a row: answered, or failed with its reason.", _complete, blocking=True
    ),
    share_at_most(
        "answered",
        "The share of requests without an answer is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.failed.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_failed",
    ),
    share_at_most(
        "truncated",
        "The share of answers cut off by the token limit is within the recipe's limit.",
        lambda manifest: manifest.summary.get("finish_length", 0),
        lambda manifest: manifest.flow.rows_out,
        "max_truncated",
    ),
)
