"""Course outlines: what is no unit, who is asked how often, and the prompts that come of them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cosmo_assets.asking import Ahead
from cosmo_assets.recipe.prompts import Outlines
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import LicencePolicy
from cosmo_assets.seeds import outlines
from cosmo_assets.seeds.outlines import EXAMPLES, body, cleaned, is_logistics, parse, question, tidy
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import ReplayServer, replaying
from tests.unit.cosmo_assets.synthetic import put, recipe

UNITS = ["Heat and Work", "Engines", "Entropy", "Phases of Matter", "Mixtures", "Radiation"]


@pytest.mark.parametrize(
    "unit",
    [
        "Midterm exam",
        "Midterms and review",
        "Final project presentation",
        "Final Exam Review",
        "Exam 2",
        "Quiz 3",
        "Preparing for the final exam",
        "Office hours",
        "Instructor office hours",
        "Introduction",
        "Introduction and syllabus",
        "Introduction to the course",
        "Introduction and Overview",
        "Course overview",
        "Course objectives and goals",
        "Overview of the course",
        "Syllabus review",
        "Grading",
        "Grading policy",
        "Attendance and participation",
        "Review",
        "Review session",
        "Final review",
        "Conclusions and review",
        "Student presentations",
        "Group projects",
        "Course Project",
        "Project work",
        "Guest lecture",
        "Homework 3",
        "Discussion",
        "Spring break",
        "No class (holiday)",
        "TBA",
    ],
)
def test_the_logistics_of_a_course_are_no_units(unit: str) -> None:
    assert is_logistics(unit)
    assert cleaned([f"Week 4: {unit}"], "Heat", 12) == []


@pytest.mark.parametrize(
    "unit",
    [
        "Introduction to Graph Theory",
        "Review of Linear Algebra",
        "Project Management",
        "Projects in Urban Design",
        "Laboratory Safety",
        "Test Theory",
        "Unit Root Tests",
        "Presentation of Self in Everyday Life",
        "Final Causes in Aristotle",
        "Class Struggle and Society",
        "Summary Statistics",
        "Holiday Traditions",
        "Examination of Witnesses",
        "Reading Closely",
        "Materials",
        "Policies of the New Deal",
        "Days of Rage",
        "Section 230 and Speech",
        "Discussion of Ethics in Medicine",
    ],
)
def test_what_only_sounds_like_it_is_a_unit(unit: str) -> None:
    assert cleaned([unit], "Heat", 12) == [unit]


@pytest.mark.parametrize(
    ("unit", "title"),
    [
        ("1. Waves", "Waves"),
        ("12) Waves", "Waves"),
        ("- Waves and Tides.", "Waves and Tides"),
        ("Week 3-4: Heat", "Heat"),
        ("Unit IV - Optics", "Optics"),
        ("Part Two: Loops", "Loops"),
        ("Chapter 2: 2.1 Lenses", "Lenses"),
        ('"The Atom"', "The Atom"),
        ("Week 12", ""),
        ("42", ""),
        ("x", ""),
        ("word " * 30, ""),
        ("Civil War", "Civil War"),
        ("3D Printing", "3D Printing"),
        ("I, Claudius", "I, Claudius"),
    ],
)
def test_a_title_is_freed_of_its_number(unit: str, title: str) -> None:
    assert tidy(unit) == title


def test_a_unit_is_named_once_and_is_not_the_course() -> None:
    units = ["Waves", "waves.", "Waves II", "Waves (continued)", "Thermal Physics", "Light"]
    assert cleaned(units, "Thermal Physics", 12) == ["Waves", "Light"]
    assert cleaned(UNITS, "Heat", 3) == UNITS[:3]


def test_a_counter_tells_two_units_apart_unless_the_bare_title_stands_before() -> None:
    units = ["World War I", "World War II", "Calculus 1", "Calculus 2", "Waves", "Waves, part 2", "World War II"]
    assert cleaned(units, "History", 12) == ["World War I", "World War II", "Calculus 1", "Calculus 2", "Waves"]
    assert cleaned(["Calculus I", "Limits"], "Calculus I", 12) == ["Limits"]


def test_what_a_model_copies_from_the_example_is_no_unit() -> None:
    title, _, units = EXAMPLES[0]
    assert cleaned([*units, "Engines"], "Heat", 12) == ["Engines"]
    assert cleaned(units, title, 12) == list(units)


def test_answers_are_read_in_both_forms() -> None:
    assert parse(json.dumps({"units": UNITS}), "chat") == UNITS
    assert cleaned(parse(" Heat and Work\n2. Engines\n3. Entropy\n", "text"), "x", 9) == UNITS[:3]
    for text in ("Heat", "[]", '{"units": "Heat"}', '{"units": [1]}'):
        with pytest.raises(ValueError):
            parse(text, "chat")


def test_a_question_in_plain_text_ends_where_the_list_begins() -> None:
    wanted = Outlines(form="text")
    text = question("Heat", "What heat is.\n\nAnd does.", wanted)
    assert text.endswith("Course: Heat\nAbout: What heat is. And does.\nUnits:\n1.")
    assert body(text, wanted)["prompt"] == text


def test_the_bounds_of_an_outline_must_agree() -> None:
    with pytest.raises(ValueError, match="min_units 9 is more than max_units 4"):
        Outlines(min_units=9, max_units=4)


# The stage

COURSES = {"heat": "Heat and what it does.", "law": "Contracts and their breach.", "sea": "Currents and tides."}


class Desk:
    """A store with courses, and the stage at work on them."""

    def __init__(self, folder: Path, server: ReplayServer, **changes: Any) -> None:
        self.store, self.server = CorpusStore(folder), server
        self.recipe = self.told(**changes)

    def told(self, licences: LicencePolicy | None = None, **changes: Any) -> Recipe:
        prompts = {
            "outlines": {"attempts": 2, **changes},
            "mixes": {"web": {"templates": [{"template": "blogpost"}]}},
        }
        return recipe(prompts=prompts, **({} if licences is None else {"licences": licences}))

    def courses(self, courses: dict[str, str], **columns: Any) -> None:
        rows = [
            {"seed_id": name, "kind": "course", "title": name, "text": text, "licence": "CC0-1.0", **columns}
            for name, text in courses.items()
        ]
        page = {"seed_id": "page", "kind": "web", "title": "A page", "text": "text", "licence": "CC0-1.0"}
        put(self.workspace, "seed_documents", {None: [*rows, page]}, version=str((sorted(courses.items()), columns)))

    def outline(self) -> Manifest:
        return outlines.build(self.workspace, self._client)

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["seed_id"]: row for row in self.store.open("course_outlines").table().to_pylist()}

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.store, self.recipe)

    def _client(self) -> CompletionClient:
        return CompletionClient([self.server.url], "replay", ClientOptions(concurrency=4, attempts=1, backoff=0.01))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    contexts: list[Any] = []

    def make(courses: dict[str, str] = COURSES, changes: dict[str, Any] | None = None, **options: Any) -> Desk:
        options.setdefault("units", lambda prompt: ["Week 1: Introduction and syllabus", *UNITS, "Final exam"])
        contexts.append(replaying(**options))
        made = Desk(tmp_path / str(len(contexts)), contexts[-1].__enter__(), **(changes or {}))
        made.courses(courses)
        return made

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


def test_every_course_gets_an_outline_without_logistics(desk: Callable[..., Desk]) -> None:
    at = desk()
    manifest = at.outline()
    assert {name: row["units"] for name, row in at.rows().items()} == dict.fromkeys(COURSES, UNITS)
    assert manifest.flow.balanced
    assert (manifest.flow.rows_in, manifest.flow.rows_out, manifest.run["requests"]) == (3, 3, 3)
    assert {call["temperature"] for call in at.server.json_calls("course_outline")} == {0}


def test_only_new_and_changed_courses_are_asked_for(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.outline()
    changed = {"heat": COURSES["heat"], "sea": "Only tides.", "art": "Painting."}
    at.courses(changed)
    manifest = at.outline()
    assert (manifest.run["reused_rows"], manifest.run["requests"]) == (1, 2)
    fresh = desk(changed)
    assert fresh.outline().version == manifest.version
    at.recipe = at.told(max_units=5)
    assert at.outline().run["reused_rows"] == 0


def test_too_few_units_are_asked_for_again_and_added_to(desk: Callable[..., Desk]) -> None:
    shown: list[str] = []

    def units(prompt: str) -> list[str]:
        shown.append(prompt)
        return UNITS[:3] if shown.count(prompt) == 1 else UNITS[2:5]

    at = desk({"heat": "Heat."}, units=units)
    at.outline()
    assert at.rows()["heat"]["units"] == UNITS[:5]
    assert len(at.rows()["heat"]["answers"]) == 2
    assert sorted(call["temperature"] for call in at.server.calls) == [0, 0.6]


def test_a_course_without_an_outline_is_recorded_with_the_reason(desk: Callable[..., Desk]) -> None:
    at = desk(units=lambda prompt: UNITS[:3] if "law" in prompt else UNITS)
    manifest = at.outline()
    assert manifest.flow.failed == {"too_few": 1}
    assert at.rows()["law"]["units"] == []
    rejected = at.store.open("course_outlines").rejected()
    assert rejected is not None
    assert rejected.to_pylist()[0]["place"] == "law"


def test_a_failed_course_is_asked_again_a_refused_one_is_not(desk: Callable[..., Desk]) -> None:
    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        if "Course: law" in str(body):
            return web.Response(status=400)
        return web.Response(status=500) if "Course: sea" in str(body) and seen == 0 else None

    at = desk(fault=fault, changes={"attempts": 1})
    assert at.outline().flow.failed == {"failed": 1, "refused": 1}
    again = at.outline()
    assert again.flow.failed == {"refused": 1}
    assert again.run["requests"] == 1
    calls = len(at.server.calls)
    at.outline()
    assert len(at.server.calls) == calls


def test_courses_that_may_not_become_prompts_are_not_asked_for(desk: Callable[..., Desk]) -> None:
    at = desk(changes={"licences": LicencePolicy(deny=("*-NC-*",))})
    at.courses(COURSES, licence="CC-BY-NC-4.0")
    manifest = at.outline()
    assert manifest.flow.dropped == {"licence_denied": 3}
    assert (at.rows(), at.server.calls) == ({}, [])


def test_a_recipe_that_asks_for_none_says_so(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.recipe = recipe()
    with pytest.raises(CosmoError, match="asks for no course outlines"):
        at.outline()


def test_a_plan_counts_the_requests_that_the_stage_sends(desk: Callable[..., Desk]) -> None:
    at = desk(changes={"max_tokens": 50})
    ahead = outlines.ahead(at.workspace, wanted(at))
    assert ahead == Ahead("course_outlines", "courses", 3, 0, 3, 6, 50)
    at.outline()
    assert len(at.server.calls) == ahead.least
    at.courses({**COURSES, "Optics": "Light and lenses."})
    assert outlines.ahead(at.workspace, wanted(at)) == Ahead("course_outlines", "courses", 4, 3, 1, 2, 50)
    few = desk(units=lambda prompt: ["Heat and Work"])
    most = outlines.ahead(few.workspace, wanted(few)).most
    few.outline()
    assert len(few.server.calls) == most == 6


def test_before_the_seeds_are_read_a_plan_counts_the_courses_that_are_expected(tmp_path: Path) -> None:
    source = {"reader": "jsonl", "path": "x", "licence": "CC0-1.0"}
    sources = [
        {"name": "pages", "kind": "web", "expected_seeds": 70, **source},
        {"name": "catalogue", "kind": "course", "expected_seeds": 170, **source},
        {"name": "another", "kind": "course", **source},
    ]
    mixes = {kind: {"templates": [{"template": "blogpost"}]} for kind in ("web", "course")}
    told = recipe(sources=sources, prompts={"outlines": {"attempts": 4}, "mixes": mixes})
    ahead = outlines.ahead(Workspace(CorpusStore(tmp_path), told), Outlines(attempts=4))
    assert (ahead.count, ahead.least, ahead.most) == (20, 20, 80), "170 units, five to twelve of each course"


def wanted(at: Desk) -> Outlines:
    assert at.recipe.prompts.outlines is not None
    return at.recipe.prompts.outlines
