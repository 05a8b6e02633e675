"""Verbatim copies of a prompt: planted ones have their length, and what is not verbatim is none."""

import random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.quality.rules import measure
from cosmo_assets.signals.copies import copies_of

WORDS = [f"word{number}" for number in range(4000)]


def copies(text: str, prompt: str) -> tuple[int, float]:
    (row,) = copies_of(pa.chunked_array([[text]]), pa.chunked_array([[prompt]])).to_pylist()
    return row["longest_copy"], row["copied_share"]


@given(st.integers(0, 60), st.integers(0, 40), st.integers(1, 40))
@settings(deadline=None)  # the first call compiles
def test_a_planted_copy_has_its_length_whatever_its_case_and_punctuation(length: int, before: int, after: int) -> None:
    draw = random.Random(length)
    prompt, own = WORDS[:200], draw.sample(WORDS[200:], before + after)
    copied = [word.upper() + "," for word in prompt[70 : 70 + length]]
    found = copies(" ".join([*own[:before], *copied, *own[before:]]), " ".join(prompt))
    assert found == (length, length / (before + length + after) if length >= 10 else 0)


def test_the_same_share_of_5_grams_may_be_one_long_copy_or_many_short_ones() -> None:
    """How they differ from `quality.seed_overlap`, which does not look at length, order or place."""
    prompt, own = WORDS[:60], WORDS[300:400]
    one = [*prompt[:44], *own[:40]]
    many = [word for at in range(8) for word in (*prompt[at * 7 : at * 7 + 7], *own[at * 5 : at * 5 + 5])]
    text = " ".join(prompt)
    overlaps = [measure(" ".join(words), text).seed_overlap for words in (one, many)]
    assert overlaps[0] > overlaps[1] > 0.2
    assert copies(" ".join(one), text) == (44, 44 / 84)
    assert copies(" ".join(many), text) == (7, 0)


def test_words_are_the_same_in_another_spelling_of_unicode() -> None:
    assert copies("stra\u00dfe, \ufb01nd", "STRASSE find")[0] == 2


def test_of_nothing_nothing_is_copied() -> None:
    texts, prompts = pa.chunked_array([["", "a b", None]]), pa.chunked_array([["a b", "", "a b"]])
    assert copies_of(texts, prompts).to_pylist() == [{"longest_copy": 0, "copied_share": 0.0}] * 3


def test_each_text_is_held_against_its_own_prompt() -> None:
    first, second = " ".join(WORDS[:20]), " ".join(WORDS[20:40])
    table = copies_of(pa.chunked_array([[first], [second, first]]), pa.chunked_array([[first, first, f"{first} x"]]))
    assert table["longest_copy"].to_pylist() == [20, 0, 20]
