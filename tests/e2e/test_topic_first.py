"""Topic-first mode through Dagster: a tree, its subtopics, the seeds of each, their prompts; on a tiny corpus."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cosmo_assets.automation import plan_runs
from cosmo_assets.operations.doctor import examine
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.search import topics_of_seeds
from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import WORDS, ReplayServer

ASSETS = ("seed_documents", "topic_tree", "topic_seeds")
UP_TO_PROMPTS = (
    *ASSETS,
    "seed_embeddings",
    "cluster_model",
    "seed_clusters",
    "topic_labels",
    "seed_topics",
    "seed_extracts",
    "prompt_table",
)

TREE = """\
Nature:
  - Water: [Rivers and lakes, The sea]
  - Weather
Work:
  - Crafts
"""


def named(prompt: str, count: int) -> list[str]:
    """Subtopics that occur in the seeds' texts."""
    start = 0 if "Weather" in prompt else 20 if "Crafts" in prompt else 40
    long = [word for word in dict.fromkeys(WORDS) if len(word) > 4]
    return [f"{first} and {second}" for first, second in zip(long[start:], long[start + 9 :], strict=False)][:count]


def corpus(folder: Path, **tree: Any) -> Corpus:
    fields = {"path": "tree.yaml", "subtopics": 3, "pages_per_topic": 6, **tree}
    found = Corpus(folder, per_seed=2, changes={"topics": {"clustering": {"clusters": 2}, "tree": fields}}).write(
        seeds(90)
    )
    (folder / "tree.yaml").write_text(TREE, encoding="utf-8")
    return found


def test_a_tree_its_subtopics_and_their_seeds(tmp_path: Path, replay: ReplayServer) -> None:
    tiny = corpus(tmp_path)
    replay.subtopics = named
    assert tiny.build(replay.url, ASSETS) == []
    tree, found = (tiny.store.open(name).table().to_pylist() for name in ASSETS[1:])
    assert len(replay.json_calls("subtopics")) == 3
    assert [row["subtopic"] for row in tree if row["subcategory"] == "Water"][:2] == ["Rivers and lakes", "The sea"]
    assert len(tree) == 9
    assert len({row["seed_id"] for row in found}) == len(found) > 20
    text_of = {row["seed_id"]: row["text"].lower() for row in tiny.store.open("seed_documents").table().to_pylist()}
    topics = topics_of_seeds(Workspace(tiny.store, tiny.recipe))
    assert topics.keys() == {row["seed_id"] for row in found}
    for seed, topic in topics.items():
        words = [word[:4] for word in topic.subtopic.lower().split() if word not in ("and", "the")]
        assert any(word in text_of[seed] for word in words), topic


def test_nothing_is_done_twice_and_one_more_subcategory_asks_once(tmp_path: Path, replay: ReplayServer) -> None:
    tiny = corpus(tmp_path)
    replay.subtopics = named
    tiny.build(replay.url, ASSETS)
    before = {name: tiny.store.open(name).manifest.version for name in ASSETS}
    replay.calls.clear()
    tiny.build(replay.url, ASSETS)
    assert replay.calls == []
    assert {name: tiny.store.open(name).manifest.version for name in ASSETS} == before
    (tmp_path / "tree.yaml").write_text(TREE + "  - Trade\n", encoding="utf-8")
    tiny.build(replay.url, ASSETS)
    assert len(replay.calls) == 1
    after = {name: tiny.store.open(name).manifest for name in ASSETS}
    assert after["seed_documents"].version == before["seed_documents"]
    new = [row for row in tiny.store.open("topic_tree").table().to_pylist() if row["subcategory"] == "Trade"]
    assert after["topic_tree"].run["computed_rows"] == len(new) > 0
    assert after["topic_seeds"].version != before["topic_seeds"]
    assert after["topic_seeds"].run["indexed_seeds"] == 0


def test_checks_warn_of_topics_without_seeds_and_of_failed_questions(tmp_path: Path, replay: ReplayServer) -> None:
    tiny = corpus(tmp_path, pages_per_topic=90)
    replay.subtopics = lambda prompt, count: ["Weather", "Crafts"]
    assert tiny.build(replay.url, ASSETS) == ["topic_tree: expanded", "topic_seeds: full_topics"]


def test_prompts_name_the_subtopic_and_seeds_without_one_have_none(tmp_path: Path, replay: ReplayServer) -> None:
    tiny = corpus(tmp_path, pages_per_topic=4)
    replay.subtopics = named
    tiny.build(replay.url, UP_TO_PROMPTS)
    topics = topics_of_seeds(Workspace(tiny.store, tiny.recipe))
    prompts = tiny.store.open("prompt_table")
    rows = prompts.table().to_pylist()
    assert 20 < len(topics) < 90
    assert {row["seed_id"]: row["topic"] for row in rows} == {key: topic.subtopic for key, topic in topics.items()}
    named_in = [row for row in rows if row["topic_clause"] and row["template"] == "story"]
    assert named_in
    assert all(row["prompt"].endswith(f"Name {row['topic']}.") for row in named_in)
    assert prompts.manifest.flow.dropped == {"no_topic": 90 - len(topics)}
    asked = len(replay.calls)

    tiny.changes["topics"]["policy"] = {"deny": [topics[rows[0]["seed_id"]].subtopic]}
    tiny.write().build(replay.url, UP_TO_PROMPTS)
    left = tiny.store.open("prompt_table").table().to_pylist()
    assert left == [row for row in rows if row["topic"] != rows[0]["topic"]]
    assert len(replay.calls) == asked
    exempt = [{**yaml.safe_load(tiny.recipe_path.read_text(encoding="utf-8"))["sources"][0], "topic_filter": False}]
    tiny.changes["sources"] = exempt
    tiny.write().build(replay.url, UP_TO_PROMPTS)
    assert tiny.store.open("seed_topics").manifest.flow.dropped == {}
    everything = {row["seed_id"]: row["topic"] for row in tiny.store.open("prompt_table").table().to_pylist()}
    assert len(everything) == 90
    assert sum(topic is None for topic in everything.values()) == 90 - len(topics)


def test_a_recipe_without_a_tree_has_neither_asset(tmp_path: Path) -> None:
    recipe = Corpus(tmp_path).write(seeds(1)).recipe
    assert not {"topic_tree", "topic_seeds"} & {name for run in plan_runs(recipe) for name in run.assets}
    with pytest.raises(CosmoError, match="no asset 'topic_tree'"):
        plan_runs(recipe, ["topic_tree"])
    (first, *_) = plan_runs(corpus(tmp_path / "other").recipe)
    order = ("topic_tree", "topic_seeds", "seed_topics", "prompt_table")
    assert sorted(order, key=first.assets.index) == list(order)


def test_the_doctor_reads_the_tree(tmp_path: Path) -> None:
    tiny = corpus(tmp_path)

    def complaints() -> list[str]:
        return [found.detail for found in examine(tiny.environment("http://127.0.0.1:9/v1")) if found.state == "bad"]

    assert not any("tree.yaml" in text for text in complaints())
    (tmp_path / "tree.yaml").write_text("Nature:\n  Water\n", encoding="utf-8")
    assert [text for text in complaints() if "tree.yaml, line 2: expected a list of subcategories" in text]
