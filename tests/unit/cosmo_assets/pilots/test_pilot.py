"""Pilots: answers kept and asked for once, variants side by side, on the same seeds."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.pilots import pilot
from cosmo_assets.pilots.assets import row_of
from cosmo_assets.pilots.checks import CHECKS
from cosmo_assets.prompts.sampling import find_template, sample_prompts
from cosmo_assets.recipe.generation import Model
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Answer, Request
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.prompts.stores import BODIES, build, described, prompts, seeds, write_templates

MODEL = Model(name="lab/small", revision="1", licence="MIT")


class Writer:
    """Answers with prose, or as it is told."""

    def __init__(self, text: Callable[[Request], str] = lambda request: prose(request.key, 40)) -> None:
        self.asked: list[Request] = []
        self.text = text
        self.failing: set[int] = set()

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for number, request in enumerate(requests):
            self.asked.append(request)
            if number in self.failing:
                yield Answer(request.key, "failed", "", None, "timeout", 0, 0, 5, 1.0)
            else:
                yield Answer(request.key, "ok", self.text(request), "stop", None, 90, 60, 1, 0.1)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    write_templates(tmp_path / "templates", BODIES)
    return build(tmp_path / "store", seeds(40), described(tmp_path, {"lesson": 1, "letter": 0.5}))[0]


def trial(space: Workspace, name: str = "lesson", count: int = 10, model: Model = MODEL) -> pilot.Trial:
    return pilot.Trial(find_template(space.recipe, name), model, count)


def variants(space: Workspace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = space.store.open(pilot.ASSET).manifest.summary["variants"]
    return found


def test_a_pilot_asks_what_the_corpus_would_ask(space: Workspace) -> None:
    writer = Writer()
    pilot.build(space, [trial(space, count=40)], lambda: writer)
    asked = {request.body["messages"][0]["content"] for request in writer.asked}
    assert asked == {row["prompt"] for row in prompts(space).values() if row["template"] == "lesson"}
    body = writer.asked[0].body
    assert {name: body[name] for name in ("temperature", "top_k", "max_tokens")} == {
        "temperature": 0.6,
        "top_k": 50,
        "max_tokens": 200,
    }
    assert len({request.body["seed"] for request in writer.asked}) == 40


def test_the_same_again_asks_nothing_and_more_asks_for_the_rest(space: Workspace) -> None:
    writer = Writer()
    first = pilot.build(space, [trial(space)], lambda: writer)
    assert len(writer.asked) == first.rows == 10
    assert pilot.build(space, [trial(space)], lambda: writer) == first
    more = pilot.build(space, [trial(space, count=25)], lambda: writer)
    assert (len(writer.asked), more.rows, more.run["reused_rows"]) == (25, 25, 10)


def test_another_version_or_model_stands_beside_the_first_on_the_same_seeds(space: Workspace) -> None:
    pilot.build(space, [trial(space)], Writer)
    write_templates(space.recipe.folder / "templates", {"lesson": "Now otherwise.\n" + BODIES["lesson"]}, version="2")
    pilot.build(space, [trial(space)], Writer)
    other = Model(name="lab/large", revision="7", licence="MIT")
    manifest = pilot.build(space, [trial(space, model=other)], Writer)
    labels = [variant["label"] for variant in variants(space)]
    assert labels[0] == "lesson 2 · large"
    assert sorted(labels) == ["lesson 1 · small", "lesson 2 · large", "lesson 2 · small"]
    rows = space.store.open(pilot.ASSET).table().to_pylist()
    by_variant: dict[str, set[str]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], set()).add(row["seed_id"])
    first, *others = by_variant.values()
    assert len(first) == 10
    assert all(found == first for found in others)
    page = (space.store.open(pilot.ASSET).folder / pilot.PAGE).read_text(encoding="utf-8")
    assert all(label in page for label in labels)
    assert manifest.flow.rows_in == 10, "what stands beside was asked for before"


def test_pilots_of_other_templates_stay_out_of_the_page(space: Workspace) -> None:
    pilot.build(space, [trial(space)], Writer)
    pilot.build(space, [trial(space, "letter")], Writer)
    assert [variant["facts"]["template"] for variant in variants(space)] == ["letter"]


def test_a_draft_need_not_lie_in_a_template_folder(space: Workspace, tmp_path: Path) -> None:
    write_templates(tmp_path / "drafts", {"letter": "A draft.\n{{ extract }}"}, version="9")
    draft = trial(space, str(tmp_path / "drafts" / "letter.md"))
    pilot.build(space, [draft, trial(space, "letter")], Writer)
    assert [variant["label"] for variant in variants(space)] == ["letter 9 · small", "letter 1 · small"]


def test_answers_that_fail_are_counted_and_asked_again(space: Workspace) -> None:
    writer = Writer()
    writer.failing = {0, 1}
    manifest = pilot.build(space, [trial(space)], lambda: writer)
    assert manifest.flow.failed == {"failed": 2}
    assert variants(space)[0]["facts"]["failed"] == "2"
    check = next(check for check in CHECKS if check.name == "answered")
    assert not check.test(manifest, space.recipe)[0]
    writer.failing, before = set(), len(writer.asked)
    again = pilot.build(space, [trial(space)], lambda: writer)
    assert len(writer.asked) == before + 2
    assert check.test(again, space.recipe)[0]


def test_answers_that_all_begin_alike_are_found(space: Workspace) -> None:
    same = Writer(lambda request: "Once upon a time there was " + prose(request.key, 30))
    manifest = pilot.build(space, [trial(space)], lambda: same)
    check = next(check for check in CHECKS if check.name == "varied_openers")
    passed, figures = check.test(manifest, space.recipe)
    assert (passed, figures["share"], figures["of"]) == (False, 1.0, "lesson 1 · small")
    row = row_of(variants(space)[0])
    assert row["first five words"] == "once upon a time there (100.0%)"
    assert (row["answers"], row["cut off"], row["refusals"]) == (10, "0.0%", "0.0%")
    varied = pilot.build(space, [trial(space, "letter")], Writer)
    assert check.test(varied, space.recipe)[0]


def test_two_templates_are_shown_with_the_same_seeds_and_few_seeds_are_taken_whole(space: Workspace) -> None:
    lesson, letter = (find_template(space.recipe, name) for name in ("lesson", "letter"))
    few = sample_prompts(space.store, space.recipe, lesson, 7)
    assert [sample.seed_id for sample in few] == [
        sample.seed_id for sample in sample_prompts(space.store, space.recipe, letter, 7)
    ]
    assert len(sample_prompts(space.store, space.recipe, lesson, 1000)) == 40
    assert {sample.seed_id for sample in few} < {
        sample.seed_id for sample in sample_prompts(space.store, space.recipe, lesson, 8)
    }
    stored = prompts(space)
    for sample in few:
        assert stored[sample.prompt_id]["prompt"] == sample.prompt
        assert sample.extract in sample.prompt


def test_a_template_without_seeds_is_refused_with_a_remedy(space: Workspace) -> None:
    with pytest.raises(CosmoError, match="no extracts of maths seeds, which template maths_college shows") as refused:
        sample_prompts(space.store, space.recipe, find_template(space.recipe, "maths_college"), 3)
    assert "seed_extracts" in refused.value.remedy
    with pytest.raises(CosmoError, match="no template 'nothing'"):
        find_template(space.recipe, "nothing")
