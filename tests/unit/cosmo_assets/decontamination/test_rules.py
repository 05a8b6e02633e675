"""Rules: what each condemns and what not, which items it can check, and which n-grams datatrove would search for."""

import random
import unicodedata
from collections.abc import Iterable
from itertools import product
from string import ascii_lowercase
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pytest
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontIndexer

from cosmo_assets.decontamination.benchmarks import Item
from cosmo_assets.decontamination.rules import Condemned, CosmopediaRule, GramRule, Items, Rule, ShortRule
from cosmo_assets.words.hashing import hashed
from tests.doubles.plain_decontamination import matched_share, words_of
from tests.doubles.replay_server import prose

PUBLISHED = CosmopediaRule(ngram=10, ratio=0.5)
GRAMS = GramRule(ngram=13)
LABEL = GramRule(ngram=12, label=True)
SHORT = ShortRule(below=13)

QUESTION = "Which organelle of a plant cell turns the energy of sunlight into sugar during photosynthesis?"
ANSWER = "The chloroplast, which holds the green pigment."
BRIEF = "Who wrote the novel Molloy? Samuel Beckett"

BEFORE, AFTER = prose("before", 80), prose("after", 80)


def item(asked: str, answer: str = "") -> Item:
    return Item("bench", "1", asked, answer)


def items_of(items: Iterable[Item], rule: Rule) -> Items:
    rows = list(items)
    texts = pa.array([row.text for row in rows], pa.large_string())
    asked = hashed(pa.array([row.asked for row in rows], pa.large_string()), rule.alphabet)
    return Items(texts, hashed(texts, rule.alphabet), np.diff(asked.bounds))


def condemned(rule: Rule, texts: list[str], *items: Item) -> list[Condemned]:
    held, array = items_of(items, rule), pa.array(texts, pa.string())
    return list(rule.condemned(array, hashed(array, rule.alphabet), held, rule.table(held)))


def condemns(rule: Rule, text: str, *items: Item) -> bool:
    return bool(condemned(rule, [text], *items))


def checkable(rule: Rule, *items: Item) -> list[bool]:
    held = items_of(items, rule)
    return cast(list[bool], rule.checkable(held, rule.table(held)).tolist())


def counted(count: int, name: str = "word") -> str:
    """So many different words, of letters alone."""
    return " ".join(name + ascii_lowercase[number // 26] + ascii_lowercase[number % 26] for number in range(count))


DISGUISES = {
    "alone": f"{QUESTION} {ANSWER}",
    "embedded": f"{BEFORE} {QUESTION} {ANSWER} {AFTER}",
    "upper case": f"{BEFORE} {QUESTION.upper()} {ANSWER.upper()} {AFTER}",
    "punctuation": f"{BEFORE} {' -- '.join(f'{QUESTION} {ANSWER}'.split())} {AFTER}",
    "lines": f"{BEFORE}\n\n> {QUESTION}\n\n* Answer?\n* {ANSWER}\n{AFTER}",
    "diacritics": f"{BEFORE} {QUESTION.replace('e', 'é').replace('o', 'ö')} {ANSWER} {AFTER}",
    "combining marks": f"{BEFORE} {unicodedata.normalize('NFD', QUESTION.replace('a', 'å'))} {ANSWER} {AFTER}",
    "no answer": f"{BEFORE} {QUESTION} {AFTER}",
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("rule", [PUBLISHED, GRAMS], ids=["cosmopedia", "ngram"])
def test_an_item_is_found_however_it_is_written(rule: Rule, disguise: str) -> None:
    (found,) = condemned(rule, ["", DISGUISES[disguise], AFTER], item(BRIEF), item(QUESTION, ANSWER))
    assert (found.text, found.item) == (1, 1)
    assert found.ratio > 0.6
    assert words_of(QUESTION)[2:8] in [words_of(found.span)[start : start + 6] for start in range(15)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?!",
        f"{BEFORE} {AFTER}",
        "Photosynthesis turns the energy of sunlight into sugar; it happens in the chloroplast of a plant cell.",
        " ".join(reversed(QUESTION.split())),
    ],
    ids=["empty", "no words", "unrelated", "same subject", "other order"],
)
@pytest.mark.parametrize("rule", [PUBLISHED, GRAMS, LABEL, SHORT], ids=["cosmopedia", "ngram", "label", "short"])
def test_a_text_that_does_not_hold_an_item_is_clean(rule: Rule, text: str) -> None:
    assert not condemns(rule, text, item(QUESTION, ANSWER), item(BRIEF), item("?!"))


def test_cosmopedia_needs_an_ngram_and_more_than_the_ratio() -> None:
    words = QUESTION.split()
    assert len(words) == 15
    nine, ten = (f"{BEFORE} {' '.join(words[:count])} {AFTER}" for count in (9, 10))
    assert not condemns(CosmopediaRule(10, 0.0), nine, item(QUESTION))
    assert condemns(PUBLISHED, ten, item(QUESTION))
    assert not condemns(CosmopediaRule(10, 1.0), QUESTION, item(QUESTION))
    assert condemns(CosmopediaRule(10, 0.999), QUESTION, item(QUESTION))
    assert not condemns(PUBLISHED, f"{BEFORE} {QUESTION}", item(f"{QUESTION} {prose('a long passage', 120)}"))


def test_cosmopedia_tells_share_and_span_as_published() -> None:
    text = f"{BEFORE} {QUESTION} {AFTER[:200]} {ANSWER.replace('green', 'red')}"
    (found,) = condemned(PUBLISHED, [text], item(QUESTION, ANSWER))
    assert (found.ratio, found.span) == matched_share(words_of(text), words_of(f"{QUESTION} {ANSWER}"))
    assert 0.9 < found.ratio < 1.0


def test_cosmopedia_measures_every_candidate_and_every_item_of_an_ngram() -> None:
    """As published, one candidate alone was measured, and an n-gram kept its last item alone."""
    long = [item(f"{prose(f'start {number}', 40)} {QUESTION} {prose(f'end {number}', 40)}") for number in range(8)]
    found = condemned(
        PUBLISHED, [f"{BEFORE} {QUESTION} {AFTER}"], *long, item(QUESTION), item(f"{QUESTION} Yes"), *long
    )
    assert [match.item for match in found] == [8, 9]


def test_cosmopedia_looks_at_degenerate_ngrams_as_published() -> None:
    assert condemns(PUBLISHED, "no " * 12, item("no " * 12))
    assert not condemns(GRAMS, "no " * 20, item("no " * 20))


def test_any_shared_ngram_condemns_where_no_share_is_asked_for() -> None:
    long = item(counted(200))
    assert condemns(GRAMS, f"{BEFORE} {' '.join(counted(200).split()[90:103])} {AFTER}", long)
    assert not condemns(GRAMS, f"{BEFORE} {' '.join(counted(200).split()[90:102])} {AFTER}", long)


@pytest.mark.parametrize(("held", "is_condemned"), [(39, False), (40, True), (41, True), (50, True)])
def test_a_share_counts_the_words_in_shared_ngrams(held: int, is_condemned: bool) -> None:
    """A share of exactly the one asked for is enough; pieces shorter than the n-gram do not count."""
    whole = counted(50).split()
    pieces = [whole[:20], whole[20:held], ["between"], whole[held : held + 4]]
    text = "; ".join(" ".join(piece) for piece in pieces)
    found = condemned(GramRule(5, share=0.8), [text], item(counted(50)))
    assert bool(found) == is_condemned
    if found:
        assert found[0][2:] == (held / 50, " ".join(whole[:held]))


@pytest.mark.parametrize(
    ("first", "is_condemned"),
    [(12, True), (9, True), (8, False), (0, False)],
    ids=["label", "overlap", "query", "start"],
)
def test_label_counts_ngrams_that_reach_the_answer(first: int, is_condemned: bool) -> None:
    """Twenty words are asked, five answered: a window of twelve reaches the answer from the tenth word on."""
    asked, answer = counted(20), counted(5, "answer")
    words = f"{asked} {answer}".split()
    text = f"{BEFORE} {' '.join(words[first : first + 12])} {AFTER}"
    assert condemns(LABEL, text, item(asked, answer)) == is_condemned
    assert condemns(GramRule(12), text, item(asked, answer))


def test_label_searches_for_the_ngrams_that_datatrove_searches_for() -> None:
    """Its indexer, with words told apart at spaces and the n-grams themselves for their hashes: its own tokenizer needs
    data, and differs from this project's in punctuation. The n-grams are compared by asking for each window alone."""
    words_only = SimpleNamespace(word_tokenize=str.split)
    draw = random.Random(3)
    for asked_size, answer_size in product((0, 1, 5, 11, 12, 30), (0, 1, 2, 11, 12, 30)):
        size = draw.choice([2, 3, 5, 12])
        asked, answer = counted(asked_size, "q"), counted(answer_size, "a")
        indexer = object.__new__(NGramsDecontIndexer)
        indexer.config = NGramsDecontConfig(n_grams=size)
        indexer.tokenizer, indexer.hash_func = words_only, str
        theirs = set(cast(list[str], indexer.compute_hashes(answer, asked)))
        words = f"{asked} {answer}".split()
        windows = [" ".join(words[start : start + size]) for start in range(len(words) - size + 1)]
        ours = {windows[found.text] for found in condemned(GramRule(size, label=True), windows, item(asked, answer))}
        assert ours == theirs, (size, asked_size, answer_size)
        assert ours or answer_size == 0 or asked_size + answer_size < size


@pytest.mark.parametrize(
    ("text", "is_condemned"),
    [
        (BRIEF, True),
        (f"{BEFORE} {BRIEF.lower()} {AFTER}", True),
        ("who wrote, the novel: MOLLOY\n\nSamuel Beckett", True),
        ("Ｗｈｏ wrote the _novel_ Mol\u00adloy? Samuël Beckett", True),
        (f"{BEFORE} Who wrote the novel Molloy? {AFTER}", False),
        (f"{BEFORE} {BRIEF}s {AFTER}", False),
        ("who wrote the novel Murphy samuel beckett", False),
    ],
)
def test_an_item_shorter_than_an_ngram_is_found_as_a_whole_alone(text: str, is_condemned: bool) -> None:
    found = condemned(SHORT, [text], item(BRIEF), item(QUESTION, ANSWER))
    assert found == ([Condemned(0, 0, 1.0, "who wrote the novel molloy samuel beckett")] if is_condemned else [])


@pytest.mark.parametrize(("count", "is_condemned"), [(1, True), (2, True), (3, True), (12, True), (13, False)])
def test_short_items_end_where_ngrams_begin(count: int, is_condemned: bool) -> None:
    assert condemns(SHORT, counted(count), item(counted(count))) == is_condemned
    assert condemns(GRAMS, counted(count), item(counted(count))) != is_condemned


@pytest.mark.parametrize("size", [1, 2])
def test_an_item_of_one_or_two_words_is_found_where_a_text_is_nothing_else(size: int) -> None:
    texts = [f"*{counted(size).upper()}*", f"so {counted(size)}", "", counted(3), counted(size, "other")]
    found = condemned(SHORT, texts, item("?!"), item(counted(size)), item(counted(size)))
    assert [match[:3] for match in found] == [(0, 1, 1.0), (0, 2, 1.0)]


def test_each_rule_tells_which_items_it_can_check() -> None:
    items = [
        item("?!"),
        *(item(counted(count)) for count in (1, 9, 10, 12, 13)),
        item("no " * 20),
        item("no " * 12 + counted(3)),
        item(counted(20), "yes"),
    ]
    assert checkable(PUBLISHED, *items) == [False, False, False, True, True, True, True, True, True]
    assert checkable(SHORT, *items) == [False, True, True, True, True, False, False, False, False]
    assert checkable(GRAMS, *items) == [False, False, False, False, False, True, False, False, True]
    assert checkable(LABEL, *items) == [False] * 8 + [True]


@pytest.mark.parametrize("rule", [PUBLISHED, GRAMS, SHORT], ids=["cosmopedia", "ngram", "short"])
def test_an_item_that_can_be_checked_is_found_in_itself_and_no_other(rule: Rule) -> None:
    rows = [item(prose(f"question {number}", 3 + number % 25), prose(f"answer {number}", 2)) for number in range(60)]
    texts = [f"{prose(f'before {number}', 30)} {row.text} {AFTER}" for number, row in enumerate(rows)]
    found = {(match.text, match.item) for match in condemned(rule, texts, *rows)}
    can_be_found = {(number, number) for number, can in enumerate(checkable(rule, *rows)) if can}
    assert len(can_be_found) > 15
    assert can_be_found <= found
    for text, other in found - can_be_found:  # prose repeats itself: then the words stand there
        assert words_of(rows[other].text)[:10] == words_of(rows[text].text)[:10], (text, other)


def test_short_passes_over_an_answer_alone() -> None:
    answers = [item("", "Yes"), item("", "in the early morning"), item("?!", "four"), item("Is it?", "Yes")]
    assert checkable(SHORT, *answers) == [False, False, False, True]
    assert condemned(SHORT, ["Yes", "four", f"{BEFORE} in the early morning {AFTER}"], *answers) == []
    assert condemns(GramRule(5), f"{BEFORE} {counted(8)} {AFTER}", item("", counted(8))), "long answers are found"
