"""Topic-first mode: which seeds belong to which topic of the tree, by full-text search.

Belongs here: the queries, the decision between topics that want the same seed, and reading the outcome. Does not belong
here: the tree itself (`tree`), or what becomes of seeds without a topic (the topic policy).
"""

from collections.abc import Mapping
from typing import NamedTuple

from cosmo_assets.stage import Workspace


class SeedTopic(NamedTuple):
    """The topic of the tree that a seed belongs to."""

    topic_id: str
    category: str
    subcategory: str
    subtopic: str


def topics_of_seeds(workspace: Workspace) -> Mapping[str, SeedTopic]:
    """The topic of every seed that has one, by seed_id; seeds that no topic wanted are not in it. Both datasets,
    `topic_tree` and `topic_seeds`, are inputs of whoever calls this.

    Raises:
        CosmoError: the recipe has a tree but the assets are not built yet.
    """
    tree = workspace.store.open("topic_tree").table(["topic_id", "category", "subcategory", "subtopic"])
    topics = {row["topic_id"]: SeedTopic(**row) for row in tree.to_pylist()}
    found = workspace.store.open("topic_seeds").table(["seed_id", "topic_id"])
    pairs = zip(found["seed_id"].to_pylist(), found["topic_id"].to_pylist(), strict=True)
    return {seed: topics[topic] for seed, topic in pairs}
