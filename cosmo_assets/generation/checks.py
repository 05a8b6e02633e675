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
    *(
        share_at_most(
            mark,
            f"The share of answers that are {what} is within the recipe's limit.",
            lambda manifest, mark=mark: manifest.summary.get(f"mark_{mark}", 0),
            lambda manifest: manifest.flow.rows_out,
            limit,
        )
        for mark, what, limit in (
            ("truncated", "cut off by the token limit", "max_truncated"),
            ("empty", "empty", "max_empty"),
            ("refusal", "refusals in words", "max_refusals"),
            ("repetitive", "repetitive", "max_repetitive"),
        )
    ),
)
