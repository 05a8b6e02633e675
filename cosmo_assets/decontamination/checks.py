"""Checks of decontamination.

Belongs here: what must hold of the index and of a bucket's verdicts. Does not belong here: the rules (`rules`).
"""

from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_resources.storage.manifest import Manifest


def _benchmarks(manifest: Manifest, recipe: Recipe) -> Verdict:
    empty = [row["benchmark"] for row in manifest.summary["benchmarks"] if not row["items"]]
    checked = len(manifest.summary["benchmarks"]) - len(empty)
    return not empty and checked >= len(recipe.decontamination.benchmarks), {
        "benchmarks checked": checked,
        "benchmarks without items": ", ".join(empty),
    }


def _some_removed(manifest: Manifest, recipe: Recipe) -> Verdict:
    share = sum(manifest.flow.dropped.values()) / max(manifest.flow.rows_in, 1)
    bound = recipe.limits.min_contaminated
    return share >= bound, {"share": round(share, 4), "limit": bound, "recipe field": "limits.min_contaminated"}


def _searchable(manifest: Manifest, _: Recipe) -> Verdict:
    unchecked = [
        f"{row['benchmark']}: {row['unchecked']:,}" for row in manifest.summary["benchmarks"] if row["unchecked"]
    ]
    return not unchecked, {"items that no rule can find": ", ".join(unchecked)}


INDEX_CHECKS = (Check("items_searchable", "Every item can be found by at least one of the rules.", _searchable),)
CHECKS = (
    Check("benchmarks_checked", "Every benchmark of the recipe was checked and has items.", _benchmarks, blocking=True),
    share_at_most(
        "removed_at_most",
        "The share of contaminated documents is within the recipe's upper limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_contaminated",
    ),
    Check("removed_at_least", "As many documents are contaminated as the recipe expects at least.", _some_removed),
)
