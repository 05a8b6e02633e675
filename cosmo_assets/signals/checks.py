"""Checks of signals.

Belongs here: what must hold of the annotations. Does not belong here: bounds of single texts (the recipe's selection).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest

MOST_UNKNOWN = 0.1
"""Above this share a model says which words are rare rather than which texts are odd: it has read too little."""
SMALLER_HALF = 0.3


def _one_each(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {"rows": manifest.rows, "documents": manifest.flow.rows_in}


def _enough(manifest: Manifest, _: Recipe) -> Verdict:
    share = manifest.summary["unknown_word_share"]
    return share <= MOST_UNKNOWN, {"share of words the other half does not have": share, "limit": MOST_UNKNOWN}


def _alike(manifest: Manifest, _: Recipe) -> Verdict:
    counts = [half["words"] for half in manifest.summary["halves"]]
    share = min(counts) / sum(counts)
    return share >= SMALLER_HALF, {"share of the smaller half": round(share, 4), "limit": SMALLER_HALF}


MODEL_CHECKS = (
    Check("enough_text", "Few words of one half of the reference are unknown to the model of the other.", _enough),
    Check("halves_alike", "Both halves of the reference have about as many words.", _alike),
)
CHECKS = (Check("one_each", "Every document that is left has its figures.", _one_each, blocking=True),)
