"""What is measured of a pilot: values worked out by hand, an independent BLEU, and answers that hold nothing."""

import json
import math
import random
import time
import zlib
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.pilots import statistics
from cosmo_assets.pilots.statistics import (
    COMPARED_WORDS,
    STOCK_OPENERS,
    Answer,
    Openers,
    PilotStatistics,
    measure_pilot,
    words_of,
)
from cosmo_assets.quality.rules import measure

SECONDS = 2.0
NEARLY_ALIKE = ["a b c d e", "a b c d f"]
# precisions 4/5, 3/4, 2/3, 1/2 in both directions, equal lengths
THEIR_BLEU = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25


def answer(text: str, *, extract: str = "", finish_reason: str | None = "stop", tokens: int = 1) -> Answer:
    return Answer(text, f"Write. {extract}", extract, finish_reason, tokens)


def measured(*texts: str) -> PilotStatistics:
    return measure_pilot([answer(text) for text in texts])


def test_empty_answers_are_those_without_a_word() -> None:
    found = measured("two words", "", " \n", "?!")
    assert (found.answers, found.empty) == (4, 3)


def test_openers_are_the_first_words_and_their_shares() -> None:
    found = measured("In a WORLD, of x", "in a world: far", "In a city", "So")
    three, four = found.openers[0], found.openers[1]
    assert [one.words for one in found.openers] == [3, 4, 5, 6, 7, 8]
    assert three.most_common == (("in a world", 0.5), ("in a city", 0.25), ("so", 0.25))
    assert (three.distinct, three.entropy, three.effective) == (3, 1.5, 2**1.5)  # 1/2 * 1 bit + 2 * 1/4 * 2 bits
    assert four.most_common[0] == ("in a city", 0.25)
    assert (four.distinct, four.entropy, four.effective) == (4, 2.0, 4.0)


def test_five_openers_are_named_and_answers_without_words_have_none() -> None:
    found = measured(*"gfedcba", "").openers[0]
    assert found.most_common == tuple((letter, 1 / 7) for letter in "abcde")
    assert found.distinct == 7


def test_where_all_answers_begin_alike_there_is_one_opener_and_no_entropy() -> None:
    found = measured("the same", "the same").openers[0]
    assert found == Openers(3, 1, 0.0, (("the same", 1.0),))
    assert math.copysign(1, found.entropy) == 1
    assert found.effective == 1.0


def test_lengths_are_told_in_words_and_tokens() -> None:
    answers = [answer("w " * count, tokens=10 * count) for count in (0, 1, 2, 3, 14)]
    found = measure_pilot(answers)
    assert found.words is not None
    assert found.tokens is not None
    assert astuple(found.words) == pytest.approx((0, 0.4, 2, 9.6, 14, 4))
    assert astuple(found.tokens) == pytest.approx((0, 4, 20, 96, 140, 40))
    assert found.words.p90 == pytest.approx(9.6)
    assert (found.words.max, found.words.mean) == (14, 4)


def test_the_histogram_has_bins_of_ten_words() -> None:
    assert measured(*("w " * count for count in (0, 9, 10, 19, 35))).histogram == ((0, 2), (10, 2), (30, 1))


def test_finish_reasons_are_shares_of_all_answers() -> None:
    reasons = ["stop", "length", None, "stop"]
    found = measure_pilot([answer("", finish_reason=reason) for reason in reasons])
    assert found.finish_reasons == (("stop", 0.5), ("length", 0.25), ("unknown", 0.25))


def test_distinct_n_is_distinct_n_grams_over_all_and_none_goes_over_two_answers() -> None:
    found = measured("a b a b", "A, c")
    assert found.distinct == (3 / 6, 3 / 4, 2 / 2, 1 / 1)  # ab ba ab ac; aba bab; abab
    assert found.distinct_words == 6


def test_distinct_n_of_answers_too_short_for_an_n_gram_is_not_measured() -> None:
    assert measured("a b", "c").distinct == (1.0, 1.0, None, None)


def test_distinct_n_and_self_bleu_read_the_beginning_of_each_answer() -> None:
    begin = " ".join(f"w{number}" for number in range(COMPARED_WORDS))
    found = measured(f"{begin} one more", f"{begin} other words altogether")
    assert found.distinct_words == 2 * COMPARED_WORDS
    assert found.distinct[0] == 0.5
    assert found.self_bleu == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("texts", "bleu"),
    [
        (NEARLY_ALIKE, THEIR_BLEU),
        ([*NEARLY_ALIKE, "", "?"], THEIR_BLEU),  # answers without words are nobody's reference
        (["a b c d", "a b c d"], 1.0),
        (["a b c d", "e f g h"], 0.0),
        # the second is a part of the first, and shorter: precisions 1, times e^(1 - 5/4)
        (["a b c d e", "a b c d"], (THEIR_BLEU + math.exp(-0.25)) / 2),
        # a stands twice in the first and once in any other: counted once; 2/4, then no gram that is shared
        (["a a x y", "a p q y", "a r s t"], None),
    ],
)
def test_self_bleu_worked_out_by_hand(texts: list[str], bleu: float | None) -> None:
    if bleu is None:
        first = (2 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
        third = (1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
        bleu = (first + first + third) / 3
    assert measured(*texts).self_bleu == pytest.approx(bleu)


@pytest.mark.parametrize("texts", [[], ["a b c"], ["a b c", ""]])
def test_self_bleu_needs_two_answers(texts: list[str]) -> None:
    assert measured(*texts).self_bleu is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=14), min_size=2, max_size=7))
def test_self_bleu_is_that_of_nltk(texts: list[list[str]]) -> None:
    bleu = pytest.importorskip("nltk.translate.bleu_score")
    smooth = bleu.SmoothingFunction().method1
    expected = [
        bleu.sentence_bleu(texts[:place] + texts[place + 1 :], words, smoothing_function=smooth)
        for place, words in enumerate(texts)
    ]
    assert measured(*map(" ".join, texts)).self_bleu == pytest.approx(sum(expected) / len(expected), abs=1e-9)


def test_self_bleu_takes_answers_evenly_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SELF_BLEU_ANSWERS", 2)
    assert measured(NEARLY_ALIKE[0], "x y z", NEARLY_ALIKE[1], "p q r").self_bleu == pytest.approx(THEIR_BLEU)


def test_compression_is_the_bytes_of_all_answers_over_those_of_zlib() -> None:
    texts = [" ".join(random.Random(number).choices(["été", "river", "sand", "stone"], k=300)) for number in range(9)]
    joined = "\n".join(texts).encode()
    assert len(zlib.compress(joined, 9)) < len(zlib.compress(joined)) != len(zlib.compress("".join(texts).encode()))
    assert measured(*texts, "").compression == len(joined) / len(zlib.compress(joined, 9))


def test_copying_is_the_share_of_distinct_five_grams_that_stand_in_the_extract() -> None:
    extract = "A b c, d e f!"
    answers = [
        answer("a b c d e f", extract=extract),  # both of two
        answer("x a b c d e y z", extract=extract),  # one of four: at the bound, not above it
        answer("a b c d", extract=extract),  # too short for a gram: nothing copied
        answer("a b c d e a b c d e", extract="a b c d e"),  # one of five
        answer("a b c d e"),  # nothing to copy from
        answer("", extract=extract),
    ]
    found = measure_pilot(answers)
    assert found.copied_of == 4
    assert found.copied_mean == pytest.approx((1 + 1 / 4 + 0 + 1 / 5) / 4)
    assert found.copied_share == 1 / 4


def test_the_prompt_around_the_extract_is_no_copying() -> None:
    one = Answer("write a long text about rivers", "Write a long text about rivers. Sand.", "Sand.", "stop", 6)
    assert measure_pilot([one]).copied_mean == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "As an AI, I have no opinion.",
        "Well, as a language model this is hard.",
        "I cannot fulfill this request.",
        "I CANNOT assist with it.",
        "I'm sorry, but I can't help you with that.",
        "I’m sorry, I cannot do that.",
    ],
)
def test_refusals_are_phrases_that_the_quality_rules_drop(text: str) -> None:
    assert measured(text, "Rivers flow.", "").refusals == 1 / 3
    assert measure(text, "").boilerplate is not None


@pytest.mark.parametrize("text", ["As an aid to memory, write.", "I am sorry, he said.", "Here is a tree."])
def test_an_ordinary_sentence_is_no_refusal(text: str) -> None:
    assert measured(text).refusals == 0.0


def test_stock_openers_are_told_by_phrase_over_the_answers_with_words() -> None:
    found = measured(
        "## Once upon a TIME, there was", "once upon a time", "In today’s world", "As weary men know", "", "Surely not"
    )
    assert found.stock_openers == (("Once upon a time", 2 / 5), ("In today's", 1 / 5))
    assert found.stock_share == pytest.approx(3 / 5)


@pytest.mark.parametrize("phrase", STOCK_OPENERS)
def test_an_answer_has_one_stock_opener_at_most(phrase: str) -> None:
    assert measured(f"{phrase} x").stock_openers == ((phrase, 1.0),)


def test_nothing_is_measured_of_no_answers() -> None:
    found = measure_pilot([])
    assert (found.answers, found.empty, found.histogram, found.finish_reasons) == (0, 0, (), ())
    assert found.openers[5] == Openers(8, 0, 0.0, ())
    assert found.distinct == (None, None, None, None)
    unknown = (found.words, found.tokens, found.self_bleu, found.compression, found.copied_mean, found.refusals)
    assert unknown == (None,) * 6
    assert found.stock_share is None
    assert measured("").stock_share is None
    assert measured("x").stock_share == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(codec=None)), st.text()), max_size=6))
def test_any_texts_give_figures_that_json_can_hold(texts: list[tuple[str, str]]) -> None:
    found = measure_pilot([answer(text, extract=extract) for text, extract in texts])
    plain = found.as_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["answers"] == len(texts)
    shares = [found.copied_mean, found.copied_share, found.refusals, found.stock_share, *found.distinct]
    assert all(share is None or 0 <= share <= 1 for share in [*shares, found.self_bleu and found.self_bleu - 1e-9])


def test_half_a_surrogate_pair_is_measured_like_any_character() -> None:
    assert measured("word \ud800").compression is not None


def test_the_json_names_the_figures_as_the_fields_do() -> None:
    plain = measured("a b c", "a b d").as_json()
    assert plain["openers"][0] == {
        "words": 3,
        "distinct": 2,
        "entropy": 1.0,
        "most_common": [["a b c", 0.5], ["a b d", 0.5]],
    }
    assert plain["words"]["p50"] == 3.0
    assert plain["histogram"] == [[0, 2]]


def test_words_are_those_of_the_quality_rules() -> None:
    text = "It's 3.5 Été, snake_case — don’t! 日本語"
    assert " ".join(words_of(text)[:5]) == measure(text, "").opener
    assert len(words_of(text)) == measure(text, "").words


def test_two_hundred_answers_of_six_hundred_words_take_less_than_two_seconds() -> None:
    draw = random.Random(7)
    vocabulary = [f"word{number}" for number in range(3000)]
    answers = [
        answer(" ".join(draw.choices(vocabulary, k=600)), extract=" ".join(draw.choices(vocabulary, k=250)))
        for _ in range(200)
    ]
    started = time.process_time()
    assert measure_pilot(answers).answers == 200
    assert time.process_time() - started < SECONDS
