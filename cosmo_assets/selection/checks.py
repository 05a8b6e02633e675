"""Checks of the selection and of what filtering costs.

Belongs here: how much of the corpus a selection may take, whether a sweep is about all of it. Does not belong here: the
limits of a text (the recipe's selection).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_resources.storage.manifest import Manifest

CHECKS = (
    share_at_most(
        "unselected",
        "The share of documents that the selection leaves out is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_unselected",
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
