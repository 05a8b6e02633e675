"""Checks of decontamination.

Belongs here: what must hold of the index, of the seeds and of a bucket's verdicts. Does not belong here: the rules
(`rules`).
"""

from collections.abc import Callable

from cosmo_assets import drift
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, change, drift_check, share_at_most
from cosmo_resources.storage.manifest import Manifest

ENOUGH_DOCUMENTS, ENOUGH_SEEDS = 250_000, 20_000
"""Of so many, none at all is suspicious. Cosmopedia removed 587 of its 31 million documents: one in 53,000, so that
250,000 hold none once in a hundred times. Real web pages, books and articles hold one in 300 to 400."""


def _benchmarks(manifest: Manifest, recipe: Recipe) -> Verdict:
    empty = [row["benchmark"] for row in manifest.summary["benchmarks"] if not row["items"]]
    checked = len(manifest.summary["benchmarks"]) - len(empty)
    return not empty and checked >= len(recipe.decontamination.benchmarks), {
        "benchmarks checked": checked,
        "benchmarks without items": ", ".join(empty),
    }


def _removed(manifest: Manifest) -> int:
    return sum(manifest.flow.dropped.values())


def _contaminated(manifest: Manifest) -> int:
    return int(manifest.summary["contaminated"])


def none_is_suspicious(found: int, whole: int, enough: int, recipe: Recipe) -> bool:
    """Whether nothing was found among enough rows, though there are benchmarks."""
    return found == 0 and whole >= enough and bool(recipe.decontamination.benchmarks)


def _at_least(name: str, description: str, part: Callable[[Manifest], int], limit: str, enough: int) -> Check:
    """A check that a share is not below a limit of the recipe; without one, that it is not 0 of enough rows."""

    def test(manifest: Manifest, recipe: Recipe) -> Verdict:
        found, whole, bound = part(manifest), manifest.flow.rows_in, getattr(recipe.limits, limit)
        share = found / max(whole, 1)
        if bound is not None:
            passed, shown = share >= bound, bound
        else:
            passed, shown = not none_is_suspicious(found, whole, enough, recipe), f"one of {enough:,}"
        return passed, {"share": round(share, 4), "limit": shown, "recipe field": f"limits.{limit}"}

    return Check(name, description, test)


def _searchable(manifest: Manifest, _: Recipe) -> Verdict:
    unchecked = [
        f"{row['benchmark']}: {row['unchecked']:,}" for row in manifest.summary["benchmarks"] if row["unchecked"]
    ]
    return not unchecked, {"items that no rule can find": ", ".join(unchecked)}


def _still_found(manifest: Manifest, recipe: Recipe) -> Verdict:
    """Benchmarks that either version does not search are left out."""
    found = drift.compare(manifest, drift.of_parts_in_both)
    if found is None:
        return True, {"compared with": "nothing: this version is empty"}
    vanished = not found.now and found.exceeds(0, drift.BLOCKING_CHANCE) and recipe.limits.min_contaminated != 0
    return not vanished, {**change(found), "recipe field": "limits.min_contaminated"}


INDEX_CHECKS = (Check("items_searchable", "Every item can be found by at least one of the rules.", _searchable),)
CHECKS = (
    Check("benchmarks_checked", "Every benchmark of the recipe was checked and has items.", _benchmarks, blocking=True),
    share_at_most(
        "removed_at_most",
        "The share of contaminated documents is within the recipe's upper limit.",
        _removed,
        lambda manifest: manifest.flow.rows_in,
        "max_contaminated",
    ),
    _at_least(
        "removed_at_least",
        "As many documents are contaminated as the recipe expects at least; of very many, one.",
        _removed,
        "min_contaminated",
        ENOUGH_DOCUMENTS,
    ),
    drift_check(
        "contamination_drift",
        "The share of contaminated documents has not changed beyond limit and chance.",
        drift.of_share,
        "max_contamination_drift",
    ),
    Check(
        "still_found",
        "Where documents were contaminated, some still are: none at all means that items are missed and "
        "reach the tokens, if it is beyond chance. A recipe that expects none says limits.min_contaminated: 0.",
        _still_found,
        blocking=True,
    ),
)
SEED_CHECKS = (
    share_at_most(
        "found_at_most",
        "The share of contaminated seeds is within the recipe's upper limit.",
        _contaminated,
        lambda manifest: manifest.flow.rows_in,
        "max_contaminated_seeds",
    ),
    _at_least(
        "found_at_least",
        "As many seeds are contaminated as the recipe expects at least; of very many, one.",
        _contaminated,
        "min_contaminated_seeds",
        ENOUGH_SEEDS,
    ),
)
