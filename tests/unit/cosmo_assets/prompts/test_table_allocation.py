"""Allocation: which templates a seed meets, drawn from ids so that one change moves as little as possible.

Belongs here: the draw. Does not belong here: rendering (`test_templates`) or storing (`tests/e2e`).
"""

from collections import Counter

import pytest

from cosmo_assets.prompts.table import allocate, allocate_units
from cosmo_assets.recipe import PromptMix, TemplateUse
from cosmo_resources.storage.digest import digest

COUNT = 8_000
SEEDS = [digest(str(number)) for number in range(COUNT)]


def mix(per_seed: float = 1.0, **weights: float) -> PromptMix:
    return PromptMix(
        per_seed=per_seed,
        templates=tuple(TemplateUse(template=name, weight=weight) for name, weight in weights.items()),
    )


def off(count: int, expected: float) -> float:
    """How many standard deviations a count is off a share of the seeds."""
    return abs(count - COUNT * expected) / (COUNT * expected * (1 - expected)) ** 0.5


@pytest.mark.parametrize("per_seed", [1, 2.5, 3, 9])
def test_a_seed_never_meets_a_template_twice(per_seed: float) -> None:
    chosen = [allocate(seed, mix(per_seed, a=5, b=1, c=1)) for seed in SEEDS[:500]]
    assert all(len(set(templates)) == len(templates) for templates in chosen)


def test_a_seed_meets_as_many_templates_as_wanted() -> None:
    assert {len(allocate(seed, mix(2, a=1, b=1, c=1))) for seed in SEEDS[:500]} == {2}


def test_a_seed_meets_no_more_templates_than_there_are() -> None:
    assert {tuple(sorted(allocate(seed, mix(5, a=1, b=9)))) for seed in SEEDS[:500]} == {("a", "b")}


@pytest.mark.parametrize("per_seed", [0.15, 0.5, 1.3])
def test_a_fraction_is_a_chance(per_seed: float) -> None:
    sizes = Counter(len(allocate(seed, mix(per_seed, a=1, b=1, c=1))) for seed in SEEDS)
    assert set(sizes) == {int(per_seed), int(per_seed) + 1}
    assert off(sizes[int(per_seed) + 1], per_seed % 1) < 4


def test_weights_are_realised() -> None:
    weights = {"a": 4.0, "b": 2.0, "c": 1.0, "d": 1.0}
    met = Counter(template for seed in SEEDS for template in allocate(seed, mix(**weights)))
    for template, weight in weights.items():
        assert off(met[template], weight / 8) < 4


def test_weights_are_realised_without_replacement() -> None:
    weights = {"a": 3.0, "b": 2.0, "c": 1.0}
    met = Counter(template for seed in SEEDS for template in allocate(seed, mix(2, **weights)))
    for template, weight in weights.items():
        second = sum(other / 6 * weight / (6 - other) for name, other in weights.items() if name != template)
        assert off(met[template], weight / 6 + second) < 4


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3])
def test_only_the_ratio_of_weights_counts(scale: float) -> None:
    for seed in SEEDS[:1000]:
        assert allocate(seed, mix(2, a=scale, b=2 * scale, c=3 * scale)) == allocate(seed, mix(2, a=1, b=2, c=3))


def test_one_seed_meets_different_templates_than_another() -> None:
    assert len({tuple(allocate(seed, mix(2, a=1, b=1, c=1))) for seed in SEEDS[:200]}) == 6


def test_the_order_of_templates_in_the_recipe_changes_nothing() -> None:
    for seed in SEEDS[:1000]:
        assert allocate(seed, mix(2, c=1, a=3, b=2)) == allocate(seed, mix(2, a=3, b=2, c=1))


def test_an_added_template_only_takes_seeds_over() -> None:
    moved = 0
    for seed in SEEDS:
        before, after = allocate(seed, mix(a=2, b=1)), allocate(seed, mix(a=2, b=1, new=1))
        assert after in (before, ["new"])
        moved += after != before
    assert off(moved, 1 / 4) < 4


def test_of_several_templates_an_added_one_replaces_one() -> None:
    for seed in SEEDS[:2000]:
        before, after = allocate(seed, mix(2, a=2, b=1, c=1)), allocate(seed, mix(2, a=2, b=1, c=1, new=1))
        assert set(after) - set(before) <= {"new"}
        assert len(set(before) - set(after)) == ("new" in after)


def test_a_heavier_template_only_takes_seeds_over() -> None:
    for seed in SEEDS[:2000]:
        before, after = allocate(seed, mix(a=2, b=1, c=1)), allocate(seed, mix(a=2, b=1, c=3))
        assert after in (before, ["c"])


def test_more_prompts_a_seed_keep_those_there_were() -> None:
    for seed in SEEDS[:2000]:
        fewer, more = allocate(seed, mix(0.7, a=2, b=1, c=1)), allocate(seed, mix(1.6, a=2, b=1, c=1))
        assert more[: len(fewer)] == fewer


UNITS = ["Heat", "Engines", "Entropy", "Mixtures"]


def test_a_course_never_meets_a_template_with_the_same_unit_twice() -> None:
    for seed in SEEDS[:300]:
        chosen = allocate_units(seed, mix(6, a=1, b=3), UNITS, {"a", "b"})
        assert len(set(chosen)) == len(chosen) == 6
        assert {unit for _, unit in chosen} <= set(UNITS)


def test_a_course_meets_a_template_that_knows_no_units_at_most_once() -> None:
    for seed in SEEDS[:300]:
        chosen = allocate_units(seed, mix(9, a=1, b=1), UNITS, {"a"})
        assert sorted(chosen, key=str) == sorted([*(("a", unit) for unit in UNITS), ("b", None)], key=str)


def test_weights_of_templates_hold_whatever_the_number_of_units() -> None:
    met = Counter(allocate_units(seed, mix(1, a=3, b=1), UNITS, {"a"})[0][0] for seed in SEEDS)
    assert off(met["a"], 0.75) < 4


def test_units_are_drawn_evenly() -> None:
    met = Counter(allocate_units(seed, mix(1, a=1), UNITS, {"a"})[0][1] for seed in SEEDS)
    assert all(off(met[unit], 0.25) < 4 for unit in UNITS)


def test_another_unit_moves_none_of_the_pairs_that_are_still_drawn() -> None:
    for seed in SEEDS[:300]:
        before = allocate_units(seed, mix(2, a=2, b=1), UNITS, {"a", "b"})
        after = allocate_units(seed, mix(2, a=2, b=1), [*UNITS, "Radiation"], {"a", "b"})
        kept = [pair for pair in after if pair[1] != "Radiation"]
        assert kept == before[: len(kept)]


def test_without_an_outline_allocation_is_what_it_was() -> None:
    weights = mix(1.5, a=2, b=1, c=1)
    for seed in SEEDS[:300]:
        assert [template for template, _ in allocate_units(seed, weights, (), {"a", "b"})] == allocate(seed, weights)
