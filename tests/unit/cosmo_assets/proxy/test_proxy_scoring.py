"""Bits per byte and multiple choice against models whose answers are known; differences against simulated arms."""

import numpy as np
import pytest

from cosmo_assets.proxy.bootstrap import paired_difference
from cosmo_assets.proxy.scoring import answers, bits_per_byte
from cosmo_resources.errors import CosmoError

VOCABULARY = 300


def test_a_uniform_model_has_the_bits_of_its_vocabulary() -> None:
    tokens, sizes = np.array([7, 1, 30]), np.array([29, 4, 30])
    assert bits_per_byte(-tokens * np.log(VOCABULARY), sizes) == pytest.approx(
        np.log2(VOCABULARY) * tokens / sizes, rel=1e-14
    )


@pytest.mark.parametrize("choices", [2, 4, 5])
def test_a_uniform_model_answers_by_chance(choices: int) -> None:
    right = np.arange(3 * choices) % choices == 1
    items, lengths = np.repeat(np.arange(3), choices), np.full(3 * choices, 6)
    found = answers(np.full(3 * choices, -2 * np.log(VOCABULARY)), lengths, lengths, items, right)
    assert found.accuracy.tolist() == found.accuracy_norm.tolist() == [1 / choices] * 3
    assert found.bits_per_byte == pytest.approx(np.full(3, np.log2(VOCABULARY) / 3))


def test_the_likeliest_choice_answers_and_by_character_a_longer_one_may() -> None:
    likelihoods, right = np.array([-4.0, -6, -3, -1, -2]), np.array([0, 1, 0, 0, 1], dtype=bool)
    found = answers(likelihoods, np.array([2, 6, 2, 1, 2]), np.array([2, 8, 2, 1, 3]), np.array([0, 0, 0, 1, 1]), right)
    assert found.accuracy.tolist() == [0, 0]
    assert found.accuracy_norm.tolist() == [1, 0.5]
    assert found.bits_per_byte == pytest.approx([6 / 8 / np.log(2), 2 / 3 / np.log(2)])


def decided(random: np.random.Generator, *, gap: float, seeds: int, of_seed: float, of_item: float) -> str:
    noise = random.normal(scale=of_seed, size=(1, seeds)) + random.normal(scale=of_item, size=(60, 1))
    theirs = random.normal(size=(60, seeds))
    ours = theirs + gap + noise + random.normal(scale=0.02, size=(60, seeds))
    return paired_difference(ours, theirs, seed=int(random.integers(1 << 30))).decision()


@pytest.mark.parametrize(("of_seed", "of_item"), [(1.0, 0.01), (0.01, 1.0), (0.13, 1.0)])
def test_equal_arms_are_told_apart_by_chance_only(of_seed: float, of_item: float) -> None:
    random = np.random.default_rng(1)
    found = [decided(random, gap=0, seeds=3, of_seed=of_seed, of_item=of_item) for _ in range(300)]
    assert found.count("undecided") >= 0.92 * 300
    assert set(found) == {"better", "worse", "undecided"}


def test_arms_that_differ_by_more_than_chance_are_told_apart() -> None:
    random = np.random.default_rng(2)
    for gap, expected in ((1.0, "better"), (-1.0, "worse")):
        found = [decided(random, gap=gap, seeds=3, of_seed=0.1, of_item=0.5) for _ in range(50)]
        assert found.count(expected) >= 48


def test_the_order_of_arms_is_the_sign_of_the_difference_and_less_may_be_better() -> None:
    random = np.random.default_rng(3)
    ours, theirs = random.normal(size=(40, 3)), random.normal(size=(40, 3)) + 5
    one, other = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert one.value == pytest.approx(-other.value)
    assert one.low < one.value < one.high < 0 < other.low
    assert (one.decision(), other.decision()) == ("worse", "better")
    assert (one.decision(lower_is_better=True), other.decision(lower_is_better=True)) == ("better", "worse")


def test_items_count_by_their_sizes() -> None:
    ours, sizes = np.array([[1.0] * 3, [0.0] * 3]), np.array([3.0, 1.0])
    found = paired_difference(ours, np.zeros((2, 3)), sizes=sizes)
    assert (found.low, found.value, found.high) == (0, 0.75, 1)


def test_two_seeds_are_too_few() -> None:
    with pytest.raises(CosmoError, match="cannot be compared") as refused:
        paired_difference(np.zeros((5, 2)), np.zeros((5, 2)))
    assert "3 or more" in refused.value.remedy
