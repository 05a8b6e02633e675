"""Checks of signals.

Belongs here: what must hold of the annotations. Does not belong here: bounds of single texts (the recipe's selection).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest


def _one_each(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {"rows": manifest.rows, "documents": manifest.flow.rows_in}


CHECKS = (Check("one_each", "Every document that is left has its figures.", _one_each, blocking=True),)
