"""Checks of educational labels and of the classifier that learns them.

Belongs here: what must hold of them. Does not belong here: bounds of single texts (the recipe's selection).
"""

from cosmo_assets.education.classifier import GOOD
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest

LEAST_READABLE = 0.9
LEAST_OF_EACH = 20


def _labelled(manifest: Manifest, _: Recipe) -> Verdict:
    share = manifest.flow.rows_out / max(manifest.summary["asked"], 1)
    return share >= LEAST_READABLE, {"share of texts with a label": round(share, 4), "limit": LEAST_READABLE}


def _both_kinds(manifest: Manifest, _: Recipe) -> Verdict:
    scores = manifest.summary["scores"]
    counts = {f"below {GOOD}": sum(scores[:GOOD]), f"{GOOD} and more": sum(scores[GOOD:])}
    return min(counts.values()) >= LEAST_OF_EACH, {**counts, "limit": LEAST_OF_EACH}


def _agrees(manifest: Manifest, recipe: Recipe) -> Verdict:
    found, bound = manifest.summary["spearman"], recipe.educational.min_correlation
    figures = {"held-out Spearman correlation": found, "limit": bound}
    return found >= bound, {**figures, "recipe field": "educational.min_correlation"}


def _better(manifest: Manifest, _: Recipe) -> Verdict:
    found, bound = manifest.summary["mae"], manifest.summary["mae_of_the_mean"]
    return found < bound, {"held-out mean absolute error": found, "of the mean label": bound}


LABEL_CHECKS = (
    Check("labelled", "The model gave nearly every text that it was asked about a label.", _labelled),
    Check("both_kinds", "There are enough labels on both sides of what counts as educational.", _both_kinds),
)
CLASSIFIER_CHECKS = (
    Check("agrees", "Held-out scores rank texts much as their labels do.", _agrees),
    Check("better_than_the_mean", "Held-out scores are nearer to the labels than the mean label is.", _better),
)
