"""The mixture beside the weights of least predicted loss: shares, what is near, which file."""

import json
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.composition.answer import Answer
from cosmo_assets.mixture.checks import CHECKS
from cosmo_assets.mixture.nearness import TOLERANCE, Beside, beside, charts, optimum_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from tests.unit.cosmo_assets.synthetic import recipe

(NEAR,) = (check for check in CHECKS if check.name == "near_optimum")


def row(source: str, tokens: int, available: int) -> dict[str, Any]:
    return {"source": source, "tokens": tokens, "available": available}


def answer(**weights: tuple[float, float, float]) -> Answer:
    found = {name: dict(zip(("value", "low", "high"), of, strict=True)) for name, of in weights.items()}
    return Answer.model_validate({"method": "law", "weights": found})


def verdict(folder: Path, components: list[dict[str, Any]], found: Answer) -> tuple[bool, dict[str, Any]]:
    (folder / "weights.json").write_text(found.model_dump_json(), encoding="utf-8")
    manifest = Manifest.model_construct(summary={"components": components})
    asked = recipe(mixture={"components": {"pages": {"weight": 1}}, "optimum": str(folder / "weights.json")})
    passed, figures = NEAR.test(manifest, asked)
    return passed, dict(figures)


def test_shares_are_of_the_tokens_of_the_sources_that_the_optimum_speaks_of() -> None:
    components = [row("web", 300, 900), row("books", 100, 100), row("new", 600, 1000)]
    rows = beside(components, answer(books=(0.7, 0.6, 0.8), web=(0.2, 0.1, 0.3), code=(0.1, 0.0, 0.2)))
    assert rows == [
        Beside("books", 0.1, 0.25, 0.7, 0.6, 0.8),
        Beside("web", 0.9, 0.75, 0.2, 0.1, 0.3),
        Beside("code", 0.0, 0.0, 0.1, 0.0, 0.2),
        Beside("new", None, None),
    ]
    assert [one.near for one in rows] == [False, False, True, None]


@pytest.mark.parametrize(("tokens", "near"), [(55, True), (50, True), (49, False), (60, True), (75, True), (76, False)])
def test_near_is_the_interval_and_five_points_on_either_side(tokens: int, near: bool) -> None:
    assert TOLERANCE == 0.05
    components = [row("web", tokens, 100), row("books", 100 - tokens, 100)]
    first, _ = beside(components, answer(web=(0.6, 0.55, 0.7), books=(0.4, 0.0, 1.0)))
    assert (first.source, first.near) == ("web", near)


def test_the_check_names_what_is_far_and_what_one_of_both_lacks(tmp_path: Path) -> None:
    found = answer(web=(0.2, 0.1, 0.3), books=(0.7, 0.6, 0.8), code=(0.1, 0.0, 0.2))
    passed, figures = verdict(tmp_path, [row("web", 75, 9), row("books", 25, 1), row("new", 5, 5)], found)
    assert not passed
    assert (
        figures["far"]
        == "books 0.2500 (optimum 0.7000, 0.6000 to 0.8000); web 0.7500 (optimum 0.2000, 0.1000 to 0.3000)"
    )
    assert (figures["not in the mixture"], figures["not in the optimum"]) == ("code", "new")
    passed, figures = verdict(tmp_path, [row("web", 25, 9), row("books", 75, 1), row("code", 1, 1)], found)
    assert (passed, figures["far"], figures["not in the mixture"]) == (True, "", "")


def test_without_an_optimum_the_check_passes_and_the_recipe_is_as_it_was() -> None:
    plain = recipe(mixture={"components": {"pages": {"weight": 1}}})
    passed, figures = NEAR.test(Manifest.model_construct(summary={"components": [row("pages", 1, 1)]}), plain)
    assert (passed, dict(figures)) == (True, {"compared with": "nothing: the recipe has no mixture.optimum"})
    assert "optimum" not in plain.model_dump(mode="json")["mixture"]


def test_the_charts_have_all_three_mixtures_and_the_intervals() -> None:
    rows = beside([row("web", 3, 9), row("books", 1, 1)], answer(books=(0.7, 0.6, 0.8), web=(0.3, 0.2, 0.4)))
    bars, intervals = charts(rows, "law").values()
    for said in ("what there is: books 10%", "corpus: books 25%", "optimum: books 70%"):
        assert said in bars
    assert "books: 70% (60% to 80%)" in intervals
    assert "corpus: 75%" in intervals


def test_a_file_that_is_not_there_or_several_are_an_error_that_names_the_field(tmp_path: Path) -> None:
    def asked(path: str) -> Any:
        return recipe(mixture={"components": {"pages": {"weight": 1}}, "optimum": str(tmp_path / path)})

    with pytest.raises(CosmoError, match=r"mixture\.optimum: no file matches"):
        optimum_of(asked("weights.json"))
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(CosmoError, match=r"mixture\.optimum: 2 files match"):
        optimum_of(asked("*.json"))
