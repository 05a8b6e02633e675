"""Checks of deduplication.

Belongs here: what must hold of signatures, clusters and verdicts. Does not belong here: the method (`minhash`).
"""

from cosmo_assets.deduplication.canary import planted_recall
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_resources.storage.manifest import Manifest


def _one_each(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {"rows": manifest.rows, "documents": manifest.flow.rows_in}


def _canaries(_: Manifest, recipe: Recipe) -> Verdict:
    recall, false = planted_recall(recipe.deduplication)
    return recall == 1.0 and false == 0, {"recall of planted duplicates": recall, "false pairs": false}


def _clusters_sum(manifest: Manifest, _: Recipe) -> Verdict:
    in_clusters = sum(size * count for size, count in manifest.summary["sizes"])
    return in_clusters == manifest.rows, {"rows": manifest.rows, "documents in clusters": in_clusters}


SIGNATURE_CHECKS = (Check("one_each", "Every document that is left has a signature row.", _one_each, blocking=True),)
CLUSTER_CHECKS = (
    Check(
        "planted_duplicates",
        "Texts that differ by a word, planted beside distinct ones and put through the same stages, are found, all of "
        "them and nothing else.",
        _canaries,
        blocking=True,
    ),
    Check("sizes_add_up", "The clusters' sizes add up to the documents in clusters.", _clusters_sum, blocking=True),
)
VERDICT_CHECKS = (
    share_at_most(
        "duplicates",
        "The share of near-duplicates is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_duplicates",
    ),
)
