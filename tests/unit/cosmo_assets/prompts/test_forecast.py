"""Forecasts: tokens from templates or from what was measured, hours from a speed, money from hours."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.cli.plan_tables import asked_beside, plan_tables
from cosmo_assets.prompts.checks import CHECKS
from cosmo_assets.prompts.forecast import NOTHING_MEASURED, TABLE, Measured, expected, forecast, measured, speed
from cosmo_assets.prompts.mixes import used_templates, uses_of
from cosmo_assets.recipe.generation import RolloutUse
from cosmo_assets.recipe.recipe import SHIPPED, Recipe, load_recipe
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.prompts.stores import BODIES, build, described, prompts, put_seeds, seeds, write_templates
from tests.unit.cosmo_assets.synthetic import put, recipe

PUBLISHED = {
    "web_samples_v1": 12_426_348,
    "web_samples_v2": 10_345_867,
    "stories": 4_992_964,
    "auto_math_text": 1_949_895,
    "stanford": 1_020_024,
    "wikihow": 179_191,
    "openstax": 126_332,
    "khanacademy": 24_123,
}


def made_of(folder: Path, **sections: Any) -> Recipe:
    write_templates(folder / "templates", BODIES)
    found = described(folder, {"lesson": 1.0, "letter": 0.5})
    return found.model_copy(
        update={name: getattr(found, name).model_copy(update=new) for name, new in sections.items()}
    )


def foreseen(recipe: Recipe, seen: Measured = NOTHING_MEASURED) -> Any:
    sources = tuple(source.model_copy(update={"expected_seeds": 1000}) for source in recipe.sources)
    recipe = recipe.model_copy(update={"sources": sources})
    templates = used_templates(recipe)
    return forecast(recipe, uses_of(recipe, templates), expected(recipe, templates), seen)


def test_an_answer_is_as_long_as_its_template_asks_for_within_its_limit(tmp_path: Path) -> None:
    found = foreseen(made_of(tmp_path))
    assert [(line.cell.template, line.prompts, line.tokens_each) for line in found.lines] == [
        ("lesson", 1000, 135.0),
        ("letter", 500, 135.0),
    ]
    assert found.tokens == 1500 * 135
    bounded = foreseen(made_of(tmp_path, generation={"max_tokens": 90}))
    assert {line.tokens_each for line in bounded.lines} == {90}


def test_what_was_measured_goes_before_what_was_asked_for(tmp_path: Path) -> None:
    found = foreseen(made_of(tmp_path, generation={"samples": 2}), Measured({"letter": 400.0}, 50.0))
    assert [(line.tokens_each, line.measured) for line in found.lines] == [(135.0, False), (400.0, True)]
    assert found.tokens == 2 * (1000 * 135 + 500 * 400)
    assert found.hours == found.tokens / 50 / 3600


def test_a_draft_costs_as_much_as_the_answer_until_both_were_measured(tmp_path: Path) -> None:
    """Measured figures hold every request of a document."""
    found = foreseen(made_of(tmp_path, generation={"rollout": RolloutUse(name="revised")}), Measured({"letter": 400.0}))
    assert [line.tokens_each for line in found.lines] == [2 * 135.0, 400.0]


def test_what_the_model_is_asked_beside_is_planned(tmp_path: Path) -> None:
    """Of 5 clusters two to five answers, each asked for up to 3 times; of 50 texts one."""
    sections = {"signals": ["educational"], "educational": {"labels": 50, "attempts": 2, "max_tokens": 100}}
    found = recipe(topics={"clustering": {"clusters": 5}}, budget={"tokens_per_second": 10}, **sections)
    table = plan_tables(found, CorpusStore(tmp_path))[3]
    assert [list(column.cells) for column in table.columns] == [
        ["topic_labels", "educational_labels"],
        ["clusters", "texts"],
        ["0", "0"],
        ["5", "50"],
        ["10 to 75", "50 to 100"],
        ["12,000", "10,000"],
    ]
    assert str(table.caption).endswith(": 0.6 device hours"), "22,000 tokens at 10 a second"
    plain = plan_tables(recipe(topics={"clustering": {"clusters": 5}}), CorpusStore(tmp_path))[3]
    assert list(plain.columns[0].cells) == ["topic_labels"]
    shipped = {one.asset for one in asked_beside(Workspace(CorpusStore(tmp_path), load_recipe("cosmopedia-v2")))}
    assert shipped == {"topic_tree", "topic_labels", "course_outlines"}


def test_speed_is_measured_or_the_recipes_or_the_tables(tmp_path: Path) -> None:
    recipe = made_of(tmp_path)
    assert speed(recipe, NOTHING_MEASURED) is None
    model = recipe.generation.model.model_copy(update={"name": "mistralai/Mixtral-8x7B-Instruct-v0.1"})
    known = recipe.model_copy(update={"generation": recipe.generation.model_copy(update={"model": model})})
    found = speed(known, NOTHING_MEASURED)
    assert found is not None
    assert (found.device, found.tokens_per_second) == ("H100", 556)
    told = known.model_copy(update={"budget": known.budget.model_copy(update={"tokens_per_second": 10.0})})
    assert getattr(speed(told, NOTHING_MEASURED), "tokens_per_second", None) == 10
    assert getattr(speed(told, Measured({}, 5.0)), "tokens_per_second", None) == 5


def test_every_shipped_recipe_is_planned_and_its_model_has_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMO_SAMPLES", "/nowhere")
    assert TABLE.is_file()
    for path in sorted(SHIPPED.glob("*.yaml")):
        recipe = load_recipe(path.stem)
        templates = used_templates(recipe)
        found = forecast(recipe, uses_of(recipe, templates), expected(recipe, templates), NOTHING_MEASURED)
        assert found.prompts > 0, path.stem
        assert found.hours, path.stem


def test_cosmopedia_has_the_published_numbers_of_rows() -> None:
    recipe = load_recipe("cosmopedia-v1")
    counted: dict[str, int] = {}
    for cell, count in expected(recipe, used_templates(recipe)):
        counted[cell.mix] = counted.get(cell.mix, 0) + count
    assert counted == PUBLISHED
    assert sum(counted.values()) == 31_064_744


def test_the_second_cosmopedia_has_its_audiences() -> None:
    recipe = load_recipe("cosmopedia-v2")
    counted: dict[str, int] = {}
    for cell, count in expected(recipe, used_templates(recipe)):
        counted[cell.audience] = counted.get(cell.audience, 0) + count
    total = sum(counted.values())
    assert total == 39_134_000
    assert counted["middle school students"] / total == pytest.approx(0.4, abs=1e-5)
    assert counted["college students"] / total == pytest.approx(0.3, abs=1e-5)


def test_finephrase_rewrites_every_page_four_times() -> None:
    recipe = load_recipe("finephrase")
    counted = expected(recipe, used_templates(recipe))
    assert {count for _, count in counted} == {339_000_000}
    assert {cell.format for cell, _ in counted} == {"table", "math_problem", "faq", "tutorial"}
    assert recipe.generation.sampling.given == {}


def test_a_plan_draws_from_the_seeds_that_are_there(tmp_path: Path) -> None:
    recipe = made_of(tmp_path)
    space, _ = build(tmp_path / "store", seeds(30), recipe)
    table = plan_tables(recipe, space.store)[0]
    assert list(table.columns[3].cells) == ["30", "15", "[bold]45[/]"]
    more = described(tmp_path, {"lesson": 1.0, "letter": 1.0, "story": 0.1})
    assert list(plan_tables(more, space.store)[0].columns[3].cells) == ["30", "30", "3", "[bold]63[/]"]
    assert len(prompts(space)) == 45, "a plan builds nothing"


def test_a_plan_that_the_seeds_cannot_meet_is_refused(tmp_path: Path) -> None:
    recipe = made_of(tmp_path)
    space, _ = build(tmp_path / "store", seeds(30), recipe)
    mixes = {"web": recipe.prompts.mixes["web"].model_copy(update={"prompts": 61})}
    wanted = recipe.model_copy(update={"prompts": recipe.prompts.model_copy(update={"mixes": mixes})})
    with pytest.raises(CosmoError, match=r"asks for 61 prompts; .* at most 60"):
        plan_tables(wanted, space.store)


def test_a_bucket_that_was_generated_overrides_the_table(tmp_path: Path) -> None:
    recipe = made_of(tmp_path)
    space, _ = build(tmp_path / "store", seeds(30), recipe)
    assert measured(recipe, space.store) == NOTHING_MEASURED
    keys = space.store.open("prompt_table").table(["prompt_id", "template"], bucket="b000").to_pylist()
    lengths = {"lesson": 50, "letter": 70}
    rows = [
        {
            "doc_id": row["prompt_id"],
            "prompt_id": row["prompt_id"],
            "status": "ok",
            "completion_tokens": lengths[row["template"]],
        }
        for row in keys
    ]
    put(
        space,
        "generations",
        {None: [*rows, {"status": "failed", "prompt_id": keys[0]["prompt_id"], "completion_tokens": 9}]},
        bucket="b000",
    )
    assert measured(recipe, space.store).tokens == {row["template"]: lengths[row["template"]] for row in keys}


@pytest.mark.parametrize(
    ("budget", "passes"),
    [
        ({}, True),
        ({"gpu_hours": 1.0}, False),
        ({"gpu_hours": 0.0017, "tokens_per_second": 1000.0}, True),
        ({"gpu_hours": 0.0016, "tokens_per_second": 1000.0}, False),
        ({"cost": 0.004, "tokens_per_second": 1000.0}, False),
        ({"cost": 0.005, "tokens_per_second": 1000.0}, True),
    ],
)
def test_a_budget_blocks_a_table_that_would_cost_more(tmp_path: Path, budget: dict[str, float], passes: bool) -> None:
    """45 prompts of 135 tokens: 6,075 tokens, .0016875 hours at 1,000 a second, .00421875 at 2.5 an hour."""
    recipe = made_of(tmp_path, budget=budget)
    _, manifest = build(tmp_path / "store", seeds(30), recipe)
    check = next(check for check in CHECKS if check.name == "within_budget")
    assert check.blocking
    assert check.test(manifest, recipe)[0] is passes


def test_plans_of_an_empty_store_say_what_they_rest_on(tmp_path: Path) -> None:
    recipe = made_of(tmp_path)
    assert "expected_seeds" in str(plan_tables(recipe, CorpusStore(tmp_path / "empty"))[0].caption)
    space, _ = build(tmp_path / "store", seeds(3), recipe)
    put_seeds(space, seeds(4))
    with pytest.raises(CosmoError, match="other seeds"):
        plan_tables(recipe, space.store)
