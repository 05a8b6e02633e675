"""The topic tree: what the model is asked, how its answers are cleaned, and what is not asked twice."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from cosmo_assets.asking import Ahead
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.expansion import ahead, answer_schema, build, meaning, parse, reason_against, tidy, topic_id
from cosmo_assets.topics.tree import Subcategory
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import ReplayServer
from tests.unit.cosmo_assets.synthetic import recipe

Tree = Mapping[str, Sequence[Any]]

TREE: Tree = {
    "Mathematics": ["Elementary algebra", {"Geometry": ["Circles"]}],
    "Music": ["Singing", "Instruments"],
}
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven")


def names(prompt: str, count: int) -> list[str]:
    """As many names as are wanted, unlike those of another subject."""
    subject = next(line for line in prompt.splitlines() if line.startswith("Subject: ")).removeprefix("Subject: ")
    return [f"{word} of the {subject} kind" for word in WORDS[:count]]


def listed(*answers: Sequence[str]) -> Callable[[str, int], list[str]]:
    """The n-th answer to a subject, the last one again and again."""
    asked: dict[str, int] = {}

    def answer(prompt: str, count: int) -> list[str]:
        subject = next(line for line in prompt.splitlines() if line.startswith("Subject: "))
        asked[subject] = asked.get(subject, 0) + 1
        return list(answers[min(asked[subject], len(answers)) - 1])

    return answer


def with_tree(folder: Path, tree: Tree, **fields: Any) -> Recipe:
    path = folder / "tree.yaml"
    path.write_text(yaml.safe_dump(dict(tree), sort_keys=False), encoding="utf-8")
    topics = {"clustering": {"clusters": 1}, "tree": {"path": str(path), "subtopics": 3, **fields}}
    return recipe(topics=topics)


def expand(folder: Path, replay: ReplayServer, tree: Tree = TREE, **fields: Any) -> Manifest:
    def client() -> CompletionClient:
        options = ClientOptions(concurrency=3, attempts=2, backoff=0.01)
        return CompletionClient([replay.url], "replay", options)

    return build(Workspace(CorpusStore(folder / "store"), with_tree(folder, tree, **fields)), client)


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = CorpusStore(folder / "store").open("topic_tree").table().to_pylist()
    return found


def subtopics(folder: Path, subcategory: str) -> list[tuple[str, str]]:
    return [(row["subtopic"], row["status"]) for row in rows(folder) if row["subcategory"] == subcategory]


def test_every_subcategory_gets_the_subtopics_that_it_lacks(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = names
    manifest = expand(tmp_path, replay)
    assert [len(call["messages"]) for call in replay.json_calls("subtopics")] == [1] * 4
    assert subtopics(tmp_path, "Geometry") == [
        ("Circles", "given"),
        ("amber of the Geometry kind", "ok"),
        ("birch of the Geometry kind", "ok"),
    ]
    assert len(subtopics(tmp_path, "Singing")) == 3
    assert manifest.flow.model_dump(exclude={"tokens"}) == {
        "unit": "subcategories", "rows_in": 4, "rows_out": 4, "dropped": {}, "failed": {}
    }  # fmt: skip
    assert manifest.summary["topics"] == manifest.rows == 12
    assert (manifest.summary["named"], manifest.summary["short"]) == (11, 0)
    for row in rows(tmp_path):
        assert row["topic_id"] == topic_id(row["category"], row["subcategory"], row["subtopic"])
    assert len({row["topic_id"] for row in rows(tmp_path)}) == 12


def test_the_question_names_the_place_and_what_is_there(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = names
    expand(tmp_path, replay)
    (asked,) = [
        call for call in replay.json_calls("subtopics") if "Subject: Geometry" in call["messages"][0]["content"]
    ]
    prompt = asked["messages"][0]["content"]
    assert "Category: Mathematics" in prompt
    assert "Circles" in prompt
    assert "Name 2 specific topics" in prompt
    assert asked["response_format"]["json_schema"]["schema"] == answer_schema(2)
    assert asked["temperature"] == 0


def test_one_more_subcategory_asks_once(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = names
    before = expand(tmp_path, replay)
    old = rows(tmp_path)
    replay.calls.clear()
    grown = {**TREE, "Music": ["Singing", "Dance", "Instruments"]}
    manifest = expand(tmp_path, replay, grown)
    assert len(replay.calls) == manifest.run["requests"] == 1
    assert [row for row in rows(tmp_path) if row["subcategory"] != "Dance"] == old
    assert (manifest.run["computed_rows"], manifest.run["reused_rows"]) == (3, 12)
    replay.calls.clear()
    assert expand(tmp_path, replay).version == before.version
    assert expand(tmp_path, replay, grown).version == manifest.version
    assert replay.calls == []


def test_a_taken_over_tree_is_the_one_that_would_be_made_anew(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = listed(["Alpha", "Beta", "Gamma"])
    expand(tmp_path, replay)
    grown = {"Mathematics": ["Elementary algebra", "Calculus", {"Geometry": ["Circles"]}]}
    taken = expand(tmp_path, replay, grown)
    fresh = expand_in(tmp_path / "other", replay, grown)
    assert taken.version == fresh.version
    assert taken.run["reused_rows"] > 0


def expand_in(folder: Path, replay: ReplayServer, tree: Tree) -> Manifest:
    folder.mkdir()
    return expand(folder, replay, tree)


@pytest.mark.parametrize("change", [{"subtopics": 4}, {"max_tokens": 300}, {"attempts": 2}])
def test_another_question_is_asked_of_all(tmp_path: Path, replay: ReplayServer, change: dict[str, Any]) -> None:
    replay.subtopics = names
    expand(tmp_path, replay)
    replay.calls.clear()
    expand(tmp_path, replay, **change)
    assert len(replay.calls) == 4


def test_how_seeds_are_searched_asks_nothing(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = names
    first = expand(tmp_path, replay)
    replay.calls.clear()
    assert expand(tmp_path, replay, boost=9, pages_per_topic=7).version == first.version
    assert replay.calls == []


def test_names_that_repeat_or_restate_are_not_taken_and_others_are_asked_for(
    tmp_path: Path, replay: ReplayServer
) -> None:
    replay.subtopics = listed(
        ["1. Scales", "Introduction to singing", "The scale"], ["Breathing exercises"], ["Choirs", "Breath exercise"]
    )
    manifest = expand(tmp_path, replay, {"Music": ["Singing"]})
    assert subtopics(tmp_path, "Singing") == [("Scales", "ok"), ("Breathing exercises", "ok"), ("Choirs", "ok")]
    assert manifest.run["requests"] == 3
    second, third = (call["messages"][0]["content"] for call in replay.calls[1:])
    assert "Scales" in second
    assert "Name 2 specific topics" in second
    assert "Scales; Breathing exercises" in third
    assert len({call["seed"] for call in replay.calls}) == 3


def test_a_name_belongs_to_the_first_subcategory_that_has_it(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = listed(["Opera", "Circles", "Instruments"])
    manifest = expand(tmp_path, replay, attempts=1)
    assert subtopics(tmp_path, "Elementary algebra") == [("Opera", "ok")]
    assert subtopics(tmp_path, "Geometry") == [("Circles", "given")]
    assert subtopics(tmp_path, "Singing") == [("Singing", "unusable")]
    assert manifest.summary["dropped"] == {"duplicate": 9}
    assert manifest.flow.failed == {"unusable": 3}  # all but the first, which took the one new name
    rejected = CorpusStore(tmp_path / "store").open("topic_tree").rejected()
    assert rejected is not None
    assert {"Music / Singing", "Mathematics / Geometry"} <= set(rejected["place"].to_pylist())


def test_without_wanted_subtopics_nothing_is_asked(tmp_path: Path, replay: ReplayServer) -> None:
    manifest = expand(tmp_path, replay, subtopics=0)
    assert replay.calls == []
    assert subtopics(tmp_path, "Singing") == [("Singing", "subcategory")]
    assert subtopics(tmp_path, "Geometry") == [("Circles", "given")]
    assert manifest.flow.failed == {}


def test_an_answer_that_cannot_be_read_is_recorded_and_asked_again(tmp_path: Path, replay: ReplayServer) -> None:
    bad = ['["no object"]', "Sure! Here are some", '{"subtopics": "one"}']

    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        if "Subject: Singing" not in body["messages"][0]["content"]:
            return None
        choice = {"message": {"role": "assistant", "content": bad.pop(0)}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice]})

    replay.subtopics, replay.fault = names, fault
    said = list(bad)
    manifest = expand(tmp_path, replay)
    (row,) = [row for row in rows(tmp_path) if row["subcategory"] == "Singing"]
    assert (row["subtopic"], row["status"], row["answers"]) == ("Singing", "unreadable", said)
    assert manifest.flow.failed == {"unreadable": 1}
    assert manifest.flow.balanced


@pytest.mark.parametrize(("status", "word"), [(400, "refused"), (503, "failed")])
def test_a_server_that_does_not_answer_is_asked_at_the_next_build(
    tmp_path: Path, replay: ReplayServer, status: int, word: str
) -> None:
    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        broken = "Subject: Singing" in body["messages"][0]["content"]
        return web.Response(status=status, text="no") if broken else None

    replay.subtopics, replay.fault = names, fault
    first = expand(tmp_path, replay)
    assert first.flow.failed == {word: 1}
    assert subtopics(tmp_path, "Singing") == [("Singing", word)]
    replay.fault = None
    replay.calls.clear()
    grown = {**TREE, "Dance": ["Ballet"]}
    second = expand(tmp_path, replay, grown)
    assert len(replay.calls) == 2
    assert second.flow.failed == {}
    assert len(subtopics(tmp_path, "Singing")) == 3


def test_a_subcategory_whose_second_request_succeeds_is_not_asked_again(tmp_path: Path, replay: ReplayServer) -> None:
    seeds: list[int] = []

    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        if "Subject: Singing" not in body["messages"][0]["content"]:
            return None
        seeds.append(body["seed"])
        return web.Response(status=503, text="no") if body["seed"] == seeds[0] else None

    replay.subtopics, replay.fault = names, fault
    assert expand(tmp_path, replay).flow.failed == {}
    assert len(set(seeds)) == 2
    assert all(row["key"] for row in rows(tmp_path))
    replay.calls.clear()
    expand(tmp_path, replay, {**TREE, "Dance": ["Ballet"]})
    assert [call for call in replay.calls if "Subject: Singing" in str(call)] == []


def test_after_a_failure_the_same_tree_is_asked_again_but_only_what_failed(
    tmp_path: Path, replay: ReplayServer
) -> None:
    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        broken = "Subject: Singing" in body["messages"][0]["content"]
        return web.Response(status=500, text="no") if broken else None

    replay.subtopics, replay.fault = names, fault
    expand(tmp_path, replay)
    replay.fault = None
    replay.calls.clear()
    assert expand(tmp_path, replay).flow.failed == {}
    assert len(replay.calls) == 1


def test_a_damaged_earlier_tree_is_asked_for_again(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = names
    expand(tmp_path, replay)
    for part in (tmp_path / "store").rglob("part-*.parquet"):
        part.write_bytes(part.read_bytes()[:-20])
    replay.calls.clear()
    expand(tmp_path, replay, {**TREE, "Dance": ["Ballet"]})
    assert len(replay.calls) == 5


@pytest.mark.parametrize(
    ("raw", "tidied"),
    [
        ("1. Linear equations", "Linear equations"),
        ("2) Sets", "Sets"),
        ("(3) Sets", "Sets"),
        ("4.Sets", "Sets"),
        ("a) Sets", "Sets"),
        ("- Sets", "Sets"),
        ("•  Sets", "Sets"),
        ("Chapter 2: Sets", "Sets"),
        ('"Sets".', "Sets"),
        ("**Sets**", "Sets"),
        ("  Sets \n and   maps ", "Sets and maps"),
        ("3D printing", "3D printing"),
        ("1984 and its readers", "1984 and its readers"),
        ("2.5 dimensional maps", "2.5 dimensional maps"),
        ("a priori knowledge", "a priori knowledge"),
        ("Topic modelling", "Topic modelling"),
        ("7.", ""),
        ("  ", ""),
        ("42 17", ""),
        ("x" * 81, ""),
        ("Nests, {birds for example", ""),
        ("Birch-birch-birch-birch", ""),
        ("Bread, bread and more bread", "Bread, bread and more bread"),
        (" ".join("abcdefghijklm"), ""),
    ],
)
def test_tidy(raw: str, tidied: str) -> None:
    assert tidy(raw) == tidied


@pytest.mark.parametrize("answer", ["", "[]", "null", "{}", '{"subtopics": {}}', '{"subtopics": ["a"', "[" * 100_000])
def test_an_answer_of_another_form_raises(answer: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse(answer)


def test_parse_leaves_out_what_is_no_name() -> None:
    assert parse('{"subtopics": ["1. Sets", 2, null, ["x"], "", "Maps"]}') == ["Sets", "Maps"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Algebra", "restates_parent"),
        ("Introduction to algebra", "restates_parent"),
        ("Advanced topics in mathematics", "restates_parent"),
        ("Overview", "restates_parent"),
        ("The equations of lines", "duplicate"),
        ("Line equation", "duplicate"),
        ("Quadratic equations", None),
        ("Matrix algebra", None),
    ],
)
def test_what_speaks_against_a_name(name: str, reason: str | None) -> None:
    place = Subcategory("Mathematics", "Elementary algebra", ())
    assert reason_against(name, place, {meaning("Equations of lines")}) == reason


def test_what_a_build_that_broke_off_was_told_is_not_asked_again(tmp_path: Path, replay: ReplayServer) -> None:
    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        broken = "Subject: Instruments" in body["messages"][0]["content"]
        return web.Response(status=500, text="no") if broken else None

    def client() -> CompletionClient:
        return CompletionClient(
            [replay.url], "replay", ClientOptions(concurrency=1, attempts=1, backoff=0.01, give_up_after=1)
        )

    replay.subtopics, replay.fault = names, fault
    with pytest.raises(CosmoError, match="failed"):
        build(Workspace(CorpusStore(tmp_path / "store"), with_tree(tmp_path, TREE)), client)
    assert len(replay.calls) == 4
    replay.fault = None
    replay.calls.clear()
    manifest = expand(tmp_path, replay)
    assert len(replay.calls) == manifest.run["requests"] == 1
    assert manifest.summary["topics"] == 12


def test_a_tree_that_comes_back_is_known(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = names
    expand(tmp_path, replay)
    expand(tmp_path, replay, {"Dance": ["Ballet"]})
    replay.calls.clear()
    manifest = expand(tmp_path, replay, {**TREE, "Dance": ["Ballet"]})
    assert replay.calls == []
    assert manifest.run["reused_rows"] == manifest.rows == 15


def ahead_of(folder: Path, tree: Tree = TREE, **fields: Any) -> Ahead:
    return ahead(Workspace(CorpusStore(folder / "store"), with_tree(folder, tree, **fields)))


def test_a_plan_counts_the_requests_that_the_stage_sends(tmp_path: Path, replay: ReplayServer) -> None:
    replay.subtopics = names
    full = {**TREE, "Botany": [{"Trees": ["Oaks", "Elms", "Pines"]}]}
    first = ahead_of(tmp_path, full, max_tokens=70)
    assert first == Ahead("topic_tree", "subcategories", 4, 0, 4, 12, 70), "Trees lacks nothing"
    expand(tmp_path, replay, full, max_tokens=70)
    assert len(replay.calls) == first.least
    grown = {**full, "Music": ["Singing", "Dance", "Instruments"]}
    assert ahead_of(tmp_path, grown, max_tokens=70) == Ahead("topic_tree", "subcategories", 5, 4, 1, 3, 70)
    assert ahead_of(tmp_path, full, max_tokens=71).there == 0
    assert ahead_of(tmp_path, subtopics=0) == Ahead("topic_tree", "subcategories", 0, 0, 0, 0, 400)

    replay.subtopics, replay.calls[:] = (lambda prompt, count: ["Singing"]), []
    short = ahead_of(tmp_path, {"Music": ["Singing"]}, subtopics=2)
    expand(tmp_path, replay, {"Music": ["Singing"]}, subtopics=2)
    assert len(replay.calls) == short.most == 3
