"""Checks of embeddings, clusters and labels.

Belongs here: what must hold of the topic assets. Does not belong here: the topic policy (`policy`).
"""

from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest


def _one_each(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {"rows": manifest.rows, "seeds": manifest.flow.rows_in}


def _balanced(manifest: Manifest, _: Recipe) -> Verdict:
    sizes = manifest.summary["sizes"]
    largest = max(sizes) / max(sum(sizes), 1)
    return largest <= 0.5, {"share of the largest cluster": round(largest, 4), "limit": 0.5}


def _labelled(manifest: Manifest, _: Recipe) -> Verdict:
    share = manifest.flow.rows_out / max(manifest.flow.rows_in, 1)
    return share >= 0.9, {"share of clusters with a label": round(share, 4), "limit": 0.9}


EMBEDDING_CHECKS = (Check("one_each", "Every seed has exactly one embedding.", _one_each, blocking=True),)
MODEL_CHECKS = (Check("largest_cluster", "No cluster holds more than half of the seeds.", _balanced),)
ASSIGNMENT_CHECKS = (
    Check("one_each", "Every seed is in exactly one cluster.", _one_each, blocking=True),
    Check("largest_cluster", "No cluster holds more than half of the seeds.", _balanced),
)
LABEL_CHECKS = (Check("labelled", "Nine of ten clusters have a usable label.", _labelled),)
