"""Checks of deduplication.

Belongs here: what must hold of signatures, embeddings, clusters and verdicts. Does not belong here: the methods.
"""

from cosmo_assets.deduplication.canary import planted_recall
from cosmo_assets.drift import of_share
from cosmo_assets.recipe.deduplication import SemanticMethod
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, drift_check, share_at_most
from cosmo_resources.storage.manifest import Manifest


def _one_each(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.rows == manifest.flow.rows_in, {"rows": manifest.rows, "documents": manifest.flow.rows_in}


def _canaries(_: Manifest, recipe: Recipe) -> Verdict:
    tried = [method for method in recipe.deduplication.methods if not isinstance(method, SemanticMethod)]
    found = {method.method: planted_recall(method) for method in tried}
    shown: dict[str, float | int | str] = {}
    for name, (recall, false) in found.items():
        shown |= {f"{name}: recall of planted duplicates": recall, f"{name}: false duplicates": false}
    return all(outcome == (1.0, 0) for outcome in found.values()), shown


def _clusters_sum(manifest: Manifest, _: Recipe) -> Verdict:
    in_clusters = sum(size * count for size, count in manifest.summary["sizes"])
    foreign = manifest.summary["of_other_corpora"]
    return in_clusters == manifest.rows + foreign, {
        "rows": manifest.rows,
        "documents in clusters": in_clusters,
        "of them in other corpora": foreign,
    }


EMBEDDING_CHECKS = (Check("one_each", "Every document that is left has an embedding.", _one_each, blocking=True),)
SIGNATURE_CHECKS = (Check("one_each", "Every document that is left has a signature row.", _one_each, blocking=True),)
CLUSTER_CHECKS = (
    Check(
        "planted_duplicates",
        "Copies planted beside distinct texts and put through the methods are found, all of them and nothing else.",
        _canaries,
        blocking=True,
    ),
    Check("sizes_add_up", "The clusters' sizes add up to the documents in clusters.", _clusters_sum, blocking=True),
    drift_check(
        "duplicate_drift",
        "The share of duplicates has not changed beyond limit and chance.",
        of_share,
        "max_duplicate_drift",
    ),
)
VERDICT_CHECKS = (
    share_at_most(
        "duplicates",
        "The share of duplicates is within the recipe's limit.",
        lambda manifest: sum(manifest.flow.dropped.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_duplicates",
    ),
)
