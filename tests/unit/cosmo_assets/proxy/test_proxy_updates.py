"""DoReMi's and DoGE's updates against worked values, and what holds for all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.proxy.updates import doge_scores, doge_update, doremi_update, excess_losses
from cosmo_resources.errors import CosmoError

THIRDS = np.full(3, 1 / 3)
GRADIENTS = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1]])
SHARES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda parts: np.array(parts) / sum(parts))
EXCESSES = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array)


def test_a_step_of_doremi_is_that_of_the_paper() -> None:
    found = doremi_update(THIRDS, np.array([0.5, 0.2, -0.1]))  # the published step size 1 and smoothing .001
    assert found == pytest.approx([0.42591984, 0.31561557, 0.2584646], abs=1e-8)


@given(SHARES, st.floats(0, 5))
def test_equal_excess_moves_nothing(weights: np.ndarray, excess: float) -> None:
    assert doremi_update(weights, np.full(3, excess), smoothing=0) == pytest.approx(weights, abs=1e-12)


@given(SHARES, EXCESSES)
def test_domains_below_the_reference_move_nothing(weights: np.ndarray, excess: np.ndarray) -> None:
    assert doremi_update(weights, -np.abs(excess), smoothing=0) == pytest.approx(weights, abs=1e-12)


@given(SHARES, EXCESSES, st.floats(1e-4, 0.5))
def test_weights_stay_shares_and_above_what_smoothing_keeps(
    weights: np.ndarray, excess: np.ndarray, smoothing: float
) -> None:
    found = doremi_update(weights, excess, smoothing=smoothing)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert found.min() >= smoothing / 3 * (1 - 1e-9)


def test_the_excess_is_the_mean_over_a_domains_tokens_and_an_absent_one_keeps_its_own() -> None:
    losses, reference = np.array([[2.0, 1], [3, 3], [1, 1]]), np.array([[1.0, 2], [1, 2], [5, 5]])
    found = excess_losses(losses, reference, np.array([0, 0, 1]), np.array([9.0, 9, 7]))
    assert found == pytest.approx([(1 + 0 + 2 + 1) / 4, 0, 7])


def test_doge_favours_domains_whose_gradients_agree() -> None:
    scores = doge_scores(GRADIENTS, 5e-4)
    assert scores == pytest.approx([4e-4, 4e-4, 0], abs=1e-12)
    weights = doge_update(THIRDS, scores)  # the published mu .01
    assert weights == pytest.approx([0.33775, 0.33775, 0.32450], abs=1e-5)
    for _ in range(499):
        weights = doge_update(weights, scores)
    assert weights == pytest.approx([0.5, 0.5, 0], abs=1e-5)


def test_doge_favours_what_agrees_with_the_target() -> None:
    found = doge_update(THIRDS, doge_scores(GRADIENTS, 5e-4, GRADIENTS[0]), mu=0.01)
    assert found == pytest.approx([0.339988, 0.336605, 0.323407], abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_a_score_of_doge_is_how_much_the_loss_of_the_others_falls(seed: int) -> None:
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(4, 6))
    centres = -gradients  # of losses |x - c|^2 / 2, whose gradients at 0 are these

    def others(place: np.ndarray, domain: int) -> float:
        return sum(float(((place - c) ** 2).sum()) / 2 for number, c in enumerate(centres) if number != domain)

    found = doge_scores(gradients, 1e-6)
    for domain in range(4):
        fall = others(np.zeros(6), domain) - others(-1e-6 * gradients[domain], domain)
        assert found[domain] == pytest.approx(fall, abs=1e-9)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(CosmoError, match="cannot be updated") as refused:
        doremi_update(THIRDS, np.array([np.nan, 0, 0]))
    assert "finite" in refused.value.remedy
