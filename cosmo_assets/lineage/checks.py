"""Checks of the token index.

Belongs here: what must hold so that every token can be traced. Does not belong here: asking the index (`trace`).
"""

from cosmo_assets.drift import of_distribution
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, drift_check
from cosmo_resources.storage.manifest import Manifest


def _every_span(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {
        "spans": manifest.rows,
        "spans in the shards": manifest.flow.rows_in,
    }


def _sums(manifest: Manifest, _: Recipe) -> Verdict:
    total = manifest.summary["tokens"]
    wrong = [name for name, parts in manifest.summary["by"].items() if sum(parts.values()) != total]
    return not wrong, {"tokens": total, "columns that do not add up": ", ".join(wrong)}


CHECKS = (
    Check("every_span", "Every span of the shards is in the index exactly once.", _every_span, blocking=True),
    Check("tokens_add_up", "Tokens by source, topic, template, ... add up to all tokens.", _sums, blocking=True),
    drift_check(
        "topic_drift",
        "The topics' shares of the corpus's tokens have not changed beyond limit and chance.",
        of_distribution,
        "max_topic_drift",
    ),
)
