"""Seeds of topics: what is found, in which order, who gets a seed that several want, and what is indexed again."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import seed_id
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import search
from cosmo_assets.topics.checks import TOPIC_SEED_CHECKS
from cosmo_assets.topics.expansion import topic_id
from cosmo_assets.topics.search import Decision, SeedTopic, build, topic_terms, topics_of_seeds
from cosmo_resources.errors import CosmoError
from cosmo_resources.fulltext import Hits
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe

TOPICS = [
    ("Science", "Water", "River valleys"),
    ("Science", "Water", "Rain"),
    ("Science", "Sky", "Stars"),
    ("Crafts", "Metal", "Iron ships"),
    ("Crafts", "Metal", "Market trade"),
]


def seed(text: str, title: str | None = None) -> dict[str, Any]:
    return {"seed_id": seed_id("pages", title or "", text), "title": title, "text": text}


def seeds(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [seed(prose(f"seed {number}", 20 + number % 50)) for number in range(start, start + count)]


def space(
    folder: Path, documents: Sequence[Mapping[str, Any]], topics: Sequence[tuple[str, str, str]], **fields: Any
) -> Workspace:
    tree = {"path": "general", "pages_per_topic": 5, **fields}
    workspace = Workspace(CorpusStore(folder / "store"), recipe(topics={"clustering": {"clusters": 1}, "tree": tree}))
    rows = [dict(zip(SeedTopic._fields, (topic_id(*path), *path), strict=True)) for path in topics]
    put(workspace, "topic_tree", {None: rows}, version=json_digest(rows))
    half = len(documents) // 2
    parts = {None: documents[:half], "second": documents[half:]}
    put(workspace, "seed_documents", parts, version=json_digest(list(documents)))
    return workspace


def find(
    folder: Path,
    documents: Sequence[Mapping[str, Any]],
    topics: Sequence[tuple[str, str, str]] = TOPICS,
    **fields: Any,
) -> Manifest:
    return build(space(folder, documents, topics, **fields))


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = CorpusStore(folder / "store").open("topic_seeds").table().to_pylist()
    return found


def found_for(folder: Path, documents: Sequence[Mapping[str, Any]], path: tuple[str, str, str]) -> list[int]:
    """Positions of a topic's seeds among the documents, best first."""
    positions = {document["seed_id"]: number for number, document in enumerate(documents)}
    return [positions[row["seed_id"]] for row in rows(folder) if row["topic_id"] == topic_id(*path)]


def test_a_topic_gets_the_seeds_that_speak_of_its_subtopic(tmp_path: Path) -> None:
    documents = [
        seed("Water, water, and science of water."),
        seed("A river, and a valley; the valleys of rivers."),
        seed("Where the river ends the sea begins, and that is all about it that is known."),
        seed("Nothing but words."),
        seed("Its text says nothing.", title="River Valleys"),
    ]
    find(tmp_path, documents, TOPICS[:1])
    assert found_for(tmp_path, documents, TOPICS[0]) == [1, 4, 2]
    assert [row["rank"] for row in rows(tmp_path)] == [1, 2, 3]
    assert [row["score"] for row in rows(tmp_path)] == sorted((row["score"] for row in rows(tmp_path)), reverse=True)


def test_topping_up_takes_seeds_of_the_path_behind_all_others(tmp_path: Path) -> None:
    documents = [
        seed("Water, water, and the science of water."),
        seed("A river."),
        seed("Science, the science of sciences."),
        seed("Nothing but words."),
    ]
    find(tmp_path, documents, TOPICS[:1], pages_per_topic=3, top_up=True)
    assert found_for(tmp_path, documents, TOPICS[0])[0] == 1
    assert sorted(found_for(tmp_path, documents, TOPICS[0])) == [0, 1, 2]
    find(tmp_path, documents, TOPICS[:1], pages_per_topic=2, top_up=True)
    assert len(found_for(tmp_path, documents, TOPICS[0])) == 2
    find(tmp_path, documents, TOPICS[:1], pages_per_topic=3)
    assert found_for(tmp_path, documents, TOPICS[0]) == [1]


def test_the_subtopic_weighs_more() -> None:
    topic = dict(zip(SeedTopic._fields, ("", "Science", "Water science", "River water"), strict=True))
    assert topic_terms(topic, 3.0) == ({"scienc": 1.0, "water": 3.0, "river": 3.0}, ("river", "water"))


def test_a_low_score_is_no_hit(tmp_path: Path) -> None:
    documents = seeds(200)
    find(tmp_path, documents)
    scores = sorted(row["score"] for row in rows(tmp_path))
    bound = scores[len(scores) // 2]
    manifest = find(tmp_path, documents, min_score=bound)
    assert min(row["score"] for row in rows(tmp_path)) >= bound
    assert 0 < manifest.rows < len(scores)


def test_topics_with_few_hits_are_counted(tmp_path: Path) -> None:
    documents = [seed(f"A river, number {number}.") for number in range(7)] + [seed("Rain.")]
    manifest = find(tmp_path, documents, [*TOPICS[:3], ("The", "Of", "And")])
    assert {name: manifest.summary[name] for name in ("topics", "full", "short", "empty", "without_seeds")} == {
        "topics": 4, "full": 1, "short": 1, "empty": 2, "without_seeds": 2
    }  # fmt: skip
    assert manifest.summary["seeds"] == 8
    assert manifest.summary["fewest"][0] in (
        {"topic": "Science / Sky / Stars", "hits": 0, "seeds": 0},
        {"topic": "The / Of / And", "hits": 0, "seeds": 0},
    )


def test_equal_scores_stand_in_the_order_of_seed_ids(tmp_path: Path) -> None:
    documents = [seed("The same river.", title=f"T{number}") for number in range(20)]
    for document in documents:
        document["title"] = None
    find(tmp_path, documents, TOPICS[:1])
    assert [row["seed_id"] for row in rows(tmp_path)] == sorted(document["seed_id"] for document in documents)[:5]
    assert len({row["score"] for row in rows(tmp_path)}) == 1


def test_every_candidate_is_kept_or_dropped_and_no_seed_has_two_topics(tmp_path: Path) -> None:
    documents = seeds(60)
    topics = [*TOPICS, ("Science", "Water", "Rivers and valleys"), ("Crafts", "Metal", "Trade ships")]
    manifest = find(tmp_path, documents, topics, pages_per_topic=20)
    flow = manifest.flow
    assert flow.balanced
    assert flow.rows_in == 20 * manifest.summary["full"] + sum(
        row["hits"] for row in manifest.summary["fewest"] if row["hits"] < 20
    )
    assert flow.dropped["better_topic"] > 20
    counts = Counter(row["seed_id"] for row in rows(tmp_path))
    assert set(counts.values()) == {1}
    assert flow.rows_out == manifest.rows == len(counts)


def test_the_same_seeds_in_another_order_give_the_same_topics(tmp_path: Path) -> None:
    documents = seeds(120)
    find(tmp_path / "a", documents, pages_per_topic=30)
    find(tmp_path / "b", documents[::-1], TOPICS[::-1], pages_per_topic=30)
    key = ("topic_id", "rank")
    first, second = (sorted(rows(tmp_path / name), key=lambda row: [row[n] for n in key]) for name in "ab")
    assert first == second


CLAIMS = st.lists(
    st.dictionaries(st.integers(0, 9), st.sampled_from([1.0, 1.5, 2.0]), max_size=10), min_size=1, max_size=6
)


@given(CLAIMS)
@settings(max_examples=300, deadline=None)
def test_a_seed_belongs_to_the_topic_that_ranks_it_best(claims: list[dict[int, float]]) -> None:
    decision = Decision(10)
    wanted = defaultdict(list)
    for topic, scores in enumerate(claims):
        ordered = sorted(scores, key=lambda number: (-scores[number], number))
        values = np.array([scores[number] for number in ordered], np.float64)
        decision.offer(topic, Hits(np.array(ordered, np.int64), values))
        for rank, number in enumerate(ordered, 1):
            wanted[number].append((rank, -scores[number], topic))
    for number in range(10):
        expected = min(wanted[number]) if wanted[number] else None
        if expected is None:
            assert decision.topic[number] == -1
        else:
            found = decision.rank[number], -decision.score[number], decision.topic[number]
            assert found == expected
    kept = int((decision.topic >= 0).sum())
    assert decision.candidates == kept + decision.lost == sum(map(len, claims))


def test_the_reader_gives_every_kept_seed_its_topic(tmp_path: Path) -> None:
    documents = seeds(80)
    workspace = space(tmp_path, documents, TOPICS)
    build(workspace)
    topics = topics_of_seeds(workspace)
    assert {number: topic.topic_id for number, topic in topics.items()} == {
        row["seed_id"]: row["topic_id"] for row in rows(tmp_path)
    }
    assert set(topics.values()) <= {SeedTopic(topic_id(*path), *path) for path in TOPICS}
    assert len(topics) > 10


def indexed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is added to an index from now on."""
    added: list[int] = []
    extend = search.FullTextIndex.extend

    def counting(self: search.FullTextIndex, documents: Any) -> None:
        found = list(documents)
        added.append(len(found))
        extend(self, found)

    monkeypatch.setattr(search.FullTextIndex, "extend", counting)
    return added


def test_unchanged_seeds_are_not_indexed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = indexed(monkeypatch)
    documents = seeds(100)
    find(tmp_path, documents)
    assert added == [100]
    manifest = find(tmp_path, documents, TOPICS[:3])
    assert (added, manifest.run["indexed_seeds"]) == ([100], 0)


def test_new_seeds_are_added_and_the_result_is_that_of_a_new_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = indexed(monkeypatch)
    documents = seeds(100)
    find(tmp_path, documents)
    grown = [*documents[:30], *seeds(3, start=500), *documents[30:]]
    manifest = find(tmp_path, grown)
    assert (added, manifest.run["indexed_seeds"]) == ([100, 3], 3)
    assert manifest.version == find(tmp_path / "scratch", grown).version


@pytest.mark.parametrize("change", ["gone", "title", "engine", "state", "documents", "index"])
def test_an_index_that_does_not_fit_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    documents = seeds(50)
    find(tmp_path, documents)
    folder = CorpusStore(tmp_path / "store").work("topic_seeds") / "index"
    now = list(documents)
    if change == "gone":
        now = documents[1:]
    elif change == "title":
        now[7] = {**now[7], "title": "Iron ships"}
    elif change == "engine":
        monkeypatch.setattr(search, "identity", lambda: {"engine": "tantivy", "version": "9", "analyzer": "other"})
    elif change == "state":
        (folder / "STATE").write_text("{", encoding="utf-8")
    elif change == "documents":
        (folder / "documents.parquet").write_bytes(b"none")
    else:
        (folder / "meta.json").write_text("{", encoding="utf-8")
    added = indexed(monkeypatch)
    manifest = find(tmp_path, now, TOPICS[:4])
    assert added == [len(now)]
    assert manifest.version == find(tmp_path / "scratch", now, TOPICS[:4]).version
    assert json.loads((folder / "STATE").read_text(encoding="utf-8"))["documents"] == len(now)


def test_a_build_that_was_killed_while_indexing_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = seeds(40)
    find(tmp_path, documents)

    def killed(path: Path, table: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search, "write_parquet", killed)
        with pytest.raises(KeyboardInterrupt):
            find(tmp_path, seeds(45))
    added = indexed(monkeypatch)
    manifest = find(tmp_path, seeds(45))
    assert added == [45]
    assert manifest.version == find(tmp_path / "scratch", seeds(45)).version


def test_what_was_searched_for_is_in_the_manifest(tmp_path: Path) -> None:
    manifest = find(tmp_path, seeds(10), boost=3)
    assert manifest.params["boost"] == 3
    assert manifest.params["index"]["engine"] == "tantivy"
    assert {ref.asset for ref in manifest.inputs} == {"seed_documents", "topic_tree"}


def test_no_seeds_at_all(tmp_path: Path) -> None:
    manifest = find(tmp_path, [])
    assert (manifest.rows, manifest.flow.rows_in, manifest.summary["empty"]) == (0, 0, len(TOPICS))
    assert topics_of_seeds(space(tmp_path, [], TOPICS)) == {}


def test_a_recipe_without_a_tree_has_nothing_to_search_for(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"no topics\.tree"):
        build(Workspace(CorpusStore(tmp_path), recipe()))


def test_checks_speak_of_full_topics_and_used_seeds(tmp_path: Path) -> None:
    workspace = space(tmp_path, seeds(200), TOPICS)
    manifest = build(workspace)
    full, used = (check.test(manifest, workspace.recipe) for check in TOPIC_SEED_CHECKS)
    assert full[0] == (manifest.summary["full"] / 5 >= 0.5)
    assert full[1]["topics"] == 5
    assert used == (manifest.rows / 200 >= 0.1, {**used[1], "used": manifest.rows, "seeds": 200})
    few = build(space(tmp_path / "few", seeds(2), TOPICS))
    assert [check.test(few, workspace.recipe)[0] for check in TOPIC_SEED_CHECKS] == [False, True]
