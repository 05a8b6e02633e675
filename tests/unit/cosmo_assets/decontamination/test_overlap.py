"""Overlaps of a text and an item: difflib's to the last character, and those of words as counted by hand."""

import random
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.decontamination.matching import FEW, MIN_BLOCK
from cosmo_assets.decontamination.overlap import Spelling, block_overlaps, word_overlaps
from cosmo_assets.words.hashing import hashed
from tests.sample_benchmarks import plain_items

Found = tuple[float, int, int]


def by_difflib(text: str, item: str) -> Found:
    """The share, and start and length of the longest block, of equal ones the first."""
    blocks = [
        block
        for block in SequenceMatcher(None, text, item, autojunk=False).get_matching_blocks()
        if block.size >= MIN_BLOCK
    ]
    put_together = " ".join("".join(text[block.a : block.a + block.size] for block in blocks).split())
    longest = max(blocks, key=lambda block: block.size, default=None)
    return len(put_together) / max(len(item), 1), longest.a if longest else 0, longest.size if longest else 0


def compiled(text: str, items: Sequence[str]) -> list[Found]:
    """Both ways: with the items indexed one by one, and with the text indexed for more than `FEW`."""
    one_by_one = [found for item in items for found in measured(text, [item])]
    assert measured(text, [*items, *[""] * FEW, "x"])[: len(items)] == one_by_one
    return one_by_one


def measured(text: str, items: Sequence[str]) -> list[Found]:
    letters = np.array([ord(char) for item in items for char in item], np.uint32)
    spelled = Spelling(letters, np.cumsum([0, *map(len, items)]))
    points = np.array([ord(char) for char in text], np.uint32)
    found = block_overlaps(points, spelled, np.arange(len(items), dtype=np.int32))
    return list(zip(found.shares.tolist(), found.starts.tolist(), found.lengths.tolist(), strict=True))


@pytest.mark.parametrize("letters", ["a", "ab", "ab ", "abcdefgh ", "αβ 漢😀"])
@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_blocks_are_those_of_difflib_in_texts_of_few_letters(letters: str, data: st.DataObject) -> None:
    """Few letters make many equal runs, overlaps, and ties."""
    strings = st.text(st.sampled_from(letters), max_size=80)
    text, items = data.draw(strings), data.draw(st.lists(strings, max_size=3))
    assert compiled(text, items) == [by_difflib(text, item) for item in items]


@pytest.mark.parametrize("letters", ["ab", "abc", "ab ", "abcdef "])
def test_blocks_are_those_of_difflib_in_texts_drawn_at_random(letters: str) -> None:
    draw = random.Random(letters)
    for _ in range(400):
        text, item = ("".join(draw.choices(letters, k=draw.randint(20, 120))) for _ in range(2))
        assert compiled(text, [item]) == [by_difflib(text, item)]


@pytest.mark.parametrize(
    ("text", "item", "matched"),
    [
        ("abcdef123456", "abcdef..123456..abcdef", 12),
        ("abcdef..123456..abcdef", "abcdef123456", 12),
        ("123456abcdef", "abcdef..123456..abcdef", 12),
        ("xabcdefgh..abcdefy", "abcdefgh..abcdef", 16),
    ],
    ids=["first in the item", "first in the text", "order", "a longer one"],
)
def test_of_equal_blocks_the_first_is_taken(text: str, item: str, matched: int) -> None:
    assert compiled(text, [item]) == [by_difflib(text, item)]
    assert compiled(text, [item])[0][0] == matched / len(item)


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_blocks_are_those_of_difflib_where_pieces_are_shuffled_and_repeated(data: st.DataObject) -> None:
    pieces = ["the cell ", "turns light ", "into sugar", " ", "energy of ", "the ", "x", "in a plant"]
    strings = st.lists(st.sampled_from(pieces), max_size=15).map("".join)
    text, item = data.draw(strings), data.draw(strings)
    assert compiled(text, [item]) == [by_difflib(text, item)]


def test_more_common_runs_than_there_is_room_for_at_first() -> None:
    draw = random.Random(5)
    text, item = ("".join(draw.choices("ab", k=size)) for size in (900, 400))
    runs = sum(text[a : a + 6] == item[b : b + 6] for a in range(895) for b in range(395))
    assert runs > 4096
    assert compiled(text, [item, item[:50], text]) == [by_difflib(text, other) for other in (item, item[:50], text)]


@pytest.mark.samples
def test_blocks_are_those_of_difflib_between_real_items(samples: Path) -> None:
    names = ("boolq", "mmlu", "hellaswag", "gsm8k")
    found = [item.text for item in plain_items(samples) if item.benchmark in names][::150]
    spelled = Spelling.of(pa.array(found), "published")
    texts = ["".join(map(chr, spelled[number])) for number in range(len(found))]
    draw = random.Random(11)
    for text in draw.sample(texts, 30):
        others = [*draw.sample(texts, 5), text[20:200] + draw.choice(texts)[:200]]
        assert compiled(text, others) == [by_difflib(text, other) for other in others]


@pytest.mark.parametrize(
    ("text", "item", "expected"),
    [
        ("", "", (0.0, 0, 0)),
        ("abcdef", "", (0.0, 0, 0)),
        ("", "abcdef", (0.0, 0, 0)),
        ("abcde", "abcde", (0.0, 0, 0)),
        ("abcdef", "abcdef", (1.0, 0, 6)),
        ("one two three xx abc", "one two three yy abc", (13 / 20, 0, 14)),
    ],
    ids=["both empty", "no item", "no text", "five characters", "six characters", "spaces at the ends"],
)
def test_blocks_of_five_characters_and_spaces_at_the_ends_do_not_count(text: str, item: str, expected: Found) -> None:
    assert compiled(text, [item]) == [expected] == [by_difflib(text, item)]


def by_hand(text: list[str], item: list[str], size: int) -> Found:
    held = {tuple(text[start : start + size]) for start in range(len(text) - size + 1)}
    covered = [False] * len(item)
    for start in range(len(item) - size + 1):
        if tuple(item[start : start + size]) in held:
            covered[start : start + size] = [True] * size
    runs, start = [(0, 0)], 0
    for place, is_covered in enumerate([*covered, False]):
        if not is_covered:
            runs.append((place - start, start))
            start = place + 1
    length, start = max(runs, key=lambda run: run[0])
    return sum(covered) / max(len(item), 1), start if length else 0, length


@pytest.mark.parametrize("size", [1, 2, 3, 5, 13])
@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_covered_words_are_those_counted_by_hand(size: int, data: st.DataObject) -> None:
    pieces = st.sampled_from(["a", "b", "c", "a b", "c d e f g", "h i j k l m n o p q r s t", "b b b"])
    many = st.lists(st.lists(pieces, max_size=8).map(lambda found: " ".join(found).split()), min_size=1, max_size=4)
    texts, items = data.draw(many), data.draw(many)
    pairs = [(text, item) for text in range(len(texts)) for item in range(len(items)) if data.draw(st.booleans())]
    held = [hashed(pa.array([" ".join(words) for words in group]), "folded") for group in (texts, items)]
    found = word_overlaps(*held, np.array(pairs, np.int32).reshape(-1, 2), size)
    expected = [by_hand(texts[text], items[item], size) for text, item in pairs]
    assert list(zip(found.shares.tolist(), found.starts.tolist(), found.lengths.tolist(), strict=True)) == expected
