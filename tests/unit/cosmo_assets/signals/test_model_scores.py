"""Scores by a model's outputs: values by hand, and copies against a plain search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.signals.model_scores import CONTINUATION, copied_share, el2n, longest_copy, memorization

few = st.lists(st.integers(0, 2), max_size=14).map(lambda tokens: np.array(tokens, np.int64))


def test_el2n_by_hand() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1]]))
    assert el2n(logits, np.array([0])) == pytest.approx(0.374166, abs=1e-6)
    assert el2n(logits + 1000, np.array([0])) == pytest.approx(np.sqrt(0.3**2 + 0.2**2 + 0.1**2), abs=1e-9)
    both = el2n(np.vstack([logits, logits]), np.array([0, 2]))
    assert both == pytest.approx((np.sqrt(0.14) + np.sqrt(0.7**2 + 0.2**2 + 0.9**2)) / 2, abs=1e-9)


@pytest.mark.parametrize("vocabulary", [2, 10, 50_000])
def test_el2n_of_a_uniform_model(vocabulary: int) -> None:
    found = el2n(np.zeros((3, vocabulary), np.float16), np.array([0, 1, 1]))
    assert found == pytest.approx(np.sqrt(1 - 1 / vocabulary), abs=1e-9)


def test_el2n_goes_from_0_to_the_root_of_2() -> None:
    sure = np.array([[100.0, 0.0]])
    assert el2n(sure, np.array([0])) == pytest.approx(0, abs=1e-9)
    assert el2n(sure, np.array([1])) == pytest.approx(np.sqrt(2), abs=1e-9)


def test_a_model_that_copies_never_copies_and_copies_half() -> None:
    true = np.arange(CONTINUATION)
    assert memorization(true, true) == 1
    assert memorization(true + 1, true) == 0, "the same tokens at other places are not known by heart"
    assert memorization(np.where(true % 2, true, -1), true) == 0.5
    assert memorization(true[:8], true) == 0.25, "what was not given is wrong"
    assert memorization(np.arange(100), true) == 1, "what goes beyond is not looked at"


def test_copies_by_hand() -> None:
    source = np.arange(100)
    text = np.concatenate([[7, 200], np.arange(10, 45), [300], np.arange(90, 95), [301]])
    assert longest_copy(text, source) == 35
    assert copied_share(text, source) == 35 / len(text)
    assert copied_share(text, source, 5) == 40 / len(text)
    assert copied_share(text, source, 36) == 0
    assert (longest_copy(text[:0], source), copied_share(text[:0], source)) == (0, 0)
    assert (longest_copy(text, source[:0]), copied_share(text, source[:0])) == (0, 0)


@given(few, few, st.integers(1, 4))
def test_copies_are_those_of_a_plain_search(text: np.ndarray, source: np.ndarray, size: int) -> None:
    def there(run: list[int]) -> bool:
        return any(run == source[at : at + len(run)].tolist() for at in range(len(source) - len(run) + 1))

    places = [
        (at, end) for at in range(len(text)) for end in range(at + 1, len(text) + 1) if there(text[at:end].tolist())
    ]
    assert longest_copy(text, source) == max((end - at for at, end in places), default=0)
    covered = {place for at, end in places if end - at >= size for place in range(at, end)}
    assert copied_share(text, source, size) == (len(covered) / len(text) if len(text) else 0)
