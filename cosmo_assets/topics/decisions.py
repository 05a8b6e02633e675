"""The decision on every seed: which topic it has, and whether it may become prompts.

Belongs here: applying the topic policy seed by seed, what is excluded and why, and reading the outcome. Does not belong
here: the rules (`policy`), where topics come from (`labelling`; in topic-first mode `tree` and `search`).

A seed's topic is the label of its cluster. In topic-first mode it is the subtopic that the seed belongs to, and a seed
that no topic wanted is excluded; the policy then judges both, the cluster by its label and the subtopic by its words.
Sources with `topic_filter: false` are exempt: their seeds are never excluded.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.topics import TopicPolicy
from cosmo_assets.schemas.topics import SEED_TOPICS
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.map_page import cut
from cosmo_assets.topics.policy import decide, idle_patterns, resolved, unused
from cosmo_assets.topics.search import SeedTopic, topics_of_seeds
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter, read_table

STAGE_VERSION = "3"
NO_TOPIC = "no_topic"
OUTLIER = "outlier"
SAMPLES, SAMPLE_CHARS = 3, 90
MAX_TOPICS = 2000
"""Topics of the tree in the summary, those with the most seeds; the table has all."""


class Decision(NamedTuple):
    """What is decided of a seed; `excluded` is the reason, or None where it may become prompts."""

    cluster_id: int
    topic_id: str | None
    topic: str | None
    score: float | None
    excluded: str | None


def exempt_sources(recipe: Recipe) -> frozenset[str]:
    """The sources whose seeds are kept whatever their topic is."""
    return frozenset(source.name for source in recipe.sources if not source.topic_filter)


def build(workspace: Workspace) -> Manifest:
    """Build `seed_topics`. Cost: a few short columns of the seeds; the texts of the part files that hold the samples of
    excluded clusters, where these have no titles. Memory: ids of all seeds, one part file of texts.

    Raises:
        CosmoError: an input is not built yet, or was built of other seeds than there are now.
    """
    store, recipe = workspace.store, workspace.recipe
    tree = ("topic_tree", "topic_seeds") if recipe.topics.tree is not None else ()
    seeds, clusters, labels, *more = (
        store.open(name) for name in ("seed_documents", "seed_clusters", "topic_labels", *tree)
    )
    policy, exempt = resolved(recipe), exempt_sources(recipe)
    return workspace.build(
        "seed_topics",
        lambda writer: _produce(writer, workspace, _judge(workspace, labels, policy, exempt), seeds, clusters),
        stage_version=STAGE_VERSION,
        inputs=tuple(dataset.ref() for dataset in (seeds, clusters, labels, *more)),
        params={"policy": policy.model_dump(mode="json"), "exempt": sorted(exempt)},
    )


@dataclass
class Judge:
    """Decides on seeds: `topic_of` has the topic of the tree for every seed that one wanted, or is None where topics
    come from the clusters."""

    labels: Mapping[int, Mapping[str, Any]]
    topic_of: Mapping[str, SeedTopic] | None
    policy: TopicPolicy
    exempt: frozenset[str]
    tree: dict[str, SeedTopic] = field(init=False)
    """The topics of the tree that have seeds, by topic_id."""
    clusters: dict[int, str | None] = field(init=False)
    """Why the seeds of a cluster are excluded, by cluster."""
    topics: dict[str, str | None] = field(init=False)
    """The same of the topics in `tree`."""

    def __post_init__(self) -> None:
        self.tree = {topic.topic_id: topic for topic in (self.topic_of or {}).values()}
        self.clusters = {key: decide(label, self.policy) for key, label in self.labels.items()}
        self.topics = {key: decide(as_label(topic.subtopic), self.policy) for key, topic in self.tree.items()}

    def decide(self, seed: str, source: str, cluster: int, outlier: bool) -> Decision:
        """Reasons in order: the cluster's, an outlier of it, no topic, the topic's. A topic that was searched for is no
        matter of distances."""
        if self.topic_of is None:
            topic_id, topic = None, self.labels[cluster]["topic"]
            why = self.clusters[cluster] or (OUTLIER if outlier else None)
        elif (found := self.topic_of.get(seed)) is None:
            topic_id, topic, why = None, None, self.clusters[cluster] or NO_TOPIC
        else:
            topic_id, topic = found.topic_id, found.subtopic
            why = self.clusters[cluster] or self.topics[topic_id]
        score = self.labels[cluster]["score"]
        return Decision(cluster, topic_id, topic, score, None if source in self.exempt else why)


def as_label(subtopic: str) -> dict[str, Any]:
    """A topic of the tree as the policy sees it: nobody has given it a score or a heading."""
    return {"topic": subtopic, "score": None, "heading": None}


def _judge(workspace: Workspace, labels: Dataset, policy: TopicPolicy, exempt: frozenset[str]) -> Judge:
    by_cluster = {row["cluster_id"]: row for row in labels.table().to_pylist()}
    topics = topics_of_seeds(workspace) if workspace.recipe.topics.tree is not None else None
    return Judge(by_cluster, topics, policy, exempt)


@dataclass
class Samples:
    """The titles of the seeds nearest to the centroid of every excluded cluster; the first words of a seed that has
    none."""

    best: dict[int, list[tuple[float, str, int, str | None]]] = field(default_factory=lambda: defaultdict(list))
    """Of each cluster distance, seed, number of its part file, title."""

    def offer(self, cluster: int, distance: float, seed: str, part: int, title: str | None) -> None:
        best = self.best[cluster]
        if len(best) < SAMPLES or (distance, seed) < best[-1][:2]:
            best.append((distance, seed, part, title))
            best.sort(key=lambda sample: sample[:2])
            del best[SAMPLES:]

    def titles(self, seeds: Dataset) -> dict[int, list[str]]:
        """Read one after another those part files that hold an untitled sample."""
        wanted: dict[int, set[str]] = defaultdict(set)
        for _, seed, part, title in (sample for best in self.best.values() for sample in best):
            if not title:
                wanted[part].add(seed)
        texts: dict[str, str] = {}
        for part, ids in sorted(wanted.items()):
            table = read_table(seeds.paths()[part], ["seed_id", "text"])
            found = table.filter(pc.is_in(table["seed_id"], value_set=pa.array(sorted(ids), pa.string())))
            texts |= {row["seed_id"]: cut(row["text"], SAMPLE_CHARS) for row in found.to_pylist()}
        return {
            cluster: [cut(title, SAMPLE_CHARS) if title else texts[seed] for _, seed, _, title in best]
            for cluster, best in self.best.items()
        }


def _produce(writer: DatasetWriter, workspace: Workspace, judge: Judge, seeds: Dataset, clusters: Dataset) -> None:
    place_of = _places(clusters)
    if unknown := {cluster for cluster, *_ in place_of.values()} - set(judge.labels):
        raise CosmoError(
            f"topic_labels knows nothing of cluster {min(unknown)}, which seed_clusters has seeds in",
            remedy="run `cosmo run --asset topic_labels`, then this again",
        )
    samples, dropped = Samples(), Counter[str]()
    by_cluster: dict[int, Counter[str]] = defaultdict(Counter)
    by_topic: dict[str, Counter[str]] = defaultdict(Counter)
    done = 0
    for part, table in enumerate(seeds.tables(["seed_id", "source", "title"])):
        rows: list[dict[str, Any]] = []
        for seed, source, title in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if seed not in place_of:
                raise CosmoError(
                    f"seed_clusters knows nothing of seed {seed}: it was built of other seeds",
                    remedy="run `cosmo run --asset seed_embeddings --asset seed_clusters`, then this again",
                )
            cluster, distance, outlier = place_of[seed]
            decision = judge.decide(seed, source, cluster, outlier)
            counted = {"seeds": 1, "kept": decision.excluded is None}
            by_cluster[cluster].update(counted)
            if decision.topic_id is not None:
                by_topic[decision.topic_id].update(counted)
            if decision.excluded is not None:
                dropped[decision.excluded] += 1
            if judge.clusters[cluster] is not None:
                samples.offer(cluster, distance, seed, part, title)
            rows.append({"seed_id": seed, **decision._asdict()})
        writer.write(pa.Table.from_pylist(rows, schema=SEED_TOPICS))
        done += len(rows)
        workspace.progress(done, seeds.manifest.rows, "seeds")
    writer.flow("seeds", seeds.manifest.rows, done - dropped.total(), dropped=dropped)
    known = [*judge.labels.values(), *map(as_label, _subtopics(workspace))]
    writer.summary = {
        "clusters": _clusters(judge, by_cluster, samples.titles(seeds)),
        "topics": _topics(judge, by_topic),
        "topics_with_seeds": len(by_topic),
        "overrides_without_a_topic": unused(known, judge.policy),
        "patterns_without_a_topic": idle_patterns(known, judge.policy),
    }


def _subtopics(workspace: Workspace) -> list[str]:
    """Of the whole tree, those without seeds included."""
    if workspace.recipe.topics.tree is None:
        return []
    found: list[str] = workspace.store.open("topic_tree").table(["subtopic"])["subtopic"].to_pylist()
    return found


def _places(clusters: Dataset) -> dict[str, tuple[int, float, bool]]:
    """Cluster, distance to its centroid, and whether it is an outlier, by seed."""
    found: dict[str, tuple[int, float, bool]] = {}
    for table in clusters.tables(["seed_id", "cluster_id", "distance", "outlier"]):
        ids, *places = (column.to_pylist() for column in table.columns)
        found.update(zip(ids, zip(*places, strict=True), strict=True))
    return found


def _clusters(
    judge: Judge, counts: Mapping[int, Mapping[str, int]], samples: Mapping[int, list[str]]
) -> list[dict[str, Any]]:
    return [
        {
            "cluster": cluster,
            "topic": label["topic"],
            "heading": label["heading"],
            "score": label["score"],
            "seeds": counts.get(cluster, {}).get("seeds", 0),
            "kept": counts.get(cluster, {}).get("kept", 0),
            "excluded": judge.clusters[cluster],
            "samples": samples.get(cluster, []),
        }
        for cluster, label in sorted(judge.labels.items())
    ]


def _topics(judge: Judge, counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """The topics of the tree that have seeds, those with the most first."""
    first = sorted(counts, key=lambda topic: (-counts[topic]["seeds"], topic))[:MAX_TOPICS]
    return [
        {
            "topic": judge.tree[topic].subtopic,
            "topic_id": topic,
            "category": judge.tree[topic].category,
            "subcategory": judge.tree[topic].subcategory,
            "seeds": counts[topic]["seeds"],
            "kept": counts[topic]["kept"],
            "excluded": judge.topics[topic],
        }
        for topic in first
    ]
