"""Checks of the withdrawals.

Belongs here: what must hold of the record. Does not belong here: keeping it (`record`).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_assets.withdrawal.record import IN_FORCE, RECORD
from cosmo_resources.storage.manifest import Manifest


def _attributed(manifest: Manifest, _: Recipe) -> Verdict:
    nameless = manifest.summary["nameless"]
    return not nameless, {"entries": manifest.summary["entries"], "without who, why or when": nameless}


def _adds_up(manifest: Manifest, _: Recipe) -> Verdict:
    rows = {part: sum(entry.rows for entry in manifest.files if entry.bucket == part) for part in (RECORD, IN_FORCE)}
    restored = manifest.flow.dropped["restored"]
    return rows[RECORD] == rows[IN_FORCE] + 2 * restored, {
        "entries": rows[RECORD],
        "in force": rows[IN_FORCE],
        "restored": restored,
    }


CHECKS = (
    Check("attributed", "Every entry says who made it, when and why.", _attributed),
    Check(
        "record_adds_up",
        "The record holds one entry for each withdrawal in force and two for each that was restored.",
        _adds_up,
        blocking=True,
    ),
)
