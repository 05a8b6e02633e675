"""The questions about a cluster: what they show, how their answers are read."""

import json
import re
from typing import Any

import pytest

from cosmo_assets.recipe.topics import Labelling
from cosmo_assets.topics.questions import (
    EXAMPLES,
    KINDS,
    answer_pattern,
    answer_schema,
    body,
    extracts_of,
    fitted,
    parse,
    question,
)

CENTRAL = [f"central {number}" for number in range(4)]
OTHERS = [f"other {number}" for number in range(3)]


def words(text: str) -> int:
    return len(text.split())


def answer(**changes: Any) -> str:
    fields = {"topic": "Ocean Tides", "reason": "It is taught at school.", "educational_score": 8}
    return json.dumps({key: value for key, value in {**fields, **changes}.items() if value is not None})


def test_the_first_vote_sees_the_central_extracts_the_second_the_others() -> None:
    assert extracts_of(0, CENTRAL, OTHERS) == CENTRAL
    assert extracts_of(1, CENTRAL, OTHERS) == OTHERS


def test_further_votes_see_both_by_turns_each_in_an_order_of_its_own() -> None:
    third, fourth = extracts_of(2, CENTRAL, OTHERS), extracts_of(3, CENTRAL, OTHERS)
    assert sorted(third) == sorted(fourth) == sorted(CENTRAL + OTHERS)
    assert third != fourth
    assert [text.split()[0] for text in third[:6]] == ["central", "other"] * 3
    assert third == extracts_of(2, CENTRAL, OTHERS)


def test_a_cluster_without_others_is_split_between_the_first_two_votes() -> None:
    assert extracts_of(0, CENTRAL, []) == ["central 0", "central 2"]
    assert extracts_of(1, CENTRAL, []) == ["central 1", "central 3"]


@pytest.mark.parametrize("form", ["chat", "text"])
def test_a_question_shows_as_many_extracts_as_it_has_room_for(form: Any) -> None:
    extracts = [f"extract {number} " + "word " * 40 for number in range(20)]
    labelling = Labelling(form=form, question_tokens=400)
    shown = fitted(extracts, [], labelling, words)
    assert 2 < len(shown) < 20
    assert shown == extracts[: len(shown)]
    assert words(question(shown, [], form)) <= 400 < words(question(extracts[: len(shown) + 1], [], form)) + 12


def test_one_extract_is_shown_however_long_it_is() -> None:
    assert fitted(["word " * 5000, "more"], [], Labelling(question_tokens=200), words) == ["word " * 5000]


def test_an_answer_is_topic_reason_and_score() -> None:
    vote = parse(answer(topic=" Ocean  Tides"), [], "chat")
    assert (vote.topic, vote.score, vote.reason) == ("Ocean Tides", 8.0, "It is taught at school.")


@pytest.mark.parametrize(
    "text",
    [
        "Ocean tides",
        "[]",
        "null",
        answer(topic=None),
        answer(topic="12"),
        answer(topic="--- ---"),
        answer(topic="x" * 61),
        answer(reason=None),
        answer(reason="..."),
        answer(educational_score=None),
        answer(educational_score=0),
        answer(educational_score=11),
        answer(educational_score=True),
        answer(educational_score="8"),
        answer()[:-5],
    ],
)
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text, [], "chat")


def test_with_choices_no_other_topic_counts() -> None:
    assert parse(answer(), ["Ocean Tides", "Reefs"], "chat").topic == "Ocean Tides"
    with pytest.raises(ValueError, match="none of the choices"):
        parse(answer(), ["Reefs"], "chat")
    assert answer_schema(["Reefs"])["properties"]["topic"] == {"enum": ["Reefs"]}


@pytest.mark.parametrize(
    "heading", ["AI", "\N{CJK UNIFIED IDEOGRAPH-6570}", "A " * 50 + "b", "Law  and order ", "Économie"]
)
def test_a_heading_of_the_recipe_may_be_chosen_whatever_its_form(heading: str) -> None:
    assert parse(answer(topic=heading), ["Reefs", heading], "chat").topic == heading
    assert re.fullmatch(answer_pattern(["Reefs", heading]), f" {heading}\nKind: guide\n")
    assert parse(f" {heading}\nKind: guide\n", ["Reefs", heading], "text").topic == heading
    assert "\\É" not in answer_pattern([heading]), "an escape that not every engine knows"


def test_a_catalogue_entry_is_a_topic_and_a_kind_with_its_score() -> None:
    vote = parse(" Ocean Tides\nKind: guide\n", [], "text")
    assert (vote.topic, vote.score) == ("Ocean Tides", KINDS["guide"])
    assert "guide" in vote.reason


@pytest.mark.parametrize("text", [" Ocean Tides", " Ocean Tides\nKind: poem\n", "\nKind: news\n", answer()])
def test_what_is_no_catalogue_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text, [], "text")


def test_the_pattern_allows_what_can_be_read_and_nothing_else() -> None:
    free, chosen = answer_pattern([]), answer_pattern(["Crafts (home)", "Cooking"])
    for topic, kind in ((topic, kind) for _, topic, kind in EXAMPLES):
        assert re.fullmatch(free, f" {topic}\nKind: {kind}\n")
    assert re.fullmatch(chosen, " Crafts (home)\nKind: guide\n")
    assert not re.fullmatch(chosen, " Crafts\nKind: guide\n")
    assert not re.fullmatch(free, " Tides\nKind: guide")


def test_the_examples_name_every_kind() -> None:
    assert {kind for _, _, kind in EXAMPLES} == set(KINDS)


def test_text_goes_without_a_chat_template_and_chat_with_one() -> None:
    assert "messages" not in body("q", [], "text")
    assert body("q", [], "chat")["messages"] == [{"role": "user", "content": "q"}]
