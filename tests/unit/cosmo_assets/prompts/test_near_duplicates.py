"""Near-duplicates among prompts: shingles and signatures as defined, and who leads a group of similar texts."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import mixed
from cosmo_assets.prompts import near_duplicates
from cosmo_assets.prompts.near_duplicates import BANDS, GRAM, ROWS, band_hashes, leaders, shingles
from cosmo_assets.seeds.duplicates import jaccard
from tests.doubles.replay_server import prose

THRESHOLD = 0.8

Reference = set[tuple[str, ...]]


def reference(text: str) -> Reference:
    """The shingles by their definition, character by character."""
    words: list[str] = []
    for place, character in enumerate(text):
        begins = 0x3000 <= ord(character) <= 0xDFFF or ord(character) > 0xFFFF
        if not (ord(character) >= 128 or character.isalnum()):
            continue
        before = text[place - 1] if place else " "
        if begins or not (ord(before) >= 128 or before.isalnum()):
            words.append("")
        words[-1] += character.lower() if ord(character) < 128 else character
    starts = range(max(len(words) - GRAM + 1, 1))
    return {tuple(words[start : start + GRAM]) for start in starts} if words else set()


def plain_jaccard(left: Reference, right: Reference) -> float:
    return len(left & right) / len(left | right) if left | right else 1.0


def led(texts: Sequence[str], rank: Sequence[int] | None = None, threshold: float = THRESHOLD) -> list[int]:
    """The leader of each text; `rank` is their order where none is given."""
    asked: list[int] = []

    def texts_of(numbers: npt.NDArray[np.int64]) -> list[str]:
        asked.extend(numbers.tolist())
        assert (np.diff(numbers) > 0).all()
        return [texts[number] for number in numbers]

    order = np.array(range(len(texts)) if rank is None else rank, dtype=np.uint64)
    found: list[int] = leaders(band_hashes(pa.array(texts, pa.string())), order, texts_of, threshold).tolist()
    assert len(asked) == len(set(asked))
    return found


def shared(left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which bands two texts of a pair share (pairs x `BANDS`)."""
    same: npt.NDArray[np.bool_] = band_hashes(pa.array(left)) == band_hashes(pa.array(right))
    return same


def pairs(count: int, words: int, changes: int) -> list[tuple[str, str]]:
    """Texts of random words and copies in which some words, evenly spaced, are others."""
    draw, found = random.Random(0), []
    for number in range(count):
        text = [f"w{draw.randrange(1_000_000)}" for _ in range(words)]
        copy = [*text]
        for change in range(changes):
            copy[(2 * change + 1) * words // (2 * changes)] = f"n{number}x{change}"
        found.append((" ".join(text), " ".join(copy)))
    return found


words = st.sampled_from(
    ["a", "A", "b", "it's", "É", "é", "naïve", "7", "x_y", "-", "\n", "天", "天空a", "！b", "か\u3099", "한", "😀", "ß"]
)
spaced = st.lists(st.tuples(words, st.sampled_from([" ", "", ", "])).map("".join), max_size=14).map("".join)
any_text = st.one_of(spaced, st.text(st.characters(codec="utf-8"), max_size=30))


@settings(deadline=None, max_examples=300)
@given(any_text, any_text)
@example("one two three four", "One, two; three: FOUR!")
@example("one two three four", "one two three four five")
@example("ab c d e f", "a bc d e f")
@example("", " - ")
@example("天空是蓝", "天 空 是 蓝")
def test_shingles_are_as_similar_as_their_definition_says(left: str, right: str) -> None:
    expected = reference(left), reference(right)
    found = shingles(left), shingles(right)
    assert [len(hashes) for hashes in found] == [len(shingled) for shingled in expected]
    assert all((np.diff(hashes.astype(object)) > 0).all() for hashes in found)
    assert jaccard(*found) == plain_jaccard(*expected)
    if expected[0] == expected[1]:
        assert shared([left], [right]).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(any_text, max_size=12), st.sampled_from([1, 9, 40, 100_000]), st.integers(0, 12))
def test_band_hashes_depend_on_no_neighbour_and_no_batch(texts: list[str], batch_bytes: int, cut: int) -> None:
    expected = [band_hashes(pa.array([text]))[0].tolist() for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_BATCH_BYTES", batch_bytes)
        column = pa.array(["before", *texts, "after"], pa.string()).slice(1, len(texts))
        chunked = pa.chunked_array([column.slice(0, cut), column.slice(cut)], pa.string())
        large = pa.array(["before", *texts], pa.large_string()).slice(1)
        for given_texts in (column, large, chunked):
            assert band_hashes(given_texts).tolist() == expected
    assert band_hashes(pa.array(texts, pa.string())).shape == (len(texts), BANDS)


@pytest.mark.parametrize(
    ("length", "changes"), [(80, 3), (200, 13), (200, 7), (200, 4), (200, 2), (200, 1), (1000, 20)]
)
def test_similar_texts_share_bands_as_often_as_the_formula_says(length: int, changes: int) -> None:
    count = 1_000
    similarity = (length - 4 - 5 * changes) / (length - 4 + 5 * changes)
    planted = pairs(count, length, changes)
    same = shared([text for text, _ in planted], [copy for _, copy in planted])
    of_a_band, found = similarity**ROWS, 1 - (1 - similarity**ROWS) ** BANDS
    bands, some = same.mean(), same.any(axis=1).mean()
    print(f"similarity {similarity:.3f}: bands {bands:.3f} of {of_a_band:.3f}, pairs {some:.4f} of {found:.4f}")
    assert abs(bands - of_a_band) < 5 * math.sqrt(of_a_band * (1 - of_a_band) / count / BANDS)
    assert abs(some - found) < 5 * math.sqrt(found * (1 - found) / count) + 1 / count


def test_pairs_above_the_threshold_are_led_and_no_others() -> None:
    planted = [*pairs(200, 200, 2), *pairs(400, 200, 4)[200:], *pairs(600, 200, 7)[400:]]  # .90, .82, .70
    found = led([text for pair in planted for text in pair])
    assert found[::2] == list(range(0, 1200, 2))
    copies = np.array(found[1::2]) - np.arange(0, 1200, 2)
    assert set(copies.tolist()) == {0, 1}  # led by its own pair, or by itself
    assert (copies[:200] == 0).all()
    assert (copies[200:400] == 0).mean() > 0.98
    assert (copies[400:] == 1).all()


def test_texts_that_have_but_their_vocabulary_in_common_lead_themselves() -> None:
    texts = [prose(f"text {number}", 60 + number % 200) for number in range(3_000)]
    assert led(texts) == list(range(3_000))


def test_the_first_by_rank_leads_its_group_whatever_the_order_of_the_rows() -> None:
    draw = random.Random(1)
    texts = [text for pair in pairs(60, 200, 3) for text in pair] + [prose(f"text {n}", 80) for n in range(60)]
    texts += [texts[0], texts[1], texts[3], "One two.", "one, TWO", "", " - "]
    rank = mixed(np.arange(1, len(texts) + 1, dtype=np.uint64)).tolist()
    expected = led(texts, rank)
    assert sum(leader != number for number, leader in enumerate(expected)) == 64
    for number, leader in enumerate(expected):
        assert rank[leader] <= rank[number]
        assert expected[leader] == leader
        assert leader == number or plain_jaccard(reference(texts[number]), reference(texts[leader])) > THRESHOLD
    for _ in range(10):
        rows = list(range(len(texts)))
        draw.shuffle(rows)
        found = led([texts[row] for row in rows], [rank[row] for row in rows])
        assert {rows[number]: rows[leader] for number, leader in enumerate(found)} == dict(enumerate(expected))


def chain(length: int) -> list[str]:
    """Texts of which each is similar to its neighbours only."""
    words_of = [f"w{number}" for number in range(200 + 12 * length)]
    return [" ".join(words_of[12 * number : 12 * number + 200]) for number in range(length)]


def test_nothing_is_led_by_a_text_that_is_led_itself() -> None:
    texts = chain(6)
    assert (
        plain_jaccard(reference(texts[0]), reference(texts[1]))
        > THRESHOLD
        > plain_jaccard(reference(texts[0]), reference(texts[2]))
    )
    assert led(texts) == [0, 0, 2, 2, 4, 4]
    assert led(texts, [9, 1, 2, 3, 4, 5]) == [1, 1, 1, 3, 3, 5]


def test_of_two_leaders_that_are_similar_to_a_text_the_first_by_rank_leads_it() -> None:
    assert led(chain(3), [1, 3, 2]) == [0, 0, 2]
    assert led(chain(3), [2, 3, 1]) == [0, 2, 2]


def test_short_texts_that_differ_share_no_band() -> None:
    bands = band_hashes(pa.array([f"title {number}" for number in range(2_000)]))
    assert [len(np.unique(band)) for band in bands.T] == [2_000] * BANDS


def test_short_texts_are_compared_as_a_whole_and_those_without_words_with_none() -> None:
    texts = [
        "",
        "one",
        "One!",
        "one two",
        "two one",
        "one two three four five",
        "one two three four",
        "...",
        "天",
        "天。",
    ]
    assert led(texts) == [0, 1, 1, 3, 4, 5, 6, 7, 8, 9]
    assert led([]) == []


def test_the_threshold_itself_is_not_similar_enough() -> None:
    (pair,) = pairs(1, 94, 2)  # 80 shingles of 100 in common
    assert plain_jaccard(*map(reference, pair)) == 0.8
    assert (led(pair, threshold=0.8), led(pair, threshold=0.79)) == ([0, 1], [0, 0])
    assert led(["one two"] * 2, threshold=1.0) == [0, 1]


@pytest.mark.parametrize("text", [prose("equal", 150), "one two"])
@pytest.mark.timeout(10)
def test_very_many_equal_texts_are_led_by_the_first_in_little_time(text: str) -> None:
    assert led([text] * 5_000, list(range(5_000, 0, -1))) == [4_999] * 5_000


@pytest.mark.timeout(20)
def test_pages_of_one_pattern_take_no_quadratic_time_and_copies_among_them_are_found() -> None:
    words = prose("pattern", 100).split()

    def page(number: int) -> str:
        own = prose(f"page {number}", 8).split()
        return " ".join(word if place % 12 else own[place // 12 % 8] for place, word in enumerate(words))

    texts = [page(number) for number in range(3_000)]
    texts += [texts[number] for number in range(2_500, 3_000)]
    found = led(texts)
    assert found[:3_000] == list(range(3_000)), "they are not similar enough"
    assert found[3_000:] == list(range(2_500, 3_000))


def test_candidates_are_compared_a_batch_of_components_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for pair in pairs(40, 60, 1) for text in pair]
    monkeypatch.setattr(near_duplicates._component_batches, "__defaults__", (7,))
    assert led(texts) == [number // 2 * 2 for number in range(80)]


@pytest.mark.samples
@pytest.mark.parametrize("size", [100, 1000])
def test_planted_articles_are_found_and_no_others(samples: Path, size: int) -> None:
    folder = samples / "neardup_minhash_articles"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    lines = (folder / f"articles_{size}.train").read_text(encoding="utf-8").splitlines()
    names, texts = zip(*(line.split(" ", 1) for line in lines), strict=True)
    truth = {frozenset(line.split()) for line in (folder / f"articles_{size}.truth").read_text().splitlines() if line}
    found = {frozenset((names[number], names[leader])) for number, leader in enumerate(led(texts)) if number != leader}
    recall, precision = len(found & truth) / len(truth), len(found & truth) / max(len(found), 1)
    print(f"{size} articles, {len(truth)} pairs: precision {precision:.3f}, recall {recall:.3f}")
    assert (precision, recall) == (1, 1)
