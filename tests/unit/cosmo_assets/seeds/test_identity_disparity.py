"""Whom the limit of toxicity removes for nothing, and the check that stops a recipe for it."""

import pytest

from cosmo_assets.real.checks import READ_CHECKS
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_assets.recipe.selection import Selection, SignalBound
from cosmo_assets.recipe.sources import RealData, RealFilters, SeedPolicy
from cosmo_assets.reporting import Check
from cosmo_assets.seeds.checks import CHECKS
from cosmo_assets.seeds.toxicity import JUDGED_CHARS, disparities_of
from cosmo_assets.selection.checks import CHECKS as SELECTION_CHECKS
from cosmo_assets.selection.disparity import TEMPLATES
from cosmo_resources.storage.manifest import Manifest

DEMO = load_recipe("demo")
ANY = Manifest.model_construct()


def check_of(checks: tuple[Check, ...]) -> Check:
    (found,) = [check for check in checks if check.name == "identity_disparity"]
    return found


def limited(seeds: float, real: float, most: float = 1.0) -> Recipe:
    return DEMO.model_copy(
        update={
            "seeds": SeedPolicy(max_toxicity=seeds),
            "real": RealData(filters=RealFilters(max_toxicity=real)),
            "limits": DEMO.limits.model_copy(update={"max_identity_disparity": most}),
        }
    )


@pytest.mark.parametrize(("limit", "groups"), [(SeedPolicy().max_toxicity, set()), (0.5, {"orientation"})])
def test_the_model_is_found_out_below_its_default_limit_only(limit: float, groups: set[str]) -> None:
    assert {row.group for row in disparities_of(limit) if row.low > 1} == groups


def test_paragraphs_are_long_enough_to_be_judged() -> None:
    """Else none would be removed, and every limit would pass."""
    assert all(row.texts == row.control_texts == 40 for row in disparities_of(0.5))
    assert min(len(text) for text in TEMPLATES) * 3 > JUDGED_CHARS
    assert any(row.removed for row in disparities_of(0.5))


def test_a_limit_that_removes_a_group_stops_the_recipe() -> None:
    check = check_of(CHECKS)
    assert check.blocking
    assert check.test(ANY, DEMO)[0]
    passed, figures = check.test(ANY, limited(0.5, 0.9))
    assert not passed
    assert (figures["group"], figures["removed"], figures["of others"]) == ("orientation", "17 of 40", "0 of 40")
    assert check.test(ANY, limited(0.5, 0.9, most=figures["ratio at least"] + 0.01))[0], "somebody has decided so"


@pytest.mark.parametrize(
    ("bounds", "passes"),
    [
        ([("toxicity.worst_paragraph", 0.9)], True),
        ([("toxicity.worst_paragraph", 0.5)], False),
        ([("toxicity.score", 0.9), ("toxicity.worst_paragraph", 0.5)], False),
        ([("toxicity.score", 0.5), ("toxicity.worst_paragraph", 0.9)], False),
        ([("quality.words", 0.5)], True),
    ],
)
def test_a_selection_by_toxicity_is_held_to_its_tightest_bound(bounds: list[tuple[str, float]], passes: bool) -> None:
    check = check_of(SELECTION_CHECKS)
    assert check.blocking
    chosen = tuple(SignalBound(signal=signal, high=high) for signal, high in bounds)
    found, figures = check.test(ANY, DEMO.model_copy(update={"selection": Selection(bounds=chosen)}))
    assert found == passes
    assert ("group" in figures) == any(signal.startswith("toxicity.") for signal, _ in bounds)


def test_without_a_selection_or_with_one_from_below_there_is_nothing_to_hold() -> None:
    below = Selection(bounds=(SignalBound(signal="toxicity.score", low=0.5),))
    for recipe in (DEMO, DEMO.model_copy(update={"selection": below})):
        assert check_of(SELECTION_CHECKS).test(ANY, recipe) == (True, {"limit of toxicity": "none"})


def test_real_text_is_held_to_its_own_limit() -> None:
    check = check_of(READ_CHECKS)
    assert check.blocking
    assert check.test(ANY, limited(0.5, 0.9))[0]
    assert not check.test(ANY, limited(0.9, 0.5))[0]
