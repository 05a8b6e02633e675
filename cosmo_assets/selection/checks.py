"""Checks of the selection.

Belongs here: how much of the corpus it may take, and of whom. Does not belong here: the limits of a text (the recipe's
selection).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import share_at_most
from cosmo_assets.seeds.checks import identity_disparity


def _most_toxic(recipe: Recipe) -> float | None:
    """The toxicity above which a text of one paragraph goes by a bound, if there is one."""
    bounds = recipe.selection.bounds if recipe.selection else ()
    return min(
        (bound.high for bound in bounds if bound.signal.startswith("toxicity.") and bound.high is not None),
        default=None,
    )


CHECKS = (
    share_at_most(
        "unselected",
        "The share of documents that the selection leaves out is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_unselected",
    ),
    identity_disparity(_most_toxic),
)
