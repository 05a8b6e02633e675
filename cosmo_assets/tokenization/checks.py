"""Checks of the token shards.

Belongs here: what must hold before a trainer reads them. Does not belong here: writing them (`shards`).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest


def _sizes(manifest: Manifest, _: Recipe) -> Verdict:
    recorded = {entry.name: entry.bytes for entry in manifest.files}
    width = 2 if manifest.summary["vocabulary"] <= 1 << 16 else 4
    wrong = [name for name, size in manifest.summary["shards"] if recorded[name] != size * width]
    return not wrong, {
        "shards": len(manifest.summary["shards"]),
        "shards of another size than the index": ", ".join(wrong),
    }


def _round_trip(manifest: Manifest, _: Recipe) -> Verdict:
    tried, same = manifest.summary["round_trips"]
    return tried == same, {"documents decoded": tried, "equal to their text": same}


def _stages(manifest: Manifest, _: Recipe) -> Verdict:
    rows = manifest.summary.get("stages", [])
    wrong = [row["stage"] for row in rows if row["copies"] != row["copies_in_mixture"]]
    beside = sum(row["tokens"] for row in rows) != manifest.summary["tokens"] if rows else False
    return not wrong and not beside, {"stages": len(rows), "stages with other documents": ", ".join(wrong)}


CHECKS = (
    Check("sizes", "Every shard file has exactly the tokens that the index says.", _sizes, blocking=True),
    Check(
        "stages", "Every stage has the copies that the mixture gives it; nothing is in none.", _stages, blocking=True
    ),
    Check("round_trip", "Sampled documents decode from the shards to their text.", _round_trip, blocking=True),
)
