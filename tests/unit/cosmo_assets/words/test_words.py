"""Words: Python and the compiled code agree on every character; folded words survive every case and Unicode form."""

import sys
import unicodedata
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.decontamination.overlap import MOST_LETTERS, Spelling
from cosmo_assets.words.alphabet import AlphabetName, alphabet_table, words_of
from cosmo_assets.words.hashing import hashed
from tests.doubles import plain_decontamination as plain
from tests.sample_benchmarks import plain_items

ALPHABETS: list[AlphabetName] = ["published", "folded"]

CHARACTERS = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]

FORMS: dict[str, Callable[[str], str]] = {
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "NFKD": lambda text: unicodedata.normalize("NFKD", text),
    "upper": str.upper,
    "lower": str.lower,
    "casefold": str.casefold,
    "title": str.title,
    "swapcase": str.swapcase,
}

TRICKY = (
    "aAzZ09_ '-\n\u0301\u0345\u0327\u200b\u00ad\ufe0f\u0130ıßſςΣσᾳᾼﬁŉǅ가각\u1100\u1161\u11a8ไทย漢字かガｶﾞ㌖ﷺ𝐀𝟙𠀀😀\ue000"
)
"""Letters that change their number with case or form, marks, joiners, spaceless scripts, 1 to 4 bytes in UTF-8."""

texts = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])), max_size=40)


def assert_compiled_words_are_those_of_python(texts: pa.Array, alphabet: AlphabetName) -> None:
    """Each text has as many words, equal words have equal hashes, and different words different ones; its spelling is
    the words with one space between them."""
    held, spelled = hashed(texts, alphabet), Spelling.of(texts, alphabet)
    hash_of: dict[str, int] = {}
    for number, text in enumerate(texts.to_pylist()):
        words = words_of(text or "", alphabet)
        hashes = held.hashes[held.bounds[number] : held.bounds[number + 1]].tolist()
        assert len(hashes) == len(words), text
        assert [hash_of.setdefault(word, value) for word, value in zip(words, hashes, strict=True)] == hashes, text
        assert spelled[number].astype("<u4").tobytes().decode("utf-32-le") == " ".join(words), text
    assert len(set(hash_of.values())) == len(hash_of)


def array(texts: Iterable[str | None]) -> pa.Array:
    return pa.array(texts, pa.string())


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_every_character_is_the_same_in_python_and_compiled(alphabet: AlphabetName) -> None:
    blocks = [CHARACTERS[start : start + 5000] for start in range(0, len(CHARACTERS), 5000)]
    assert_compiled_words_are_those_of_python(
        array("".join(f"{char}x " for char in block) for block in blocks), alphabet
    )


@pytest.mark.parametrize("alphabet", ALPHABETS)
@given(texts=st.lists(texts, max_size=5))
@settings(deadline=None, max_examples=300)
def test_any_texts_have_the_same_words_in_python_and_compiled(texts: list[str], alphabet: AlphabetName) -> None:
    assert_compiled_words_are_those_of_python(array(texts), alphabet)


@pytest.mark.samples
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_all_benchmarks_have_the_same_words_in_python_and_compiled(alphabet: AlphabetName, samples: Path) -> None:
    items = [item.text for item in plain_items(samples)]
    assert_compiled_words_are_those_of_python(array(items), alphabet)


def test_the_room_for_words_and_letters_suffices_for_every_character() -> None:
    """`hashed` keeps room for two words a byte, and the spelling for MOST_LETTERS."""
    table = alphabet_table("folded")
    letters = np.diff(table.starts)
    widths = np.repeat([1, 2, 3, 4], [0x80, 0x780, 0xF800, 0x100000])
    assert (letters <= MOST_LETTERS * widths).all()
    assert all(len(words_of(char, "folded")) <= 2 * len(char.encode()) for char in CHARACTERS)


@pytest.mark.parametrize("form", FORMS)
def test_every_character_has_the_same_folded_words_in_every_form(form: str) -> None:
    assert [char for char in CHARACTERS if words_of(FORMS[form](char), "folded") != words_of(char, "folded")] == []


@pytest.mark.parametrize("form", FORMS)
@given(text=texts)
@settings(deadline=None)
def test_every_text_has_the_same_folded_words_in_every_form(text: str, form: str) -> None:
    """Also where a form depends on what stands around: final sigma, composed syllables, marks in another order."""
    assert words_of(FORMS[form](text), "folded") == words_of(text, "folded")


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Straße", "STRASSE"),
        ("office", "oﬃce"),
        ("x2", "x²"),
        ("ΟΔΟΣ", "οδος"),
        ("data", "ｄａｔａ"),
        ("Istanbul", "ıstanbul"),
        ("co\u00adoperate", "cooperate"),
        ("a _b_ c", "a b c"),
    ],
)
def test_what_only_folded_words_see_through(text: str, other: str) -> None:
    assert words_of(text, "folded") == words_of(other, "folded")
    assert words_of(text, "published") != words_of(other, "published")


@pytest.mark.parametrize("alphabet", ALPHABETS)
@given(left=texts, right=texts)
@settings(deadline=None)
def test_an_excerpt_between_spaces_has_the_words_that_it_has_alone(
    left: str, right: str, alphabet: AlphabetName
) -> None:
    whole = words_of(f"{left} {right}", alphabet)
    assert whole == words_of(left, alphabet) + words_of(right, alphabet)


@given(text=texts.filter(lambda text: "Σ" not in unicodedata.normalize("NFD", text)))
@settings(deadline=None, max_examples=300)
def test_published_words_are_those_that_were_published(text: str) -> None:
    """Except for a capital sigma at the end of a word: `str.lower` makes it another letter than inside one, so that an
    excerpt could have other words than its text."""
    assert tuple(words_of(text, "published")) == plain.words_of(text)


def test_words_are_lower_case_without_marks_and_punctuation() -> None:
    text = "L'Été -- naïve, “QUOTED” x_1\n(42)"
    assert words_of(text, "published") == ["l", "ete", "naive", "quoted", "x_1", "42"]
    assert words_of(text, "folded") == ["l", "ete", "naive", "quoted", "x", "1", "42"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("植物的光合作用 in 叶", ["植", "物", "的", "光", "合", "作", "用", "in", "叶"]),
        ("カメラ、カメラ", ["カ", "メ", "ラ", "カ", "メ", "ラ"]),
        ("น้ำ", ["น", "า"]),
        ("한국어 문장", [unicodedata.normalize("NFD", "한국어"), unicodedata.normalize("NFD", "문장")]),
    ],
    ids=["Han", "Kana", "Thai", "Hangul has spaces"],
)
def test_scripts_without_spaces_have_a_word_for_each_character(text: str, words: list[str]) -> None:
    assert words_of(text, "folded") == words


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(
    "texts",
    [[], [None], [""], ["", "", ""], [None, "one", None, "", "two words", None], ["one", "", "?!"]],
    ids=["none", "null", "empty", "all empty", "nulls between", "empty at the end"],
)
def test_nulls_and_empty_texts_have_no_words(
    texts: list[str | None], kind: pa.DataType, alphabet: AlphabetName
) -> None:
    assert_compiled_words_are_those_of_python(pa.array(texts, kind), alphabet)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_slices_of_arrays_have_their_own_words_alone(kind: pa.DataType) -> None:
    whole = pa.array(["zero", "one é", None, "two 漢字", "", "three", "four"], kind)
    bounds = range(len(whole) + 1)
    for start, stop in ((start, stop) for start in bounds for stop in bounds if start <= stop):
        assert_compiled_words_are_those_of_python(whole.slice(start, stop - start), "folded")


def test_different_words_of_all_kinds_have_different_hashes() -> None:
    """Numbers, and words of a letter more, are the likeliest to meet."""
    words = [*map(str, range(300_000)), *(f"{a}{b}{c}" for a in TRICKY[:4] for b in CHARACTERS[97:2000] for c in "xyz")]
    words = sorted({word for text in words for word in words_of(text, "folded")})
    hashes = np.sort(hashed(array(words), "folded").hashes)
    assert len(hashes) == len(words)
    assert all(left != right for left, right in pairwise(hashes.tolist()))
