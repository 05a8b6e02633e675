"""Quality rules: what is measured of a text, and where each bound lies."""

import dataclasses
from typing import Any

import pytest

from cosmo_assets.prompts.templates import OutputChecks
from cosmo_assets.quality.rules import Measures, broken_checks, broken_rules, measure
from cosmo_assets.recipe.generation import QualityPolicy
from tests.doubles.replay_server import prose

GOOD = Measures(words=100, repetition=0.0, seed_overlap=0.0, language="en", boilerplate=None, opener="")
POLICY = QualityPolicy(min_words=40, max_repetition=0.3, max_seed_overlap=0.6, languages=("en", "fr"))


def broken(policy: QualityPolicy = POLICY, finish_reason: str | None = "stop", **changes: object) -> list[str]:
    return broken_rules(dataclasses.replace(GOOD, **changes), finish_reason, policy)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", 0), ("  \n ", 0), ("?!", 0), ("Two words", 2), ("snake_case it's", 3), ("été 日本語 42", 3)],
)
def test_words_are_runs_of_word_characters(text: str, words: int) -> None:
    assert measure(text, "").words == words


@pytest.mark.parametrize(
    ("text", "repetition"),
    [
        ("", 0.0),
        ("a b c d", 0.0),
        ("a b c d e f g", 0.0),
        ("a b c d e a b c d e", 0.1667),  # of six 5-grams the last stood there before
        ("A b, c d e. a B c (d) e", 0.1667),
        ("x " * 14, 0.9),  # ten 5-grams, one of them new
    ],
)
def test_repetition_is_the_share_of_grams_that_stood_there_before(text: str, repetition: float) -> None:
    assert measure(text, "").repetition == repetition


@pytest.mark.parametrize(
    ("text", "prompt", "overlap"),
    [
        ("a b c d e f", "", 0.0),
        ("a b c d e f", "Text: A, b c d e f!", 1.0),
        ("a b c d e f", "a b c d e", 0.5),
        ("a b c d", "a b c d", 0.0),  # too short for a gram
        ("a b c d e a b c d e", "a b c d e", 0.2),  # of five distinct grams one
    ],
)
def test_overlap_is_the_share_of_a_texts_grams_that_stand_in_its_prompt(text: str, prompt: str, overlap: float) -> None:
    assert measure(text, prompt).seed_overlap == overlap


@pytest.mark.parametrize(
    "text",
    [
        "As an AI, I have no opinion.",
        "As an AI language model, I cannot know.",
        "Well, as a language model this is hard.",
        "I cannot fulfill this request.",
        "I'm sorry, but I can't help you with that.",
        "I’m sorry, but I can’t help you with that.",
        "I'm sorry, I cannot do that.",
        "Here is a short story based on the text.",
        "Here's your blog post as requested: trees",
        "Here is an engaging, no: here is the article that meets your needs",
        "The extract above tells of rivers.",
        "Yours, [Your Name]",
        "Dear [insert name here],",
    ],
)
def test_a_model_that_speaks_of_itself_or_its_task_is_noticed(text: str) -> None:
    assert measure(text, "").boilerplate is not None


@pytest.mark.parametrize(
    "text",
    [
        "As an aid to memory, write it down.",
        "As an airport it is small.",
        "I am sorry, he said, but I can wait.",
        "Here is a tree. It is tall.",
        "Here's the thing: rivers flow.",
        "An extract of vanilla is added.",
        "The list [1, 2, 3] has your numbers.",
        "We cannot assist at the launch from here.",
    ],
)
def test_an_ordinary_sentence_is_no_boilerplate(text: str) -> None:
    assert measure(text, "").boilerplate is None


def test_the_boilerplate_is_quoted_as_it_stands() -> None:
    assert measure("Well. AS AN AI, I pass.", "").boilerplate == "AS AN AI"


def test_the_opener_is_the_first_five_words_in_lower_case() -> None:
    assert measure("Once, upon a TIME there was", "").opener == "once upon a time there"


def test_a_text_of_one_word_has_an_opener() -> None:
    assert measure("Once.", "").opener == "once"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (prose("some key", 60), "en"),
        ("Les élèves apprennent à lire et à écrire dans une petite école près de la rivière.", "fr"),
        ("1234 5678", "zxx"),
    ],
)
def test_the_language_is_told(text: str, language: str) -> None:
    assert measure(text, "").language == language


def test_a_good_text_breaks_no_rule() -> None:
    assert broken() == []


@pytest.mark.parametrize(
    ("at_the_bound", "beyond", "rule"),
    [
        ({"words": 40}, {"words": 39}, "too_short"),
        ({"repetition": 0.3}, {"repetition": 0.3001}, "repetitive"),
        ({"seed_overlap": 0.6}, {"seed_overlap": 0.6001}, "copies_seed"),
        ({"language": "fr"}, {"language": "de"}, "language"),
        ({"boilerplate": None}, {"boilerplate": "as an ai"}, "boilerplate"),
    ],
    ids=["words", "repetition", "overlap", "language", "boilerplate"],
)
def test_a_rule_is_broken_beyond_its_bound_and_not_at_it(
    at_the_bound: dict[str, object], beyond: dict[str, object], rule: str
) -> None:
    assert broken(**at_the_bound) == []
    assert broken(**beyond) == [rule]


@pytest.mark.parametrize(
    ("drop", "finish_reason", "rules"),
    [(True, "length", ["truncated"]), (True, "stop", []), (True, None, []), (False, "length", [])],
)
def test_a_cut_text_is_dropped_only_where_the_recipe_says_so(
    drop: bool, finish_reason: str | None, rules: list[str]
) -> None:
    assert broken(POLICY.model_copy(update={"drop_truncated": drop}), finish_reason) == rules


def test_an_empty_text_is_counted_as_empty_and_of_no_language() -> None:
    assert broken(words=0, language="zxx") == ["empty", "too_short"]


def test_all_broken_rules_are_told_in_a_fixed_order() -> None:
    policy = POLICY.model_copy(update={"drop_truncated": True})
    found = broken(policy, "length", words=1, language="de", repetition=1.0, boilerplate="x", seed_overlap=1.0)
    assert found == ["too_short", "language", "repetitive", "boilerplate", "copies_seed", "truncated"]


@pytest.mark.parametrize(
    ("checks", "text", "broken"),
    [
        ({}, "", []),
        ({"min_words": 3}, "two words", ["template_too_short"]),
        ({"min_words": 2, "max_words": 2}, "two words", []),
        ({"max_words": 1}, "two words", ["template_too_long"]),
        ({"matches": [r"^\|.*\|$"]}, "A table:\n| a | b |\n", []),
        ({"matches": [r"^\|.*\|$", "why"]}, "| a | b |", ["template_form"]),
        ({"lacks": [r"\Aonce upon"]}, "Once upon a time", ["template_forbidden"]),
        ({"lacks": [r"\Aonce upon"]}, "It was once upon", []),
        (
            {"min_words": 9, "matches": ["x"], "lacks": ["a"]},
            "a",
            ["template_too_short", "template_form", "template_forbidden"],
        ),
    ],
)
def test_an_answer_is_held_against_the_checks_of_its_template(
    checks: dict[str, Any], text: str, broken: list[str]
) -> None:
    assert broken_checks(text, len(text.split()), OutputChecks(**checks)) == broken
