"""The decision on every seed: its topic, and why it becomes no prompts; by clusters and in topic-first mode."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.reporting import markdown_table
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import decisions
from cosmo_assets.topics.assets import excluded_clusters
from cosmo_assets.topics.checks import DECISION_CHECKS
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import put, recipe

LABELS: dict[int, tuple[str | None, float | None, str | None]] = {
    0: ("Rivers", 8.0, "Geography"),
    1: ("Celebrity gossip", 2.0, "Gossip"),
    2: (None, None, "Gossip"),
}
SUBTOPICS = {"t1": "Floods of great rivers", "t2": "Betting on horses", "t3": "Glaciers"}
FOUND = {"a0": "t1", "a1": "t1", "b0": "t2", "m0": "t3"}
"""In topic-first mode: the topic of every seed that has one."""

Row = dict[str, Any]


def seed(name: str, cluster: int, distance: float, title: str | None = None, source: str = "pages") -> Row:
    text = f"The page of {name} tells a long story. " * 40
    return {
        "seed_id": name,
        "cluster_id": cluster,
        "distance": distance,
        "title": title,
        "source": source,
        "text": text,
    }


SEEDS = [
    seed("a0", 0, 0.1),
    seed("a1", 0, 0.2),
    seed("b0", 0, 0.3),
    seed("c0", 1, 0.5, "Who wore it best"),
    seed("c1", 1, 0.1),
    seed("c2", 1, 0.4, "Seen at the beach"),
    seed("c3", 1, 0.2, "  A secret\nwedding "),
    seed("m0", 1, 0.9, "Catalogue of stars", source="curated"),
    seed("m1", 0, 0.9, source="curated"),
    seed("u0", 2, 0.1),
]


def workspace_in(
    folder: Path, *, tree: bool = False, limits: Mapping[str, Any] | None = None, **policy: Any
) -> Workspace:
    sources = [
        {"name": name, "kind": "web", "reader": "jsonl", "path": "x.jsonl", "licence": "CC0-1.0", "topic_filter": kept}
        for name, kept in (("pages", True), ("curated", False))
    ]
    topics = {"clustering": {"clusters": 3}, "policy": policy, "tree": {"path": "general"} if tree else None}
    return Workspace(CorpusStore(folder), recipe(sources=sources, topics=topics, limits=limits or {}))


def fill(workspace: Workspace, rows: Sequence[Row] = SEEDS) -> None:
    """The inputs: seeds in two part files, clusters in another order."""
    half = len(rows) // 2
    version = str(len(rows))
    put(workspace, "seed_documents", {"a": rows[:half], "b": rows[half:]}, version=version)
    put(workspace, "seed_clusters", {None: rows[::-1]}, version=version)
    labels = [
        {"cluster_id": key, "topic": topic, "score": score, "heading": heading}
        for key, (topic, score, heading) in LABELS.items()
    ]
    put(workspace, "topic_labels", {None: labels})
    if workspace.recipe.topics.tree is not None:
        topics = [
            {"topic_id": key, "category": "Nature", "subcategory": "Water", "subtopic": name}
            for key, name in SUBTOPICS.items()
        ]
        put(workspace, "topic_tree", {None: topics})
        put(workspace, "topic_seeds", {None: [{"topic_id": topic, "seed_id": key} for key, topic in FOUND.items()]})


def built(folder: Path, rows: Sequence[Row] = SEEDS, **options: Any) -> tuple[Workspace, Manifest]:
    workspace = workspace_in(folder, **options)
    fill(workspace, rows)
    return workspace, decisions.build(workspace)


def excluded(workspace: Workspace) -> dict[str, str | None]:
    return {row["seed_id"]: row["excluded"] for row in workspace.store.open("seed_topics").table().to_pylist()}


def decided(workspace: Workspace) -> dict[str, tuple[Any, ...]]:
    rows = workspace.store.open("seed_topics").table().to_pylist()
    return {row["seed_id"]: tuple(row[name] for name in decisions.Decision._fields) for row in rows}


def verdicts(workspace: Workspace, manifest: Manifest) -> dict[str, bool]:
    return {check.name: check.test(manifest, workspace.recipe)[0] for check in DECISION_CHECKS}


def test_every_seed_has_the_topic_of_its_cluster_and_the_reason_of_the_policy(tmp_path: Path) -> None:
    workspace, manifest = built(tmp_path, deny=["celebrit"])
    rows = workspace.store.open("seed_topics").table().to_pylist()
    assert [row["seed_id"] for row in rows] == [row["seed_id"] for row in SEEDS], "in the order of the seeds"
    assert [(row["cluster_id"], row["topic"]) for row in rows] == [
        (row["cluster_id"], LABELS[row["cluster_id"]][0]) for row in SEEDS
    ]
    assert {row["topic_id"] for row in rows} == {None}
    why = excluded(workspace)
    assert {key: reason for key, reason in why.items() if reason} == {
        **dict.fromkeys(("c0", "c1", "c2", "c3"), "topic_denied"),
        "u0": "topic_unlabelled",
    }
    assert manifest.flow.balanced
    assert (manifest.flow.rows_in, manifest.flow.rows_out) == (10, 5)
    assert manifest.flow.dropped == Counter(reason for reason in why.values() if reason)
    assert all(verdicts(workspace, manifest).values())


def test_seeds_of_exempt_sources_keep_their_topic_and_are_never_excluded(tmp_path: Path) -> None:
    workspace, _ = built(tmp_path, min_score=9, allow=["law"])
    kept = {row["seed_id"]: row["topic"] for row in workspace.store.open("seed_topics").table().to_pylist()}
    assert [key for key, reason in excluded(workspace).items() if reason is None] == ["m0", "m1"]
    assert (kept["m0"], kept["m1"]) == ("Celebrity gossip", "Rivers")


def test_an_override_goes_before_the_rules_and_one_without_a_topic_is_told(tmp_path: Path) -> None:
    rules = {"deny": ["celebrit", "obituar"], "overrides": {"celebrity  Gossip": "keep", "Tides": "drop"}}
    workspace, manifest = built(tmp_path, **rules)
    assert [key for key, reason in excluded(workspace).items() if reason] == ["u0"]
    assert manifest.summary["overrides_without_a_topic"] == ["Tides"]
    assert manifest.summary["patterns_without_a_topic"] == ["obituar"]
    told = {"one_each": True, "excluded": True, "overrides_used": False, "topic_drift": True}
    assert verdicts(workspace, manifest) == told


def test_excluded_clusters_show_the_titles_of_their_most_central_seeds(tmp_path: Path) -> None:
    _, manifest = built(tmp_path, deny=["celebrit"])
    by_cluster = {row["cluster"]: row for row in manifest.summary["clusters"]}
    assert by_cluster[1]["samples"][1:] == ["A secret wedding", "Seen at the beach"]
    assert by_cluster[1]["samples"][0].startswith("The page of c1 tells a long story.")
    assert len(by_cluster[1]["samples"][0]) <= decisions.SAMPLE_CHARS
    assert by_cluster[2]["samples"][0].startswith("The page of u0 tells")
    assert by_cluster[0]["samples"] == []
    counts = {key: (row["seeds"], row["kept"], row["excluded"]) for key, row in by_cluster.items()}
    assert counts == {0: (4, 4, None), 1: (5, 1, "topic_denied"), 2: (1, 0, "topic_unlabelled")}


def test_the_metadata_list_every_excluded_cluster_however_many_there_are() -> None:
    row = {"topic": "Gossip", "score": 1.0, "heading": None, "seeds": 3, "kept": 1, "samples": ["One", "Two"]}
    rows = [{**row, "cluster": number, "excluded": None if number % 2 else "topic_denied"} for number in range(250)]
    tables = dict(excluded_clusters(rows))
    assert [len(table) for table in tables.values()] == [60, 60, 5]
    shown = [line for table in tables.values() for line in markdown_table(table).splitlines()[2:]]
    assert len(shown) == 125
    assert shown[1] == "| 2 | Gossip | 1 |  | topic_denied | 3 | 2 | One · Two |"


def test_the_share_of_excluded_seeds_is_bounded_by_the_recipe(tmp_path: Path) -> None:
    workspace, manifest = built(tmp_path, deny=["celebrit"], limits={"max_excluded": 0.49})
    assert manifest.flow.rows_out == 5
    assert not verdicts(workspace, manifest)["excluded"]


def test_topic_first_a_seed_has_its_subtopic_and_without_one_it_is_excluded(tmp_path: Path) -> None:
    workspace, manifest = built(tmp_path, tree=True, unlabelled="keep", deny=["betting"], limits={"max_excluded": 0.1})
    rows = {row["seed_id"]: row for row in workspace.store.open("seed_topics").table().to_pylist()}
    assert {key: row["topic_id"] for key, row in rows.items() if row["topic_id"]} == FOUND
    assert {key: row["topic"] for key, row in rows.items() if row["topic"]} == {
        key: SUBTOPICS[topic] for key, topic in FOUND.items()
    }
    why = excluded(workspace)
    assert [key for key, reason in why.items() if reason is None] == ["a0", "a1", "m0", "m1"], "m1 is exempt"
    assert why["b0"] == "topic_denied", "the policy judges the subtopic too"
    assert manifest.flow.dropped == {"no_topic": 5, "topic_denied": 1}
    assert verdicts(workspace, manifest)["excluded"], "seeds without a topic are not held against the policy"
    topics = [(row["topic"], row["seeds"], row["kept"], row["excluded"]) for row in manifest.summary["topics"]]
    assert topics == [
        ("Floods of great rivers", 2, 2, None),
        ("Betting on horses", 1, 0, "topic_denied"),
        ("Glaciers", 1, 1, None),
    ]


def test_topic_first_the_clusters_are_judged_as_well_and_before(tmp_path: Path) -> None:
    workspace, manifest = built(tmp_path, tree=True, min_score=9, overrides={"Glaciers": "keep", "floods": "drop"})
    why = excluded(workspace)
    assert why["a0"] == "topic_low_score", "its subtopic has no score to be held against"
    assert (why["c0"], why["u0"]) == ("topic_low_score", "topic_unlabelled")
    assert why["m0"] is None
    assert manifest.summary["overrides_without_a_topic"] == ["floods"], "a name of the tree counts, a part of one not"


def test_what_was_decided_can_be_read_by_seed(tmp_path: Path) -> None:
    workspace, _ = built(tmp_path, tree=True)
    found = decided(workspace)
    assert found["a0"] == (0, "t1", "Floods of great rivers", LABELS[0][1], None)
    assert found["c0"] == (1, None, None, LABELS[1][1], "no_topic")
    assert list(found) == [row["seed_id"] for row in SEEDS]


def test_one_more_seed_moves_no_other_and_nothing_is_done_twice(tmp_path: Path) -> None:
    workspace, first = built(tmp_path, deny=["celebrit"])
    assert decisions.build(workspace) == first
    before = decided(workspace)
    fill(workspace, [seed("aa", 1, 0.0), *SEEDS])
    decisions.build(workspace)
    after = decided(workspace)
    assert {key: after[key] for key in before} == before
    assert after["aa"][-1] == "topic_denied"


@pytest.mark.parametrize("asset", ["seed_clusters", "topic_labels"])
def test_inputs_of_other_seeds_are_an_error_that_says_what_to_run(tmp_path: Path, asset: str) -> None:
    workspace = workspace_in(tmp_path)
    fill(workspace)
    if asset == "seed_clusters":
        put(workspace, asset, {None: SEEDS[1:]}, version="other")
    else:
        put(workspace, asset, {None: [{"cluster_id": 0}, {"cluster_id": 1}]}, version="other")
    with pytest.raises(CosmoError, match=f"{asset} knows nothing of") as error:
        decisions.build(workspace)
    assert "cosmo run" in str(error.value.remedy)
