"""Checks of embeddings, clusters, labels and decisions.

Belongs here: what must hold of the topic assets. Does not belong here: the topic policy (`policy`).
"""

from cosmo_assets.drift import of_distribution
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, drift_check, share_at_most
from cosmo_assets.topics.decisions import NO_TOPIC
from cosmo_assets.topics.map_page import MAX_PAGE_BYTES
from cosmo_assets.topics.mapping import PAGE
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


def _agreed(manifest: Manifest, recipe: Recipe) -> Verdict:
    share = manifest.summary["agreed"] / max(manifest.flow.rows_out, 1)
    bound = recipe.limits.min_label_agreement
    figures = {"share of clusters whose votes agreed": round(share, 4), "limit": bound}
    return share >= bound, {**figures, "recipe field": "limits.min_label_agreement"}


def _light(manifest: Manifest, _: Recipe) -> Verdict:
    pages = [entry.bytes for entry in manifest.files if entry.name == PAGE]
    return len(pages) == 1 and 0 < pages[0] <= MAX_PAGE_BYTES, {"page bytes": sum(pages), "limit": MAX_PAGE_BYTES}


def _expanded(manifest: Manifest, recipe: Recipe) -> Verdict:
    flow = manifest.flow
    share = sum(flow.failed.values()) / max(flow.rows_in, 1)
    figures = {"without_subtopics": sum(flow.failed.values()), "subcategories": flow.rows_in, **flow.failed}
    bound = recipe.limits.max_unexpanded
    return share <= bound, {
        **figures,
        "share": round(share, 4),
        "limit": bound,
        "recipe field": "limits.max_unexpanded",
    }


def _full(manifest: Manifest, recipe: Recipe) -> Verdict:
    summary = manifest.summary
    share = summary["full"] / max(summary["topics"], 1)
    bound = recipe.limits.min_full_topics
    figures = {name: summary[name] for name in ("topics", "full", "short", "empty")}
    return share >= bound, {
        **figures,
        "share": round(share, 4),
        "limit": bound,
        "recipe field": "limits.min_full_topics",
    }


def _used(manifest: Manifest, recipe: Recipe) -> Verdict:
    share = manifest.rows / max(manifest.summary["seeds"], 1)
    bound = recipe.limits.min_seeds_used
    figures = {"used": manifest.rows, "seeds": manifest.summary["seeds"]}
    return share >= bound, {
        **figures,
        "share": round(share, 4),
        "limit": bound,
        "recipe field": "limits.min_seeds_used",
    }


def _by_the_policy(manifest: Manifest) -> int:
    return sum(count for reason, count in manifest.flow.dropped.items() if reason != NO_TOPIC)


def _overrides_used(manifest: Manifest, _: Recipe) -> Verdict:
    names = ("overrides_without_a_topic", "patterns_without_a_topic")
    return not manifest.summary[names[0]], {name.replace("_", " "): ", ".join(manifest.summary[name]) for name in names}


EMBEDDING_CHECKS = (Check("one_each", "Every seed has exactly one embedding.", _one_each, blocking=True),)
MODEL_CHECKS = (Check("largest_cluster", "No cluster holds more than half of the seeds.", _balanced),)
ASSIGNMENT_CHECKS = (
    Check("one_each", "Every seed is in exactly one cluster.", _one_each, blocking=True),
    Check("largest_cluster", "No cluster holds more than half of the seeds.", _balanced),
)
LABEL_CHECKS = (
    Check("labelled", "Nine of ten clusters have a usable label.", _labelled),
    Check("agreed", "The model says the same of a cluster from different extracts, in enough clusters.", _agreed),
)
MAP_CHECKS = (
    Check("one_each", "Every seed has exactly one place on the map.", _one_each),
    Check("page_size", "The page of the map is one file that a browser opens at once.", _light),
)
TREE_CHECKS = (Check("expanded", "The model named subtopics for the subcategories that wanted some.", _expanded),)
TOPIC_SEED_CHECKS = (
    Check("full_topics", "Enough topics found as many seeds as were wanted.", _full),
    Check("seeds_used", "Enough seeds belong to a topic.", _used),
)
DECISION_CHECKS = (
    Check("one_each", "There is exactly one decision on every seed.", _one_each, blocking=True),
    share_at_most(
        "excluded",
        "The topic policy excludes few enough seeds, those without a topic of the tree not counted.",
        _by_the_policy,
        lambda manifest: manifest.flow.rows_in,
        "max_excluded",
    ),
    Check("overrides_used", "Every override names a topic that there is.", _overrides_used),
    drift_check(
        "topic_drift",
        "The topics' shares of the seeds that are kept have not changed beyond limit and chance.",
        of_distribution,
        "max_topic_drift",
    ),
)
