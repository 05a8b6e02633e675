"""Topic-first mode through Dagster: a tree, its subtopics, the seeds of each; on a tiny corpus."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.automation import plan_runs
from cosmo_assets.doctor import examine
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.search import topics_of_seeds
from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import WORDS, ReplayServer

ASSETS = ("seed_documents", "topic_tree", "topic_seeds")

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
    found = Corpus(folder, changes={"topics": {"clustering": {"clusters": 2}, "tree": fields}}).write(seeds(90))
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


def test_a_recipe_without_a_tree_has_neither_asset(tmp_path: Path) -> None:
    recipe = Corpus(tmp_path).write(seeds(1)).recipe
    assert not {"topic_tree", "topic_seeds"} & {name for run in plan_runs(recipe) for name in run.assets}
    with pytest.raises(CosmoError, match="no asset 'topic_tree'"):
        plan_runs(recipe, ["topic_tree"])
    (first, *_) = plan_runs(corpus(tmp_path / "other").recipe)
    assert first.assets.index("topic_tree") < first.assets.index("topic_seeds") < first.assets.index("prompt_table")


def test_the_doctor_reads_the_tree(tmp_path: Path) -> None:
    tiny = corpus(tmp_path)

    def complaints() -> list[str]:
        return [found.detail for found in examine(tiny.environment("http://127.0.0.1:9/v1")) if found.state == "bad"]

    assert not any("tree.yaml" in text for text in complaints())
    (tmp_path / "tree.yaml").write_text("Nature:\n  Water\n", encoding="utf-8")
    assert [text for text in complaints() if "tree.yaml, line 2: expected a list of subcategories" in text]
