"""Lookups of n-grams and of whole items: what a search of every window by hand finds, each pair once."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.decontamination import lookups, tables
from cosmo_assets.decontamination.tables import (
    SHORT_SEED,
    gram_table,
    texts_with_grams,
    texts_with_items,
    whole_table,
)
from cosmo_assets.words.compiled import Ints
from cosmo_assets.words.hashing import Words, hashed

SIZES = range(1, 16)

Texts = list[list[str]]
Pair = tuple[int, int]


def texts_of(letters: str, longest: int) -> st.SearchStrategy[Texts]:
    """Texts of few different words, so that windows are shared, repeated, and run on from one text to the next."""
    return st.lists(st.lists(st.sampled_from(letters), max_size=longest), max_size=8)


@st.composite
def related(draw: st.DrawFn) -> tuple[Texts, Texts]:
    """Texts and items; some texts hold a piece of an item, so that windows of any size are found."""
    items = draw(texts_of("abcd", 40))
    texts = draw(texts_of("abcd", 40))
    for number in draw(st.lists(st.integers(0, max(len(items) - 1, 0)), max_size=6)) if items and texts else ():
        start, stop = sorted(draw(st.tuples(st.integers(0, 40), st.integers(0, 40))))
        texts[number % len(texts)].extend(items[number][start:stop])
    return texts, items


def words(texts: Texts) -> Words:
    return hashed(pa.array([" ".join(text) for text in texts], pa.string()), "folded")


def windows(text: Sequence[str], size: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    return ((start, tuple(text[start : start + size])) for start in range(len(text) - size + 1))


def is_degenerate(gram: tuple[str, ...]) -> bool:
    """One word fills three fifths of it."""
    return len(gram) > 1 and 5 * max(Counter(gram).values()) >= 3 * len(gram)


def pairs_of(found: Iterator[Ints]) -> list[Pair]:
    return [(text, item) for part in found for text, item in part.tolist()]


def found_by_grams(texts: Texts, items: Texts, size: int, **options: object) -> list[Pair]:
    table = gram_table(words(items), size, **options)  # type: ignore[arg-type]
    return pairs_of(texts_with_grams(words(texts), table, size, len(items)))


def found_whole(texts: Texts, items: Texts, chosen: list[int] | None = None) -> list[Pair]:
    if chosen is None:
        chosen = [number for number, item in enumerate(items) if len(item) >= SHORT_SEED]
    return pairs_of(texts_with_items(words(texts), whole_table(words(items), np.array(chosen, np.int32)), len(items)))


@pytest.mark.parametrize("degenerate", [True, False])
@pytest.mark.parametrize("size", SIZES)
@given(drawn=related())
@settings(deadline=None, max_examples=50)
def test_ngrams_are_found_that_a_search_by_hand_finds(drawn: tuple[Texts, Texts], size: int, degenerate: bool) -> None:
    texts, items = drawn
    held = [{gram for _, gram in windows(item, size) if degenerate or not is_degenerate(gram)} for item in items]
    expected = [
        (text, item)
        for text, shown in enumerate({gram for _, gram in windows(text, size)} for text in texts)
        for item in range(len(items))
        if shown & held[item]
    ]
    found = found_by_grams(texts, items, size, degenerate=degenerate)
    assert sorted(found) == expected
    assert [text for text, _ in found] == [text for text, _ in expected]  # the pairs of a text come together


@pytest.mark.parametrize("size", [1, 2, 5, 12])
@given(drawn=related(), before=st.lists(st.integers(0, 45), min_size=8, max_size=8))
@settings(deadline=None, max_examples=50)
def test_ngrams_that_reach_beyond_a_place_are_found_alone(
    drawn: tuple[Texts, Texts], before: list[int], size: int
) -> None:
    texts, items = drawn
    reaching = [
        {gram for start, gram in windows(item, size) if start + size > before[number]}
        for number, item in enumerate(items)
    ]
    expected = {
        (text, item)
        for text, shown in enumerate({gram for _, gram in windows(text, size)} for text in texts)
        for item in range(len(items))
        if shown & reaching[item]
    }
    places = np.array(before[: len(items)], np.int64)
    assert set(found_by_grams(texts, items, size, reaching=places, degenerate=True)) == expected


@given(drawn=related(), all_of_them=st.booleans())
@settings(deadline=None, max_examples=200)
def test_whole_items_are_found_that_a_search_by_hand_finds(drawn: tuple[Texts, Texts], all_of_them: bool) -> None:
    texts, items = drawn
    items = [*items, *(text[1:7] for text in texts)]
    chosen = [number for number, item in enumerate(items) if len(item) >= SHORT_SEED][:: 1 if all_of_them else 2]
    expected = [
        (text, item)
        for text, shown in enumerate(texts)
        for item in chosen
        if any(gram == tuple(items[item]) for _, gram in windows(shown, len(items[item])))
    ]
    assert sorted(found_whole(texts, items, chosen)) == expected


ITEM = ["one", "two", "three", "four", "five"]
OTHER = ["six", "seven", "eight"]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (ITEM, True),
        (ITEM + OTHER, True),
        (OTHER + ITEM, True),
        (OTHER + ITEM + OTHER, True),
        (ITEM[:-1] + ITEM, True),
        (ITEM[:-1] + OTHER, False),
        (OTHER + ITEM[1:], False),
        (ITEM[:2] + OTHER + ITEM[2:], False),
        ([], False),
    ],
    ids=["alone", "start", "end", "middle", "after its start", "last left out", "first left out", "cut in two", "none"],
)
def test_an_item_is_found_where_it_stands_as_a_whole(text: list[str], is_found: bool) -> None:
    assert found_whole([OTHER, text, OTHER], [ITEM]) == ([(1, 0)] if is_found else [])
    assert found_by_grams([OTHER, text, OTHER], [ITEM], len(ITEM)) == ([(1, 0)] if is_found else [])


@pytest.mark.parametrize("cut", range(1, 5))
def test_nothing_is_found_across_two_texts(cut: int) -> None:
    texts = [ITEM[:cut], ITEM[cut:]]
    assert found_whole(texts, [ITEM]) == found_by_grams(texts, [ITEM], len(ITEM)) == []


@pytest.mark.parametrize("cut", range(1, 5))
def test_no_ngram_runs_on_from_one_item_to_the_next(cut: int) -> None:
    assert found_by_grams([ITEM], [ITEM[:cut], ITEM[cut:]], len(ITEM)) == []


@pytest.mark.parametrize("room", [0, 1, 7, 1 << 16])
def test_pairs_are_all_found_with_little_room_for_them(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAIRS", room)
    items = [[f"word{number % 5}", *ITEM] for number in range(30)]
    texts = [list(ITEM) if number % 7 else OTHER for number in range(200)]
    expected = [(text, item) for text in range(200) if text % 7 for item in range(30)]
    assert sorted(found_by_grams(texts, items, 5)) == expected
    wholes = [list(ITEM)] * 30
    assert sorted(found_whole(texts, wholes)) == expected


@pytest.mark.parametrize("size", SIZES)
def test_an_ngram_that_one_word_fills_is_passed_over(size: int) -> None:
    limit = -(-3 * size // 5)
    below = ["same"] * (limit - 1) + [f"other{number}" for number in range(size - limit + 1)]
    filled = ["same"] * limit + [f"other{number}" for number in range(size - limit)]
    assert found_by_grams([below], [below], size) == [(0, 0)]
    assert found_by_grams([filled], [filled], size) == ([] if size > 1 else [(0, 0)])
    assert found_by_grams([filled], [filled], size, degenerate=True) == [(0, 0)]


@pytest.mark.parametrize(("texts", "items"), [([], [ITEM]), ([ITEM], []), ([], []), ([[]], [[]])])
def test_no_texts_or_no_items_make_no_pairs(texts: Texts, items: Texts) -> None:
    assert found_by_grams(texts, items, 3) == found_whole(texts, items) == []


@pytest.mark.parametrize("count", [1, 100, 4096])
def test_bits_pass_every_key_that_is_there_and_few_others(count: int) -> None:
    drawn = np.random.default_rng(count).integers(0, 1 << 64, count + 20_000, dtype=np.uint64)
    keys, others = drawn[:count], drawn[count:]
    table = gram_table(Words(keys, np.concatenate([[np.uint64(0)], keys]), np.array([0, count])), 1, degenerate=True)
    shift = tables._shift(len(table["bits"]))
    there = table["keys"]
    assert all(lookups.may_have(table["bits"], shift, key) for key in there)
    assert np.mean([lookups.may_have(table["bits"], shift, key) for key in others]) < 0.01
