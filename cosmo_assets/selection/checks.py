"""Checks of the selection.

Belongs here: how much of the corpus it may take. Does not belong here: the limits of a text (the recipe's selection).
"""

from cosmo_assets.reporting import share_at_most

CHECKS = (
    share_at_most(
        "unselected",
        "The share of documents that the selection leaves out is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_unselected",
    ),
)
