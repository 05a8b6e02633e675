"""The point of least loss within bounds, against closed forms."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.composition.law import MixingLaw
from cosmo_assets.composition.optimum import (
    DRAWS,
    beyond_runs,
    corner,
    draws,
    inside,
    least_by_law,
    least_by_trees,
)
from cosmo_assets.composition.trees import Trees
from tests.unit.cosmo_assets.composition.trainings import law, runs_of, simplex

bounded = st.integers(2, 8).flatmap(
    lambda size: st.tuples(
        st.lists(st.floats(-2, 2), min_size=size, max_size=size),
        st.lists(st.floats(0, 1), min_size=size, max_size=size).filter(lambda bounds: sum(bounds) >= 1),
    )
)


@given(bounded)
def test_the_nearest_point_is_within_the_bounds(case: tuple[list[float], list[float]]) -> None:
    point, bounds = map(np.array, case)
    found = inside(point[None], bounds)[0]
    assert (found >= 0).all()
    assert (found <= bounds).all()
    assert found.sum() == pytest.approx(1, abs=1e-9)
    other = corner(-point, bounds)
    assert np.linalg.norm(found - point) <= np.linalg.norm(other - point) + 1e-9
    assert (found - point) @ (other - found) >= -1e-8, "no other point is nearer"


@given(bounded)
def test_a_corner_is_the_least_of_all_orders_of_filling(case: tuple[list[float], list[float]]) -> None:
    slope, bounds = map(np.array, case)
    found = corner(slope[:5], bounds[:5]) if bounds[:5].sum() >= 1 else corner(slope, bounds)
    assert found.sum() == pytest.approx(1)
    if len(found) > 5:
        return
    values = []
    for order in permutations(range(len(found))):
        left, value = 1.0, 0.0
        for domain in order:
            taken = min(left, bounds[domain])
            left, value = left - taken, value + taken * slope[domain]
        values.append(value)
    assert slope[: len(found)] @ found == pytest.approx(min(values), abs=1e-9)


def own(strength: float) -> list[MixingLaw]:
    """Each target is lowered by its own domain: at the optimum of sum s_i exp(-a r_i) all s_i exp(-a r_i) are equal."""
    return [MixingLaw(1.0, -strength * row) for row in np.eye(3)]


def test_an_optimum_within_is_the_one_in_closed_form() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    expected = (np.log(shares) - np.log(shares).mean()) / 4 + 1 / 3
    found = least_by_law(own(4), shares, np.array([0.05, 0.05, 0.9]), np.ones(3))
    assert found == pytest.approx(expected, abs=1e-6)


def test_with_an_active_bound_the_others_share_the_rest() -> None:
    shares, bounds = np.array([0.5, 0.3, 0.2]), np.array([0.25, 1.0, 1.0])
    step = np.log(0.3 / 0.2) / 4 / 2
    found = least_by_law(own(4), shares, np.array([0.0, 0.0, 1.0]), bounds)
    assert found[0] <= 0.25, "exactly"
    assert found == pytest.approx([0.25, 0.375 + step, 0.375 - step], abs=1e-6)
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_with_one_target_the_best_domain_is_filled_first() -> None:
    found = least_by_law([MixingLaw(1, np.array([-1.0, -2, 3]))], np.ones(1), np.full(3, 1 / 3), np.array([1, 0.3, 1]))
    assert found.tolist() == [0.7, 0.3, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_no_direction_leads_further_down(seed: int) -> None:
    random = np.random.default_rng(seed)
    domains, targets = random.integers(2, 14), random.integers(2, 6)
    exponents = random.normal(size=(targets, domains)) * random.uniform(0.2, 4)
    bounds = np.maximum(random.uniform(0, 0.6, domains), 1.2 / domains)
    shares = random.dirichlet(np.ones(targets))
    start = inside(np.full((1, domains), 1 / domains), bounds)[0]
    found = least_by_law([MixingLaw(0, row) for row in exponents], shares, start, bounds)
    parts = shares * np.exp(exponents @ found)
    slope = parts @ exponents
    assert (found <= bounds).all()
    assert slope @ (found - corner(slope, bounds)) < 1e-6 * parts.sum()


def test_draws_are_within_the_bounds_and_try_what_no_run_has() -> None:
    weights = np.array([[0.5, 0.5, 0.0], [0.7, 0.3, 0.0]])
    bounds = np.array([0.4, 1.0, 1.0])
    points = draws(runs_of(weights, np.zeros(2)), bounds, 0)
    assert points.shape == (DRAWS, 3)
    assert (points >= 0).all()
    assert (points <= bounds).all()
    assert points.sum(axis=1) == pytest.approx(1, abs=1e-9)
    free = draws(runs_of(weights, np.zeros(2)), np.ones(3), 0)
    assert free[:, 2].max() > 0.05
    away = np.abs(free[:, None] - weights).sum(axis=2).min(axis=1)
    assert (away < 0.1).mean() > 0.3, "near the runs"
    assert (away > 0.5).mean() > 0.005, "and far from them"


def test_trees_find_the_box_of_least_loss() -> None:
    weights = simplex(80)
    losses = 3 - 1.0 * ((weights[:, 0] > 0.3) & (weights[:, 1] > 0.3))
    trees = [Trees(weights, losses, np.ones(80), 0)]
    points = draws(runs_of(weights, losses), np.ones(3), 0)
    found = least_by_trees(trees, np.ones(1), points, np.ones(3))
    assert found[0] > 0.3
    assert found[1] > 0.3
    bounds = np.array([0.2, 1.0, 1.0])
    assert least_by_trees(trees, np.ones(1), draws(runs_of(weights, losses), bounds, 0), bounds)[0] <= 0.2


def test_what_lies_beyond_the_runs_is_measured_in_tokens() -> None:
    weights = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    runs = runs_of(weights, law(weights))
    assert beyond_runs(np.array([0.4, 0.3, 0.3]), runs) == pytest.approx(0, abs=1e-9)
    assert beyond_runs(np.array([1.0, 0.0, 0.0]), runs) == pytest.approx(0.4, abs=0.01)
