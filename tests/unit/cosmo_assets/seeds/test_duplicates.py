"""Duplicates from digests and signatures: against datatrove's own stages, brute force, and known pairs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.deduplication.minhash import shingles
from cosmo_assets.seeds.duplicates import (
    BANDS,
    BATCH_CHARS,
    MINHASH,
    Component,
    Hashes,
    Rows,
    band_hashes,
    batches,
    component_key,
    components,
    jaccard,
    repeated,
    shingle_hashes,
    twins,
)
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.deduplication.corpus import groups


def bands_of(texts: list[str]) -> Iterator[tuple[Rows, Hashes]]:
    found = [band_hashes(text) for text in texts]
    rows = np.array([row for row, hashes in enumerate(found) if hashes], dtype=np.int64)
    for band in range(BANDS):
        yield rows, np.array([hashes[band] for hashes in found if hashes], dtype=np.uint64)


def duplicates(texts: list[str], threshold: float = 0.7) -> dict[int, int]:
    found = {}
    for component in components(bands_of(texts)):
        for row, twin in zip(component.rows, twins(component, dict(enumerate(texts)), threshold), strict=True):
            if twin >= 0:
                found[row] = component.rows[twin]
    return found


@pytest.fixture(scope="module")
def articles(samples_folder: Path) -> list[tuple[str, str]]:
    """1,000 news articles with ten pairs of near-duplicates among them, as (id, text)."""
    path = samples_folder / "neardup_minhash_articles" / "articles_1000.train"
    rows = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return [(name, text) for name, text in rows]


@pytest.mark.samples
def test_the_candidates_are_those_of_generated_texts(articles: list[tuple[str, str]]) -> None:
    texts = [text for _, text in articles]
    expected = groups(texts, MINHASH)
    assert [list(component.rows) for component in components(bands_of(texts))] == expected
    assert len(expected) >= 10


@pytest.mark.samples
def test_known_pairs_are_found_and_nothing_else(articles: list[tuple[str, str]], samples_folder: Path) -> None:
    truth = (samples_folder / "neardup_minhash_articles" / "articles_1000.truth").read_text(encoding="utf-8")
    expected = {frozenset(line.split()) for line in truth.splitlines() if line}
    found = duplicates([text for _, text in articles])
    assert {frozenset({articles[row][0], articles[twin][0]}) for row, twin in found.items()} == expected


def test_a_row_is_compared_with_the_twin_of_a_candidate_that_fell() -> None:
    words = prose("chain", 120).split()
    texts = {0: " ".join(words), 1: " ".join([*words[:-1], "lamp"]), 2: " ".join([*words[:-2], "tall", "lamp"])}
    assert twins(Component((0, 1, 2), ((0,), (0, 1), (1,))), texts, 0.7) == [-1, 0, 0]


def test_what_is_only_a_little_alike_stays() -> None:
    words = prose("half", 120).split()
    texts = {0: " ".join(words), 1: " ".join([*words[:70], *prose("other", 50).split()])}
    assert twins(Component((0, 1), ((0,), (0,))), texts, 0.7) == [-1, -1]
    assert twins(Component((0, 1), ((0,), (0,))), texts, 0.3) == [-1, 0]


def test_the_similarity_is_that_of_the_word_grams_themselves() -> None:
    left, right = prose("a", 200), prose("a", 150) + " " + prose("b", 50)
    ours = jaccard(shingle_hashes(left), shingle_hashes(right))
    one, other = shingles(left, MINHASH), shingles(right, MINHASH)
    assert ours == len(one & other) / len(one | other)
    assert 0 < ours < 1


def test_short_texts_have_no_signature_and_no_twins() -> None:
    assert band_hashes("four words are few") is None
    assert duplicates(["four words are few"] * 3 + [prose("long", 50)] * 2) == {4: 3}


@given(st.lists(st.integers(0, 6), max_size=30))
def test_all_but_the_first_of_equal_digests_are_repeated(values: list[int]) -> None:
    high = np.array([value // 3 for value in values], dtype=np.uint64)
    low = np.array([value % 3 for value in values], dtype=np.uint64)
    assert repeated(high, low).tolist() == [value in values[:place] for place, value in enumerate(values)]


@given(st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), min_size=1, max_size=14))
def test_components_are_what_shared_bands_connect(signatures: list[list[int]]) -> None:
    rows = np.arange(len(signatures))
    columns = [np.array(column, dtype=np.uint64) for column in zip(*signatures, strict=True)]
    found = components([(rows, column) for column in columns])
    reach = {row: {row} for row in range(len(signatures))}
    for _ in signatures:
        for row, other in ((a, b) for a in reach for b in reach):
            if any(x == y for x, y in zip(signatures[row], signatures[other], strict=True)):
                reach[row] = reach[row] | reach[other]
    expected = sorted({tuple(sorted(group)) for group in reach.values() if len(group) > 1})
    assert [component.rows for component in found] == expected
    for component in found:
        for row, held in zip(component.rows, component.groups, strict=True):
            sharing = {
                other for other, theirs in zip(component.rows, component.groups, strict=True) if {*held} & {*theirs}
            }
            same = {
                other
                for other in component.rows
                if any(x == y for x, y in zip(signatures[row], signatures[other], strict=True))
            }
            assert sharing == same


def test_components_are_worked_in_batches_of_bounded_size() -> None:
    sizes = [BATCH_CHARS // 3] * 7 + [3 * BATCH_CHARS] + [1] * 5
    found = [list(batch) for batch in batches(sizes)]
    assert [number for batch in found for number in batch] == list(range(len(sizes)))
    assert [sum(sizes[number] for number in batch) <= BATCH_CHARS for batch in found] == [True, True, True, False, True]
    assert list(batches([])) == []


def test_a_component_is_known_by_its_seeds_their_order_and_the_threshold() -> None:
    keys = {component_key(seeds, threshold, "1") for seeds in (["a", "b"], ["b", "a"]) for threshold in (0.7, 0.8)}
    assert len(keys | {component_key(["a", "b"], 0.7, "2")}) == 5
