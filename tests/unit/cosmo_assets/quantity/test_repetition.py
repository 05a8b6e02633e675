"""The data-constrained law against its authors' figures, and its optimum against searches."""

from functools import partial
from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.quantity.laws import PRESETS, ScalingLaw
from cosmo_assets.quantity.repetition import (
    EXCESS,
    REPEATED,
    best,
    effective_tokens,
    enough_unique,
    held,
    loss,
    next_worth,
    worth,
)

AUTHORS = PRESETS["muennighoff2023"]
UNIQUE = 25e9
LAWS = st.sampled_from([PRESETS[name] for name in sorted(PRESETS)])
COMPUTES = st.floats(16, 26).map(lambda power: 10**power)
EPOCHS = st.floats(0.01, 3000)


def test_the_authors_two_figures_to_the_last_digit() -> None:
    assert loss(AUTHORS, 6.34e9, 242e9, UNIQUE) == 2.2256440889984477
    assert loss(AUTHORS, 8.67e9, 178e9, UNIQUE) == 2.2269634075087867


def test_the_authors_search_over_a_grid_gives_their_allocation_and_the_root_is_better() -> None:
    flops = 1e22
    parameters, tokens = AUTHORS.optimum(flops)
    times = np.linspace(1.0001, 3, 500)
    grid = [(parameters / by, tokens * by) for by in (*times, *(1 / times))]
    losses = [loss(AUTHORS, size, length, UNIQUE) for size, length in grid]
    size, length = grid[int(np.argmin(losses))]
    assert length == pytest.approx(237336955477.55, rel=1e-9)
    assert size == pytest.approx(7022364735.88, rel=1e-9)
    assert length / UNIQUE == pytest.approx(9.4935, abs=1e-4)
    found = best(AUTHORS, flops, UNIQUE)
    assert found.loss < min(losses)
    assert found.loss == pytest.approx(min(losses), rel=1e-6)
    assert found.tokens == pytest.approx(length, rel=times[1] - times[0]), "within a step of the grid"
    assert found.flops == pytest.approx(flops, rel=1e-12)


def test_effective_tokens_by_epochs() -> None:
    found = [effective_tokens(epochs * UNIQUE, UNIQUE) / UNIQUE for epochs in (1, 2, 4, 8, 16)]
    assert found == pytest.approx([1, 1.9682, 3.7257, 6.6241, 10.5825], abs=1e-4)
    assert effective_tokens(1e6 * UNIQUE, UNIQUE) / UNIQUE == pytest.approx(16.3878, abs=1e-4)
    assert effective_tokens(UNIQUE / 3, UNIQUE) == pytest.approx(UNIQUE / 3)
    assert [worth(epochs) for epochs in (2, 4, 8, 16, 40)] == pytest.approx(
        [0.984, 0.931, 0.828, 0.661, 0.379], abs=1e-3
    )
    assert next_worth(4) == pytest.approx(0.823, abs=1e-3)


@given(st.floats(1, 500))
def test_the_next_token_is_worth_what_it_adds(epochs: float) -> None:
    step = 1e-6 * epochs
    gain = (effective_tokens(epochs + step, 1.0) - effective_tokens(epochs, 1.0)) / step
    assert gain == pytest.approx(next_worth(epochs), rel=1e-3, abs=1e-6)
    assert next_worth(epochs) <= worth(epochs) * (1 + 1e-12) <= 1 + 2e-12


@given(LAWS, COMPUTES, EPOCHS)
def test_no_other_length_of_training_is_better(law: ScalingLaw, flops: float, short: float) -> None:
    unique = law.optimum(flops)[1] / short
    found = best(law, flops, unique)
    lengths = np.exp(np.linspace(log(found.tokens) - 4, log(found.tokens) + 4, 201))
    least = min(loss(law, flops / 6 / length, length, unique) for length in lengths)
    assert found.loss <= least * (1 + 1e-12)
    assert loss(law, found.parameters, found.tokens, unique) == found.loss


@given(LAWS, COMPUTES, st.floats(0.01, 1))
def test_with_as_many_unique_tokens_as_it_needs_it_is_the_closed_form(
    law: ScalingLaw, flops: float, short: float
) -> None:
    parameters, tokens = law.optimum(flops)
    found = best(law, flops, tokens / short)
    assert (found.parameters, found.tokens) == pytest.approx((parameters, tokens), rel=1e-12)
    assert found.loss == pytest.approx(law.loss(parameters, tokens), rel=1e-12)


@given(LAWS, COMPUTES, EPOCHS, st.floats(1.001, 100))
def test_more_unique_tokens_or_more_compute_are_never_worse(
    law: ScalingLaw, flops: float, short: float, times: float
) -> None:
    unique = law.optimum(flops)[1] / short
    found = best(law, flops, unique)
    assert best(law, flops, unique * times).loss <= found.loss * (1 + 1e-12)
    assert best(law, flops * times, unique).loss <= found.loss * (1 + 1e-12)
    assert effective_tokens(found.tokens, unique) <= found.tokens * (1 + 1e-12)
    assert found.loss >= law.loss(found.parameters, found.tokens) * (1 - 1e-12)


@given(st.floats(0, 2000), st.sampled_from([REPEATED, EXCESS]))
def test_the_inequality_that_makes_the_optimum_unique_holds(repeats: float, decay: float) -> None:
    left = exp(-repeats / decay)
    of_repeats = (1 + repeats) * left / (1 + decay * (1 - left))
    assert of_repeats + (1 + repeats) / decay >= 1


@given(LAWS, COMPUTES, st.floats(1e-4, 0.2))
def test_enough_unique_tokens_cost_just_the_share_that_is_allowed(law: ScalingLaw, flops: float, share: float) -> None:
    parameters, tokens = law.optimum(flops)
    without = law.loss(parameters, tokens)
    for trained in (partial(best, law, flops), partial(held, law, parameters, tokens)):
        unique = enough_unique(trained, share)
        assert 0 < unique < tokens
        assert trained(unique).loss / without - 1 == pytest.approx(share, rel=1e-6)
        assert trained(unique * 0.99).loss / without - 1 > share


def test_a_training_without_an_end_of_unique_tokens_repeats_none() -> None:
    found = best(AUTHORS, 1e22, inf)
    assert (found.epochs, found.effective) == (0, found.tokens)
    assert found.fitted
    assert not best(AUTHORS, 1e14, inf).fitted
    assert not held(AUTHORS, 1e9, 1e12, 1e9).fitted
