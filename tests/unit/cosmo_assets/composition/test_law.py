"""Data Mixing Law: what can be identified is recovered."""

import numpy as np
import pytest

from cosmo_assets.composition.law import MixingLaw, fit_law
from tests.unit.cosmo_assets.composition.trainings import TRUE, law, noisy, simplex


def test_without_noise_the_identifiable_parameters_are_recovered() -> None:
    weights = simplex(24)
    found = fit_law(weights, law(weights), np.ones(24))
    assert found.floor == pytest.approx(1.7, abs=1e-6)
    assert found.centred == pytest.approx([-1.26666667, 0.23333333, 1.03333333], abs=1e-6)
    assert found.scale == pytest.approx(-0.55101178, abs=1e-6), "log 1.2 - 2.2 / 3"


@pytest.mark.parametrize("seed", range(8))
def test_with_noise_new_mixtures_are_predicted(seed: int) -> None:
    weights = simplex(24, seed=seed)
    found = fit_law(weights, noisy(law, weights, 2e-3, seed), np.ones(24))
    fresh = simplex(500, seed=seed + 100)
    assert np.abs(found.loss(fresh) - law(fresh)).max() < 0.01


def test_a_law_of_many_domains_and_small_losses_is_recovered() -> None:
    weights = simplex(30, 9)
    exponents = np.linspace(-3, 4, 9)
    found = fit_law(weights, 1e-3 * (0.4 + np.exp(weights @ exponents)), np.ones(30))
    assert found.floor == pytest.approx(0.4e-3, rel=1e-5)
    assert found.exponents == pytest.approx(exponents + np.log(1e-3), abs=1e-5)


def test_a_constant_in_t_is_a_factor_of_k() -> None:
    _, factor, exponents = TRUE
    one = MixingLaw(1.7, np.log(factor) + exponents)
    other = MixingLaw(1.7, np.log(factor * np.exp(-5)) + (exponents + 5))
    assert one.loss(simplex(5)) == pytest.approx(other.loss(simplex(5)))
    assert one.scale == pytest.approx(other.scale)


def test_a_run_that_counts_twice_is_two_runs() -> None:
    weights = simplex(20)
    losses = noisy(law, weights, 0.05)
    counts = np.ones(20)
    counts[:5] = 2
    twice = fit_law(np.vstack([weights, weights[:5]]), np.append(losses, losses[:5]), np.ones(25))
    found = fit_law(weights, losses, counts)
    assert found.loss(weights) == pytest.approx(twice.loss(weights), abs=1e-6)
    assert found.loss(weights) != pytest.approx(fit_law(weights, losses, np.ones(20)).loss(weights), abs=1e-4)


def test_from_a_law_that_is_near_the_fit_is_the_same() -> None:
    weights = simplex(20)
    losses = noisy(law, weights, 0.01)
    cold = fit_law(weights, losses, np.ones(20))
    near = MixingLaw(cold.floor - 0.1, cold.exponents + 0.2)
    assert fit_law(weights, losses, np.ones(20), near).loss(weights) == pytest.approx(cold.loss(weights), abs=1e-7)


def test_equal_losses_are_predicted_as_they_are() -> None:
    weights = simplex(12)
    assert fit_law(weights, np.full(12, 2.5), np.ones(12)).loss(weights) == pytest.approx(2.5, abs=1e-6)
