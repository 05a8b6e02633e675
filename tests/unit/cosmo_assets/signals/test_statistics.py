"""Statistics and rule sets against datatrove's filters, which are given the same words: verdict and reason of each."""

import random
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cosmo_assets.signals.rule_sets import RULE_SETS, reasons_of
from cosmo_assets.signals.statistics import SCHEMA, statistics_of
from tests.benchmarks.decontamination import documents_of
from tests.corpora import ROOT
from tests.doubles.datatrove_filters import filters, reasons
from tests.doubles.datatrove_words import PlainWords

WORDS = PlainWords()
FILTERS = filters(WORDS)


def told(texts: Sequence[str]) -> list[dict[str, str | None]]:
    """Why each set of rules drops each text, by the statistics."""
    statistics = statistics_of(texts)
    columns = {name: reasons_of(statistics, bounds).to_pylist() for name, bounds in RULE_SETS.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def different(count: int) -> list[str]:
    """Up to a thousand words of four letters, all different, none of them a stop word."""
    letters = "bcdfghjklm"
    return [f"{letters[n // 100]}a{letters[n // 10 % 10]}{letters[n % 10]}" for n in range(count)]


def prose(count: int) -> str:
    """A text of `count` words on one line, two of them stop words; a sentence ends after every ten words."""
    words = ["the", "of", *different(count - 2)]
    return " ".join(word + "." * (number % 10 == 9 or number == count - 1) for number, word in enumerate(words))


def lines(count: int) -> str:
    """Lines of ten words, all different."""
    words = different(8 * count)
    return "\n".join(f"The of {' '.join(words[8 * n : 8 * n + 8])}." for n in range(count))


def with_lines(line: str, count: int, others: int) -> str:
    """Lines of a form, `{}` being a word of their own, then prose of as many lines."""
    return "\n".join([*(line.format(word) for word in different(count)), lines(others)])


def with_gram(size: int, fillers: int) -> str:
    """One n-gram ten times between words that are all different."""
    gram, words = " ".join(["gate", "lamp", "rope", "tide"][:size]), different(10 + fillers)
    return " ".join([*(f"{word} {gram}" for word in words[:10]), *words[10:]])


def with_blocks(size: int, fillers: int) -> str:
    """Six n-grams that stand there twice, between words that are all different."""
    words = different(6 * size + 12 + fillers)
    blocks = [" ".join(words[place * size : place * size + size]) for place in range(6)]
    others = words[6 * size :]
    return " ".join([*(f"{word} {block}" for word, block in zip(others, blocks * 2, strict=False)), *others[12:]])


def boundary(make: Callable[[int], str], name: str, reason: str) -> tuple[str, str]:
    """The last document that datatrove drops for a reason, of documents of growing size, and the next."""
    for one, other in pairwise(map(make, count(0))):
        if reasons(one, FILTERS)[name] == reason != reasons(other, FILTERS)[name]:
            return one, other
    raise AssertionError


BULLET = "{} the garden of roses below and many more words"
AT_THRESHOLDS = {
    "gopher_short_doc": (prose(49), prose(50)),
    "gopher_long_doc": ("the of" + " abcd" * 99_999, "the of" + " abcd" * 99_998),
    "gopher_below_avg_threshold": ("the of " + "ab " * 48 + "abcd " * 48, "the of " + "ab " * 47 + "abcd " * 48),
    "gopher_above_avg_threshold": ("the of" + " abcdefghijk" * 16 + " abcdefghij" * 80,
                                   "the of" + " abcdefghijk" * 15 + " abcdefghij" * 80),
    "gopher_too_many_hashes": (prose(80) + " #" * 11, prose(81) + " #" * 10),
    "gopher_too_many_ellipsis": (" ..." * 6 + " …" * 5 + prose(80), " ..." * 5 + " …" * 5 + prose(81)),
    "gopher_too_many_bullets": (with_lines(f" - {BULLET}", 19, 2), with_lines(f" • {BULLET}", 18, 2)),
    "gopher_too_many_end_ellipsis": (with_lines(f"{BULLET} …  ", 4, 9), with_lines(f"{BULLET}... ", 3, 7)),
    "gopher_below_alpha_threshold": ("the of " + " ".join([*different(77), *map(str, range(100, 121))]),
                                     "the of " + " ".join([*different(78), *map(str, range(100, 120))])),
    "gopher_enough_stop_words": ("The " + prose(80).replace("of ", ""), prose(80)),
    "dup_para_frac": ("\n\n".join([*different(10), *["same"] * 6]), "\n\n".join([*different(11), *["same"] * 6])),
    "dup_para_char_frac": ("\n\n".join(["a" * 10, "b" * 21, "a" * 10, "cc"]),
                           "\n\n".join(["a" * 10, "b" * 22, "a" * 10, "cc"])),
    "dup_line_frac": ("\n".join([*different(10), *["same"] * 6]), "\n".join([*different(11), *["same"] * 6])),
    "dup_line_char_frac": ("\n".join(["a" * 10, "b" * 24, "a" * 10, "cc"]),
                           "\n".join(["a" * 10, "b" * 25, "a" * 10, "cc"])),
    **{f"top_{n}_gram": (lambda fillers, n=n: with_gram(n, fillers)) for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": (lambda fillers, n=n: with_blocks(n, fillers)) for n in range(5, 11)},
    "curly_bracket": (prose(60) + "\nA b {c.\nLorem ipsum dolor.", prose(60) + "\nA b {c"),
    "lorem_ipsum": (prose(60) + "\nLorem[3] Ipsum dolor.\nA b {c.", prose(60) + "\nLorem ipsum dolor"),
    "too_few_sentences": (prose(40), prose(50)),
    "line_punct_ratio": (with_lines(BULLET, 8, 1), with_lines(BULLET, 7, 1)),
    "short_line_ratio": (with_lines("{} " + "a" * 24 + ".", 21, 10), with_lines("{} " + "a" * 24 + ".", 20, 10)),
    "char_dup_ratio": lambda size: lines(size + 1) + "\nThe of." * 2,
    "list_ratio": (lines(10) + "\n" * 25, lines(10) + "\n" * 24),
}  # fmt: skip
EMPTY = {"gopher_repetition": ("", "a"), "fineweb": (" \n\t", " \na.")}


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(
            st.sampled_from(
                [*"aB1_.,-'’ \n\r\t\x1c\u2028#…•{}[]!?\"é中\u0301", "the ", "of ", "...", "\n\n", "n't", "'s ",
                 "[12]", "[edit]",
                 "javascript ", "lorem ipsum ", "use \u0063oo\u212aies ", "x" * 1001, "One two three. ", "same line\n",
                 "q" * 31, "3a b c d e 4a b c d e "]
            ),
            max_size=120,
        ).map("".join),
    )
)  # fmt: skip
@example("")
@example("word")
@example("\n\n\n")
@example(" \r\n \x85\u3000")
@example("One two three.\r\nFour five six.\r\n" * 9)
@example("lorem [[1]] ipsum " * 3 + "'")
@example("line 1\nline 2\nline 3\nline 4")
@example("a \x00 b \x00\x00.")
def test_any_text_has_the_verdicts_of_datatrove(text: str) -> None:
    assert told([text]) == [reasons(text, FILTERS)]


EVERY = list(dict.fromkeys((name, bound.reason) for name, bounds in RULE_SETS.items() for bound in bounds))


@pytest.mark.parametrize(("name", "reason"), EVERY, ids=[f"{name}: {reason}" for name, reason in EVERY])
def test_documents_on_either_side_of_a_threshold_have_the_verdicts_of_datatrove(name: str, reason: str) -> None:
    pair = EMPTY[name] if reason == "empty" else AT_THRESHOLDS[reason]
    outside, inside = boundary(pair, name, reason) if callable(pair) else pair
    assert told([outside, inside]) == [reasons(outside, FILTERS), reasons(inside, FILTERS)]
    order = [*(bound.reason for bound in RULE_SETS[name]), None]
    first, second = (row[name] for row in told([outside, inside]))
    assert first == reason
    assert order.index(second) > order.index(reason)


@pytest.mark.samples
def test_real_documents_have_the_verdicts_of_datatrove(samples: Path) -> None:
    draw, texts = random.Random(7), []
    for document in documents_of(samples)[:150]:
        start = draw.randrange(max(len(document) - 900, 1))
        texts += [document[:4000], document[start : start + 900]]
    assert told(texts) == [reasons(text, FILTERS) for text in texts]
    assert sum(reason is not None for row in told(texts) for reason in row.values()) > 50


def test_the_table_has_a_row_for_each_text_in_any_chunks_and_a_null_is_empty() -> None:
    texts = [prose(60), None, "line 1\r\nline 2", "é中", lines(4) * 2]
    table = statistics_of(pa.chunked_array([pa.array(["left out", *texts[:2]])[1:], [], texts[2:]]))
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.to_pylist() == [statistics_of([text or ""]).to_pylist()[0] for text in texts]
    assert table["characters"].to_pylist() == [len(text or "") for text in texts]
    assert statistics_of([]).equals(SCHEMA.empty_table())


def test_lines_that_c4_would_drop_are_counted_by_reason() -> None:
    dropped = (
        "x" * 1001 + " is long.",
        "no end",
        "A title.",
        "Please enable JavaScript.",
        "See our \u0043oo\u212aie Policy.",
    )
    kept = ("One is here. Two is there.", 'A line[12] with "quotes"')
    row = statistics_of(["\r\n".join([*dropped, *kept])]).to_pylist()[0]
    names = ("long_word_lines", "unended_lines", "short_lines", "javascript_lines", "policy_lines")
    assert [row[f"c4_{name}"] for name in names] == [1] * 5
    assert (row["c4_lines"], row["c4_sentences"]) == (7, 3)


def test_n_grams_and_lines_that_differ_in_one_bit_of_one_letter_are_different() -> None:
    table = statistics_of(["3a b c d e 4a b c d e", "3a b c d e 3a b c d e", "line 1\nline 2", "line 1\nline 1"])
    assert table["duplicate_5gram_char_share"].to_pylist() == [0, 6 / 21, 0, 0]
    assert table["duplicate_line_share"].to_pylist() == [0, 0, 0, 0.5]
    assert table["top_2gram_char_share"].to_pylist()[:2] == [2 * 3 / 21, 2 * 4 / 21]


def test_words_are_those_of_the_rule() -> None:
    text = "Mr. Well-known isn't the dog's; e.g. U.S. f(x) 3,000.5 at http://a.b/c?d=1). So... -- ok__ “no”!!"
    words = ["Mr", ".", "Well", "-", "known", "is", "n't", "the", "dog", "'s", ";", "e.g.", "U.S.", "f(x", ")",
             "3,000.5", "at", "http://a.b/c?d=1", ")",
             ".", "So", "...", "--", "ok__", "“", "no", "”", "!", "!"]  # fmt: skip
    assert WORDS.word_tokenize(text) == words
    row = statistics_of([text]).to_pylist()[0]
    assert (row["words_and_marks"], row["stop_words"]) == (len(words), 1)
    assert row["words"] == sum(any(char.isalnum() for char in word) for word in words)


def test_the_page_names_every_statistic() -> None:
    page = (ROOT / "docs" / "signals.md").read_text(encoding="utf-8")
    assert [name for name in SCHEMA.names if f"`{name}`" not in page] == []
