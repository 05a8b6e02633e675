"""Checks of the mixture.

Belongs here: what must hold of the selection. Does not belong here: the arithmetic (`allocation`).
"""

from cosmo_assets.mixture.nearness import FIELD, beside, optimum_of
from cosmo_assets.mixture.nearness import TOLERANCE as OPTIMUM_TOLERANCE
from cosmo_assets.quantity.multiplicity import TIMES, multiplicity
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest

TOLERANCE = 0.05
MAX_EPOCHS = 4.0
"""Muennighoff et al. 2023 find up to four epochs of repeated data about as good as new data."""


def _shares(manifest: Manifest, _: Recipe) -> Verdict:
    components = manifest.summary["components"]
    drawn, wanted = (max(1, sum(row[name] for row in components)) for name in ("drawn", "wanted"))
    gaps = {row["source"]: round(abs(row["drawn"] / drawn - row["wanted"] / wanted), 4) for row in components}
    worst = max(gaps, key=gaps.__getitem__, default="")
    return all(gap <= TOLERANCE for gap in gaps.values()), {
        "worst source": worst,
        "gap": gaps.get(worst, 0.0),
        "tolerance": TOLERANCE,
    }


def _epochs(manifest: Manifest, _: Recipe) -> Verdict:
    most = max((row["most_epochs"] for row in manifest.summary["components"]), default=0.0)
    return most <= MAX_EPOCHS, {"most epochs": most, "limit": MAX_EPOCHS}


def _multiplicity(manifest: Manifest, recipe: Recipe) -> Verdict:
    """A version of a stage that did not count copies passes."""
    found, bound = manifest.summary.get("by_copies"), recipe.limits.max_copies
    if not found:
        return True, {"counted": "no: build it again"}
    seen = multiplicity([tokens for _, tokens in found], [copies for copies, _ in found], 1.0)
    shares = {f"share of tokens seen more than {times} times": round(seen.above[times], 4) for times in TIMES}
    return seen.most <= bound, {
        "most copies": int(seen.most),
        "limit": bound,
        "recipe field": "limits.max_copies",
        "mean": round(seen.mean, 4),
        **shares,
    }


def _near_optimum(manifest: Manifest, recipe: Recipe) -> Verdict:
    """Passes where the recipe names no optimum."""
    optimum = optimum_of(recipe)
    if optimum is None:
        return True, {"compared with": f"nothing: the recipe has no {FIELD}"}
    rows = beside(manifest.summary["components"], optimum)
    far = [
        f"{row.source} {row.share:.4f} (optimum {row.optimum:.4f}, {row.low:.4f} to {row.high:.4f})"
        for row in rows
        if row.near is False
    ]
    return not far, {
        "far": "; ".join(far),
        "tolerance": OPTIMUM_TOLERANCE,
        "not in the mixture": ", ".join(row.source for row in rows if row.optimum is not None and not row.available),
        "not in the optimum": ", ".join(row.source for row in rows if row.optimum is None),
        "by the": optimum.method,
    }


CHECKS = (
    Check("shares", "Each source's share of tokens, before withdrawals, is near its target.", _shares),
    Check("epochs", "No source is repeated more than four times, factors included.", _epochs),
    Check(
        "multiplicity",
        "No document stands in the corpus more often than the recipe's limit, however rarely others do.",
        _multiplicity,
        blocking=True,
    ),
    Check(
        "near_optimum",
        "Each source's share of tokens is near the interval of the weights that the recipe names as its optimum.",
        _near_optimum,
    ),
)
