"""Checks of the selection and of what filtering costs.

Belongs here: how much of the corpus a selection may take, and of whom; whether a sweep is about all of it. Does not
belong here: the limits of a text (the recipe's selection).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_assets.seeds.checks import identity_disparity
from cosmo_resources.storage.manifest import Manifest


def _most_toxic(recipe: Recipe) -> float | None:
    """The toxicity above which a text of one paragraph goes by a bound, if there is one."""
    bounds = recipe.selection.bounds if recipe.selection else ()
    return min(
        (bound.high for bound in bounds if bound.signal.startswith("toxicity.") and bound.high is not None),
        default=None,
    )


def _short_of(manifest: Manifest, _: Recipe) -> Verdict:
    rows = [row for row in manifest.summary.get("targets", []) if row["documents"] < row["asked"]]
    return not rows, {row["target"]: f"{row['documents']} of {row['asked']}" for row in rows}


CHECKS = (
    share_at_most(
        "unselected",
        "The share of documents that the selection leaves out is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_unselected",
    ),
    identity_disparity(_most_toxic),
    Check(
        "quotas",
        "Each target of DSIR has as many documents as the recipe asks for: too few long enough were there otherwise.",
        _short_of,
    ),
)


def _scored(manifest: Manifest, _: Recipe) -> Verdict:
    whole = manifest.summary["documents"]
    short = {signal: count for signal, count in manifest.summary["scored"].items() if count < whole}
    return not short, {"documents": whole, **{f"with {signal}": count for signal, count in short.items()}}


COSTS_CHECKS = (
    Check(
        "scored",
        "Every document has each signal of the sweep: those without one are no part of its figures.",
        _scored,
    ),
)
