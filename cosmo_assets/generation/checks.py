"""Checks of the generations.

Belongs here: what must hold of a bucket's answers. Does not belong here: their quality (`cosmo_assets.quality`).
"""

from cosmo_assets.drift import of_share
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, drift_check, share_at_most
from cosmo_resources.storage.manifest import Manifest


def _complete(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {"rows": manifest.rows, "documents asked for": manifest.flow.rows_in}


def _marked(mark: str, what: str, limit: str) -> Check:
    """The check of one mark (see `cosmo_assets.generation.marks`)."""

    def count(manifest: Manifest) -> int:
        return int(manifest.summary.get(f"mark_{mark}", 0))

    description = f"The share of answers that are {what} is within the recipe's limit."
    return share_at_most(mark, description, count, lambda manifest: manifest.flow.rows_out, limit)


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
    _marked("truncated", "cut off by the token limit", "max_truncated"),
    drift_check(
        "truncation_drift",
        "The share of answers that are cut off by the token limit has not changed beyond limit and chance.",
        of_share,
        "max_truncation_drift",
    ),
    _marked("empty", "empty", "max_empty"),
    _marked("refusal", "refusals in words", "max_refusals"),
    _marked("repetitive", "repetitive", "max_repetitive"),
)
