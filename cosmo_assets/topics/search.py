"""Topic-first mode: which seeds belong to which topic of the tree, by full-text search.

Belongs here: the seeds' index, the queries, the decision between topics that want the same seed, and reading the
outcome. Does not belong here: the tree itself (`tree`, `expansion`), the engine (`cosmo_resources.fulltext`), or what
becomes of seeds without a topic (the topic policy).

The method is that of Cosmopedia v2 (SmolLM, 2024): for each topic the best k pages for the words of category,
subcategory and subtopic, the subtopic's weighing twice; except that a page belongs to one topic only, and that a page
without any word of the subtopic is no page for it, unless the recipe says `top_up`.
"""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.recipe.topics import TopicTree
from cosmo_assets.schemas.topics import TOPIC_SEEDS
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import embedded_text
from cosmo_resources.errors import CosmoError
from cosmo_resources.fulltext import FullTextIndex, Hits, identity, terms
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.files import write_parquet, write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter, read_table

STAGE_VERSION = "1"
CHUNK_TOPICS = 4096
"""Topics whose seeds are written at a time."""

DOCUMENTS_NAME, STATE_NAME = "documents.parquet", "STATE"


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


def build(workspace: Workspace) -> Manifest:
    """Build `topic_seeds`. Cost: indexing new seeds, linear in their text; one or two searches per topic, each linear
    in the seeds that hold a word of it; memory for about 150 bytes per seed and one topic's hits."""
    store, settings = workspace.store, workspace.recipe.topics.tree
    if settings is None:
        raise CosmoError(f"recipe {workspace.recipe.name} has no topics.tree", remedy="name a tree there")
    tree, seeds = store.open("topic_tree"), store.open("seed_documents")
    return workspace.build(
        "topic_seeds",
        lambda writer: _produce(writer, workspace, settings, tree, seeds),
        stage_version=STAGE_VERSION,
        inputs=(tree.ref(), seeds.ref()),
        params={
            "pages_per_topic": settings.pages_per_topic,
            "boost": settings.boost,
            "min_score": settings.min_score,
            "top_up": settings.top_up,
            "index": identity(),
        },
    )


def topic_terms(topic: Mapping[str, str], boost: float) -> tuple[dict[str, float], tuple[str, ...]]:
    """A topic's query: weight by term, and which terms are the subtopic's own. A word that stands in the subtopic and
    in a parent too has the subtopic's weight."""
    weights = dict.fromkeys(terms(f"{topic['category']} {topic['subcategory']}"), 1.0)
    own = terms(topic["subtopic"])
    return {**weights, **dict.fromkeys(own, boost)}, own


def best_hits(
    index: FullTextIndex, topic: Mapping[str, str], settings: TopicTree, order: npt.NDArray[np.int64]
) -> Hits:
    """The k best seeds of a topic, by falling score, equal scores by `order` (of each document, its place among all):
    those with a word of the subtopic first, then, where there are fewer than k and the recipe says so, those with any
    word of the topic's path, all words weighing 1."""
    k = settings.pages_per_topic
    weights, own = topic_terms(topic, settings.boost)
    found = _first(index.search(list(weights.items()), k, one_of=own), k, order)
    found = _keep(found, found.scores >= settings.min_score)
    if not settings.top_up or len(found.numbers) == k:
        return found
    flat = _first(index.search([(term, 1.0) for term in weights], 2 * k), 2 * k, order)
    flat = _keep(flat, (flat.scores >= settings.min_score) & ~np.isin(flat.numbers, found.numbers))
    more = _keep(flat, np.arange(len(flat.numbers)) < k - len(found.numbers))
    return Hits(np.concatenate([found.numbers, more.numbers]), np.concatenate([found.scores, more.scores]))


@dataclass
class Decision:
    """Which topic gets a seed that several want: the one that ranks it best, then the one with the higher score, then
    the smaller topic_id; topics are offered in the order of their ids. Arrays have one element per document."""

    documents: int
    candidates: int = 0
    lost: int = 0
    topic: npt.NDArray[np.int32] = field(init=False)
    rank: npt.NDArray[np.int32] = field(init=False)
    score: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.topic = np.full(self.documents, -1, np.int32)
        self.rank = np.zeros(self.documents, np.int32)
        self.score = np.zeros(self.documents, np.float64)

    def offer(self, topic: int, hits: Hits) -> None:
        """A topic's hits, best first. `lost` counts the claims that are given up, by this topic or an earlier one."""
        ranks = np.arange(1, len(hits.numbers) + 1, dtype=np.int32)
        taken = self.topic[hits.numbers] >= 0
        rank, score = self.rank[hits.numbers], self.score[hits.numbers]
        better = ~taken | (ranks < rank) | ((ranks == rank) & (hits.scores > score))
        won = hits.numbers[better]
        self.topic[won], self.rank[won], self.score[won] = topic, ranks[better], hits.scores[better]
        self.candidates += len(ranks)
        self.lost += int(taken.sum())


def _produce(writer: DatasetWriter, workspace: Workspace, settings: TopicTree, tree: Dataset, seeds: Dataset) -> None:
    index, ids = open_index(workspace.store.work("topic_seeds") / "index", seeds)
    writer.run["indexed_seeds"] = len(index) - ids.reused
    topics = tree.table(["topic_id", "category", "subcategory", "subtopic"]).to_pylist()
    decision = Decision(len(index))
    hits = np.zeros(len(topics), np.int64)
    by_id = sorted(range(len(topics)), key=lambda number: str(topics[number]["topic_id"]))
    for done, number in enumerate(by_id, 1):
        found = best_hits(index, topics[number], settings, ids.order)
        hits[number] = len(found.numbers)
        decision.offer(number, found)
        workspace.progress(done, len(topics), "topics")
    kept = np.bincount(decision.topic[decision.topic >= 0], minlength=len(topics))
    rows = 0
    for table in _tables(decision, topics, ids.names):
        writer.write(table)
        rows += table.num_rows
    writer.flow("candidates", decision.candidates, rows, dropped={"better_topic": decision.lost})
    k = settings.pages_per_topic
    writer.summary = {
        "topics": len(topics),
        "seeds": seeds.manifest.rows,
        "full": int((hits >= k).sum()),
        "short": int(((hits > 0) & (hits < k)).sum()),
        "empty": int((hits == 0).sum()),
        "without_seeds": int((kept == 0).sum()),
        "categories": _by_category(topics, hits, kept),
        "fewest": _fewest(topics, hits, kept),
    }


def _tables(decision: Decision, topics: Sequence[Mapping[str, str]], names: pa.Array) -> Iterator[pa.Table]:
    """The kept seeds, in the order of the tree and of their ranks; at least one table."""
    used = np.flatnonzero(decision.topic >= 0)
    used = used[np.lexsort((decision.rank[used], decision.topic[used]))]
    topic_of = decision.topic[used]
    topic_ids = pa.array([topic["topic_id"] for topic in topics], pa.string())
    for start in range(0, max(len(topics), 1), CHUNK_TOPICS):
        part = used[np.searchsorted(topic_of, start) : np.searchsorted(topic_of, start + CHUNK_TOPICS)]
        columns = {
            "topic_id": topic_ids.take(pa.array(decision.topic[part])),
            "seed_id": names.take(pa.array(part)),
            "rank": pa.array(decision.rank[part], pa.int64()),
            "score": pa.array(decision.score[part], pa.float64()),
        }
        yield pa.table(columns, schema=TOPIC_SEEDS)


@dataclass(frozen=True)
class Indexed:
    """The documents of an index by number: the seed of each, its place in the order of all seed ids, and how many were
    there already."""

    names: pa.Array
    order: npt.NDArray[np.int64]
    reused: int


def open_index(folder: Path, seeds: Dataset) -> tuple[FullTextIndex, Indexed]:
    """The index of these seeds' titles and texts in `folder`: as it is there, extended by new seeds, or, where the
    engine is another or a seed is gone, built anew. Scores are the same in all three cases. The caller holds the lock.

    STATE says what the index holds and is written last: where it does not agree with what is there, after a kill for
    example, the folder counts as empty. A document's key is the hash of its seed_id, which stands for the text, and
    its title.
    """
    version, (holds, old) = seeds.manifest.version, _stored(folder)
    if holds == version:
        return FullTextIndex(folder), _indexed(old, old.num_rows)
    now = pa.concat_tables([_keys(table) for table in seeds.tables(["seed_id", "title"])])
    if not pc.all(pc.is_in(old["key"], value_set=now["key"].combine_chunks()), min_count=0).as_py():
        old = old.slice(0, 0)
    if not old.num_rows:
        shutil.rmtree(folder, ignore_errors=True)
    index = FullTextIndex(folder)
    is_new = pc.invert(pc.is_in(now["key"], value_set=old["key"].combine_chunks()))
    documents = pa.concat_tables([old, now.filter(is_new)])
    if documents.num_rows > old.num_rows:
        index.extend(enumerate(_texts(seeds, is_new.to_numpy()), start=old.num_rows))
    write_parquet(folder / DOCUMENTS_NAME, documents)
    write_text(folder / STATE_NAME, json.dumps({"index": identity(), "seeds": version, "documents": len(index)}))
    return index, _indexed(documents, old.num_rows)


def _stored(folder: Path) -> tuple[str, pa.Table]:
    """What the index in a folder holds: the version of the seeds and its documents; none where it cannot be used."""
    nothing = "", pa.table({"seed_id": pa.array([], pa.string()), "key": pa.array([], pa.string())})
    try:
        state = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
        if state["index"] != identity():
            return nothing
        documents = read_table(folder / DOCUMENTS_NAME)
        whole = len(FullTextIndex(folder)) == documents.num_rows == state["documents"]
        return (str(state["seeds"]), documents) if whole else nothing
    except (OSError, ValueError, KeyError, TypeError, CosmoError):
        return nothing


def _keys(table: pa.Table) -> pa.Table:
    pairs = zip(table["seed_id"].to_pylist(), table["title"].to_pylist(), strict=True)
    keys = [digest(seed, title or "") for seed, title in pairs]
    return pa.table({"seed_id": table["seed_id"], "key": pa.array(keys, pa.string())})


def _texts(seeds: Dataset, wanted: npt.NDArray[np.bool_]) -> Iterator[str]:
    """The texts of the wanted seeds; `wanted` has one element per seed, in their order."""
    start = 0
    for table in seeds.tables(["title", "text"]):
        chosen = table.filter(pa.array(wanted[start : start + table.num_rows]))
        start += table.num_rows
        for batch in chosen.to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                yield embedded_text(row["title"], row["text"])


def _indexed(documents: pa.Table, reused: int) -> Indexed:
    names = documents["seed_id"].combine_chunks()
    order = np.empty(len(names), np.int64)
    order[pc.sort_indices(names).to_numpy()] = np.arange(len(names))
    return Indexed(names, order, reused)


def _first(found: Hits, limit: int, order: npt.NDArray[np.int64]) -> Hits:
    """The first hits by falling score, equal scores in the order of seed ids."""
    chosen = np.lexsort((order[found.numbers], -found.scores))[:limit]
    return Hits(found.numbers[chosen], found.scores[chosen])


def _keep(found: Hits, which: npt.NDArray[np.bool_]) -> Hits:
    return Hits(found.numbers[which], found.scores[which])


def _by_category(
    topics: Sequence[Mapping[str, str]], hits: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for topic, hit, keeps in zip(topics, hits.tolist(), kept.tolist(), strict=True):
        found[topic["category"]].update(topics=1, hits=hit, seeds=keeps)
    return [{"category": category, **counts} for category, counts in found.items()]


def _fewest(
    topics: Sequence[Mapping[str, str]], hits: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], limit: int = 20
) -> list[dict[str, Any]]:
    """The topics with the fewest seeds."""
    first = sorted(range(len(topics)), key=lambda number: (int(kept[number]), topics[number]["topic_id"]))[:limit]
    return [
        {
            "topic": " / ".join(topics[number][name] for name in ("category", "subcategory", "subtopic")),
            "hits": int(hits[number]),
            "seeds": int(kept[number]),
        }
        for number in first
    ]
