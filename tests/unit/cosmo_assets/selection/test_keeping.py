"""Rules that keep by a score: their chances, and draws that follow from ids alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.ids import hexadecimal, numbers_of
from cosmo_assets.selection.keeping import at_least, gumbel, pareto, within_ranks
from cosmo_resources.errors import CosmoError


def ids(count: int) -> pa.Array:
    return pa.array(hexadecimal(np.random.default_rng(1).integers(0, 256, (count, 16), np.uint8)))


def test_a_threshold_keeps_what_reaches_it() -> None:
    assert at_least(np.array([0.1, 0.5, np.nan, 0.9]), 0.5).tolist() == [False, True, False, True]


@pytest.mark.parametrize(("score", "chance"), [(0.0, 0.00195), (0.5, 0.0260), (0.9, 0.4241), (1.0, 1.0)])
def test_the_pareto_rule_keeps_with_the_chance_of_gpt_3(score: float, chance: float) -> None:
    count = 200_000
    kept = pareto(np.full(count, score), ids(count)).sum()
    assert abs(kept - chance * count) <= 3 * np.sqrt(chance * (1 - chance) * count) + 0.00005 * count
    assert chance == pytest.approx((2 - score) ** -9.0, rel=5e-3), "as they are published"


def test_the_pareto_rule_grows_with_the_score_document_by_document() -> None:
    names = ids(5000)
    low, high = (pareto(np.full(5000, score), names, alpha=3) for score in (0.3, 0.6))
    assert (high | ~low).all()
    assert low.sum() < high.sum() < 5000
    assert (pareto(np.full(5000, 0.6), names, alpha=3, seed=1) != high).any()


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_the_pareto_rule_refuses_scores_beyond_0_and_1(score: float) -> None:
    with pytest.raises(CosmoError, match="the Pareto rule needs 0 to 1"):
        pareto(np.array([0.5, score, np.nan]), ids(3))
    assert not pareto(np.array([np.nan]), ids(1)).any()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.floats(0, 1))
def test_a_fraction_is_exact_and_the_best(scores: list[int], fraction: float) -> None:
    values, names = np.array(scores, float), ids(len(scores))
    kept = within_ranks(values, names, 1 - fraction, 1)
    assert abs(kept.sum() - fraction * len(scores)) <= 0.5 + 1e-9
    if kept.any() and not kept.all():
        worst, best_out = values[kept].min(), values[~kept].max()
        assert worst >= best_out
        if worst == best_out:
            numbers = numbers_of(names)
            equal = values == worst
            assert numbers[kept & equal].min() > numbers[~kept & equal].max(), "ties by id"


def test_ranks_from_one_share_to_another() -> None:
    scores = np.array([5.0, 1.0, np.nan, 3.0, 2.0, 4.0])
    middle = within_ranks(scores, ids(6), 0.2, 0.8)
    assert sorted(scores[middle].tolist()) == [2, 3, 4], "of five with a score"
    assert np.array_equal(within_ranks(scores, ids(6), 0, 1), ~np.isnan(scores))


@given(st.permutations(range(30)), st.integers(0, 5))
def test_what_is_kept_does_not_depend_on_the_order_of_rows(order: list[int], seed: int) -> None:
    scores, names = np.random.default_rng(0).integers(0, 4, 30) / 3, ids(30)
    for rule in (
        lambda values, names: within_ranks(values, names, 0.3, 0.9),
        lambda values, names: pareto(values, names, alpha=1, seed=seed),
        lambda values, names: gumbel(values, names, 0.4, temperature=0.5, seed=seed),
    ):
        there = rule(scores, names)
        assert rule(scores[order], names.take(pa.array(order))).tolist() == there[order].tolist()


def test_the_pareto_draw_of_a_document_does_not_depend_on_the_others() -> None:
    scores, names = np.random.default_rng(0).random(100), ids(100)
    assert pareto(scores[:10], names[:10], alpha=1).tolist() == pareto(scores, names, alpha=1)[:10].tolist()


def test_gumbel_selection_goes_from_the_best_to_a_draw_of_all() -> None:
    count = 20_000
    scores, names = np.random.default_rng(0).normal(size=count), ids(count)
    best = within_ranks(scores, names, 0.9, 1)
    assert np.array_equal(gumbel(scores, names, 0.1, temperature=1e-9), best)
    means = [scores[gumbel(scores, names, 0.1, temperature=heat)].mean() for heat in (1e-9, 1, 2, 1e6)]
    assert means == sorted(means, reverse=True)
    assert means[-1] == pytest.approx(0, abs=0.1)
    assert gumbel(scores, names, 0.1, temperature=2).sum() == 2000
    assert (gumbel(scores, names, 0.1, temperature=2, seed=1) != gumbel(scores, names, 0.1, temperature=2)).any()


def test_gumbel_selection_of_few_is_by_the_chances_of_a_softmax() -> None:
    count = 200_000
    scores = np.random.default_rng(0).choice([0.0, 1.0], count)
    kept = gumbel(scores, ids(count), 0.01, temperature=0.5)
    assert scores[kept].mean() == pytest.approx(np.exp(2) / (1 + np.exp(2)), abs=0.03)
