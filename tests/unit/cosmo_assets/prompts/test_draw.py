"""The draw: which seeds, segments and units become prompts, through a small store.

Belongs here: what reaches the draw from tables and recipe. Does not belong here: its arithmetic (`test_allocation`).
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from cosmo_assets.prompts.draw import Draw, draw
from cosmo_assets.prompts.items import open_inputs
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace, silent
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.unit.cosmo_assets.synthetic import filled, put, recipe

KINDS = {"pages": "web", "news": "web", "courses": "course"}
BUDGETS = (250, 300, 1000)

Row = Mapping[str, Any]


class Drawn(NamedTuple):
    seed: str
    segment: int
    unit: int


def seed(number: int, source: str = "pages", *, tokens: Sequence[int] = (200,), **columns: Any) -> Row:
    """A seed with what the tables say of it; `tokens` of each segment."""
    identity = {"seed_id": digest(str(number)), "source": source, "kind": KINDS[source], "licence": "CC0-1.0"}
    return {**identity, "tokens": tokens, "topic": "physics", "score": 5.0, **columns}


def seeds(count: int, **columns: Any) -> list[Row]:
    return [seed(number, **columns) for number in range(count)]


def extracts(rows: Iterable[Row]) -> list[Row]:
    return [
        {"seed_id": row["seed_id"], "budget": budget, "segment": segment, "end": 10, "tokens": tokens}
        for row in rows
        for budget in BUDGETS
        for segment, tokens in enumerate(row["tokens"])
    ]


def made_of(rows: Iterable[Row], mixes: Mapping[str, Any], **fields: Any) -> Recipe:
    sources = [
        {"name": name, "kind": KINDS[name], "reader": "jsonl", "path": "x.jsonl", "licence": "CC0-1.0"}
        for name in sorted({str(row["source"]) for row in rows})
    ]
    sections = {name: fields.pop(name) for name in ("licences",) if name in fields}
    return recipe(sources=sources, prompts={"mixes": mixes, **fields}, mixture={"components": {}}, **sections)


def split(rows: Sequence[Row], parts: int) -> dict[str | None, Iterable[Row]]:
    return {f"b{number:03d}": rows[number::parts] for number in range(parts)}


def publish(folder: Path, rows: Sequence[Row], made: Recipe, parts: int = 1, units: Any = None) -> CorpusStore:
    workspace = Workspace(CorpusStore(folder), made)
    divided = split(rows, parts)
    put(workspace, "seed_documents", divided)
    put(workspace, "seed_topics", divided)
    put(workspace, "seed_extracts", {part: extracts(some) for part, some in divided.items()})
    outlines = [{"seed_id": rows[number]["seed_id"], "units": named} for number, named in (units or {}).items()]
    put(workspace, "course_outlines", {None: outlines})
    return workspace.store


def drawn_of(
    folder: Path, rows: Sequence[Row], mixes: Mapping[str, Any], *, parts: int = 1, units: Any = None, **fields: Any
) -> Draw:
    made = made_of(rows, mixes, **fields)
    return draw(open_inputs(publish(folder, rows, made, parts, units), made), made, silent)


def web(*templates: Any, **fields: Any) -> dict[str, Any]:
    uses = [{"template": use} if isinstance(use, str) else use for use in templates]
    return {"web": {"templates": uses, **fields}}


def found(plan: Draw, rows: Sequence[Row], parts: int = 1) -> dict[str, set[Drawn]]:
    """What each template is asked of."""
    names = [row["seed_id"] for some in split(rows, parts).values() for row in some]
    result: dict[str, set[Drawn]] = {}
    for use, mask in zip(plan.uses, plan.masks, strict=True):
        items = plan.survey.items[use.view]
        chosen = np.flatnonzero(mask)
        columns = (column[chosen].tolist() for column in (items.seeds, items.segments, items.units))
        drawn = {Drawn(names[place], segment, unit) for place, segment, unit in zip(*columns, strict=True)}
        assert len(drawn) == len(chosen)
        result[use.template.id] = drawn
    return result


def ids(rows: Iterable[Row]) -> set[str]:
    return {row["seed_id"] for row in rows}


def of_seeds(drawn: Iterable[Drawn]) -> set[str]:
    return {item.seed for item in drawn}


def capacities(plan: Draw) -> dict[tuple[str, str], int]:
    return {(cell.template, cell.source): cell.seeds for cell in plan.cells}


def test_templates_meet_as_many_seeds_of_each_source_as_the_recipe_says(tmp_path: Path) -> None:
    rows = [*seeds(60), *(seed(number, "news") for number in range(100, 130))]
    plan = drawn_of(tmp_path, rows, web("blogpost", {"template": "textbook_narrative", "per_seed": 0.5}))
    drawn = found(plan, rows)
    assert of_seeds(drawn["blogpost"]) == ids(rows)
    narrated = of_seeds(drawn["textbook_narrative"])
    assert [len(narrated & ids(some)) for some in (rows[:60], rows[60:])] == [30, 15]
    assert plan.quotas == [30, 60, 15, 30]


def test_a_template_meets_the_sources_that_it_names(tmp_path: Path) -> None:
    rows = [*seeds(20), *(seed(number, "news") for number in range(100, 110))]
    plan = drawn_of(tmp_path, rows, web("blogpost", {"template": "wikihow_web", "sources": ["news"]}))
    assert of_seeds(found(plan, rows)["wikihow_web"]) == ids(rows[20:])
    assert capacities(plan) == {("blogpost", "news"): 10, ("blogpost", "pages"): 20, ("wikihow_web", "news"): 10}


def test_a_source_without_seeds_gets_no_prompts(tmp_path: Path) -> None:
    rows = [*seeds(5), seed(100, "news", excluded="topic_denied")]
    made = made_of(rows, web("blogpost"))
    for place, some in enumerate((rows, rows[:5])):
        plan = draw(open_inputs(publish(tmp_path / str(place), some, made), made), made, silent)
        assert capacities(plan) == {("blogpost", "news"): 0, ("blogpost", "pages"): 5}
        assert of_seeds(found(plan, some)["blogpost"]) == ids(rows[:5])


@pytest.mark.parametrize("bound", [1.0, 4.1, 4.3, 7.7, 10.0])
def test_scores_are_shared_out_between_templates_and_none_meets_a_null(tmp_path: Path, bound: float) -> None:
    rows = [seed(number, score=number / 10 if number > 9 else None) for number in range(101)]
    low, high = {"template": "blogpost", "max_score": bound}, {"template": "wikihow_web", "min_score": bound}
    drawn = found(drawn_of(tmp_path, rows, web(low, high, "explainer_general")), rows)
    assert of_seeds(drawn["wikihow_web"]) == ids(rows[round(bound * 10) :])
    assert of_seeds(drawn["blogpost"]) == ids(rows[10 : round(bound * 10)])
    assert of_seeds(drawn["explainer_general"]) == ids(rows)


def test_a_template_that_needs_tokens_meets_no_shorter_extract(tmp_path: Path) -> None:
    rows = [seed(number, tokens=(number,)) for number in range(1, 61)]
    plan = drawn_of(tmp_path, rows, web("blogpost", "nemotron_diverse_qa"))
    drawn = found(plan, rows)
    assert capacities(plan) == {("blogpost", "pages"): 60, ("nemotron_diverse_qa", "pages"): 31}
    assert of_seeds(drawn["nemotron_diverse_qa"]) == ids(rows[29:])
    assert of_seeds(drawn["blogpost"]) == ids(rows)


def test_each_segment_is_an_item_for_templates_that_use_segments(tmp_path: Path) -> None:
    rows = seeds(40, tokens=(300, 300, 20))
    half = {"template": "wrap_qa", "per_seed": 0.5}
    drawn = found(drawn_of(tmp_path, rows, web("blogpost", half, "wrap_easy", "nemotron_diverse_qa")), rows)
    assert {item.segment for item in drawn["blogpost"]} == {0}
    assert len(drawn["blogpost"]) == 40
    assert len(drawn["wrap_easy"]) == 120
    assert {item.segment for item in drawn["nemotron_diverse_qa"]} == {0, 1}  # the last segment is too short
    assert len(drawn["wrap_qa"]) == 60
    sizes = Counter(Counter(item.seed for item in drawn["wrap_qa"]).values())
    assert len(sizes) == 3  # segments of a seed are drawn apart
    assert all(5 < count < 35 for count in Counter(item.segment for item in drawn["wrap_qa"]).values())


def test_each_unit_of_an_outlined_course_is_an_item(tmp_path: Path) -> None:
    rows = [seed(number, "courses") for number in range(30)]
    units: dict[int, list[str]] = {number: [f"Unit {place}" for place in range(number % 4)] for number in range(25)}
    mixes = {"course": {"templates": [{"template": "course_unit"}, {"template": "course_unit_middle_school"}]}}
    plan = drawn_of(tmp_path / "with", rows, mixes, units=units, outlines={})
    for drawn in found(plan, rows).values():
        sizes = Counter(item.seed for item in drawn)
        assert [sizes[row["seed_id"]] for row in rows] == [max(len(units.get(number, [])), 1) for number in range(30)]
    without = drawn_of(tmp_path / "without", rows, mixes, units=units)
    assert {len(drawn) for drawn in found(without, rows).values()} == {30}


def test_units_of_a_course_are_drawn_apart(tmp_path: Path) -> None:
    rows = [seed(number, "courses") for number in range(100)]
    units = {number: ["Heat", "Work"] for number in range(100)}
    mixes = {"course": {"templates": [{"template": "course_unit", "per_seed": 0.5}]}}
    drawn = found(drawn_of(tmp_path, rows, mixes, units=units, outlines={}), rows)["course_unit"]
    assert len(drawn) == 100
    both = Counter(Counter(item.seed for item in drawn).values())
    assert 10 < both[2] < 40
    assert all(30 < count < 70 for count in Counter(item.unit for item in drawn).values())


def test_denied_licences_and_excluded_topics_do_not_count_as_seeds(tmp_path: Path) -> None:
    denied = [seed(number, licence="CC-BY-NC-4.0", excluded="no_topic" if number > 13 else None) for number in (12, 14)]
    rows = [*seeds(10), *denied, seed(15, excluded="topic_denied")]
    plan = drawn_of(tmp_path, rows, web("blogpost"), licences={"deny": ["*-NC-*"]})
    assert capacities(plan) == {("blogpost", "pages"): 10}
    assert of_seeds(found(plan, rows)["blogpost"]) == ids(rows[:10])
    assert plan.survey.why["why"].to_list() == ["licence_denied", "licence_denied", "topic_denied"]
    assert plan.survey.why["seed_id"].to_list() == [row["seed_id"] for row in rows[10:]]


def test_more_prompts_than_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"web\.prompts asks for 31 .* at most 30 \(blogpost of pages: 30 seeds\)"):
        drawn_of(tmp_path, [*seeds(30), seed(31, excluded="no_topic")], web("blogpost", prompts=31))


@pytest.mark.parametrize("asset", ["seed_topics", "seed_extracts"])
@pytest.mark.parametrize("parts", [1, 2])
def test_tables_of_other_seeds_are_refused(tmp_path: Path, asset: str, parts: int) -> None:
    rows = seeds(10)
    made = made_of(rows, web("blogpost"))
    store = publish(tmp_path, rows, made)
    others = split([*rows[:9], seed(99)] if parts == 1 else rows, parts)
    tables = {part: extracts(some) if asset == "seed_extracts" else some for part, some in others.items()}
    put(Workspace(store, made), asset, tables, version="2")
    with pytest.raises(CosmoError, match=f"{asset} was built of other seeds .* holds now") as refusal:
        draw(open_inputs(store, made), made, silent)
    assert refusal.value.remedy.startswith("run `cosmo run` with the assets from seed_documents to seed_extracts")


def test_topics_of_another_version_of_the_same_seeds_are_refused(tmp_path: Path) -> None:
    rows = seeds(4)
    made = made_of(rows, web("blogpost"))
    workspace = Workspace(publish(tmp_path, rows, made), made)
    refs = (workspace.store.open("seed_documents").ref(),)

    def produce(writer: DatasetWriter) -> None:
        writer.write(filled("seed_topics", rows))
        writer.flow("rows", 4, 4)

    workspace.build("seed_topics", produce, stage_version="2", inputs=refs, params={})
    assert open_inputs(workspace.store, made).parts == 1
    put(workspace, "seed_documents", {"b000": [{**row, "text": "other"} for row in rows]}, version="2")
    with pytest.raises(CosmoError, match="seed_topics was built of other seeds"):
        open_inputs(workspace.store, made)


SIZES = {"rare": 20, "usual": 100, "common": 500, None: 50}


def of_topics() -> list[Row]:
    topics = [topic for topic, size in SIZES.items() for _ in range(size)]
    return [seed(number, topic=topic) for number, topic in enumerate(topics)]


def topics(plan: Draw, rows: Sequence[Row]) -> Counter[str | None]:
    of_seed = {row["seed_id"]: row["topic"] for row in rows}
    return Counter(of_seed[item.seed] for drawn in found(plan, rows).values() for item in drawn)


def test_topic_balance_reaches_the_draw(tmp_path: Path) -> None:
    rows = of_topics()
    mixes = web({"template": "blogpost", "per_seed": 0.1}, {"template": "wikihow_web", "per_seed": 0.2})
    found = [
        topics(drawn_of(tmp_path / str(balance), rows, mixes, topic_balance=balance), rows) for balance in (1, 0.5, 0)
    ]
    assert {counts.total() for counts in found} == {67 + 134}
    assert found[0]["rare"] < found[1]["rare"] < found[2]["rare"] <= 40
    assert found[0]["common"] > found[1]["common"] > found[2]["common"]
    assert abs(found[2]["usual"] - found[2]["common"]) < 4 * 80**0.5


def test_the_cap_on_a_topic_reaches_the_draw(tmp_path: Path) -> None:
    courses = [seed(number, "courses", topic=("rare", "art", "law")[number % 3]) for number in range(1_000, 1_300)]
    rows = [*of_topics(), *courses]
    mixes = {
        **web({"template": "blogpost", "per_seed": 0.15}),
        "course": {"templates": [{"template": "course_unit", "per_seed": 0.1}]},
    }
    plan = drawn_of(tmp_path, rows, mixes, caps={"topic": 0.4})
    of_seed = {row["seed_id"]: row["topic"] for row in rows}
    for drawn, count in zip(found(plan, rows).values(), (101, 30), strict=True):
        held = Counter(of_seed[item.seed] for item in drawn)
        assert held.total() == count
        assert max(held[topic] for topic in set(of_seed.values()) - {None}) <= 0.4 * count


def test_a_cap_that_the_seeds_cannot_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"caps\.topic"):
        drawn_of(tmp_path, of_topics(), web("blogpost"), caps={"topic": 0.5})


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_and_the_order_of_seeds_change_nothing(tmp_path: Path, parts: int) -> None:
    rows = [{**row, "tokens": (200,) * (number % 3 + 1)} for number, row in enumerate(of_topics())]
    fields: dict[str, Any] = {"topic_balance": 0.5, "caps": {"topic": 0.5}}
    mixes = web({"template": "blogpost", "per_seed": 0.1}, {"template": "wrap_qa", "per_seed": 0.2}, prompts=300)
    whole = found(drawn_of(tmp_path / "whole", rows, mixes, **fields), rows)
    shuffled = random.Random(0).sample(rows, len(rows))
    assert found(drawn_of(tmp_path / "parts", shuffled, mixes, parts=parts, **fields), shuffled, parts) == whole
    assert sum(map(len, whole.values())) == 300
