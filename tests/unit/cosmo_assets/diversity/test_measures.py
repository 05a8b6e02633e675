"""Measures of diversity: published and analytic values, and what they do to sets that are made for them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.diversity.measures import (
    coverage,
    distinct,
    evenness,
    hashes_of,
    openers,
    phrases,
    vendi,
    vendi_of,
    words_in,
)


def unit(rows: int, columns: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, columns))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


POINTS = np.array([0.0, 0, 10, 10, 20, 20])
KNOWN = {
    "all different": (np.eye(7), 7.0),
    "all the same": (np.ones((7, 7)), 1.0),
    "three to one": (np.kron(np.diag([1.0, 0]), np.ones((3, 3)))[:4, :4] + np.diag([0, 0, 0, 1.0]), 1.7548),
    "two of three alike": (np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]), 2.1573),
    "three pairs": (np.exp(-((POINTS[:, None] - POINTS) ** 2) / 2), 3.0),
}


@pytest.mark.parametrize(("similarity", "score"), KNOWN.values(), ids=KNOWN)
def test_the_vendi_score_has_its_known_values(similarity: np.ndarray, score: float) -> None:
    assert vendi_of(similarity) == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0, np.inf])
@given(rows=st.integers(1, 30), columns=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_dual_form_gives_the_score_of_the_similarities(q: float, rows: int, columns: int, seed: int) -> None:
    vectors = unit(rows, columns, seed)
    assert vendi(vectors, q) == pytest.approx(vendi_of(vectors @ vectors.T, q), rel=1e-6)


def test_the_order_decides_how_much_the_commonest_kind_counts() -> None:
    vectors = np.repeat(np.eye(2), [3, 1], axis=0)
    assert vendi(vectors, 2) == pytest.approx(1 / (0.75**2 + 0.25**2))
    assert vendi(vectors, np.inf) == pytest.approx(1 / 0.75)
    assert vendi(vectors, 0) == pytest.approx(2)


def test_distinct_n_counts_windows_within_documents_alone() -> None:
    words = words_in(pa.array(["a b a b", "c a", "x a b"]))
    assert distinct(words, slice(0, 2), 1) == 3 / 6
    assert distinct(words, slice(0, 2), 2) == 3 / 4  # ab ba ab, ca; not bc
    assert distinct(words, slice(1, 3), 2) == 1.0
    assert distinct(words, slice(1, 2), 3) == 0.0


def test_coverage_and_evenness_of_clusters() -> None:
    labels = np.array([0, 0, 0, 2])
    assert coverage(labels, 4) == 0.5
    assert evenness(labels, 4) == pytest.approx(0.5623351 / np.log(4))
    assert evenness(np.arange(4), 4) == pytest.approx(1.0)
    assert (evenness(np.zeros(4, np.int64), 4), evenness(labels, 1)) == (0.0, 1.0)


TEXTS = [
    "Once upon a time there was a fox. The quick brown fox jumps over the lazy dog.",
    "Once upon a time, there: THE QUICK brown fox jumps over the lazy dog! The quick brown fox jumps over the lazy dog",
    "Nothing else",
    "",
    "once, upon a time",
]


def test_openers_are_counted_by_document_and_cut() -> None:
    texts = pa.array([*TEXTS, "Once upon a time there"])
    assert openers(words_in(texts), texts, 9)[:3] == ({"once upon a time there": 3}, 1, 4)
    assert openers(words_in(texts), texts, 0)[:3] == ({}, 3, 4)


def test_a_phrase_counts_once_for_a_document() -> None:
    texts = pa.array(TEXTS)
    found, rest, kinds, others = phrases(words_in(texts), texts, 10)
    assert found == {"the quick brown fox jumps over the lazy": 2, "quick brown fox jumps over the lazy dog": 2}
    assert (rest, kinds, len(others)) == (1, 22, 20)
    assert not np.isin(hashes_of([*found]), others).any()
    assert np.isin(
        hashes_of(["a time there was a fox the quick", "upon a time there the quick brown fox"]), others
    ).all()
    assert len(phrases(words_in(texts), texts, 1)[0]) == 1
    assert phrases(words_in(texts), texts, 1)[1] == 2
    short = pa.array(["a b", ""])
    assert phrases(words_in(short), short, 3)[:3] == ({}, 0, 0)
