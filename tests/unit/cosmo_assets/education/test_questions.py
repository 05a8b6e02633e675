"""The question what a text teaches: what it holds, and which answers can be read."""

import json

import pytest

from cosmo_assets.education.questions import SCALE, body, parse, question


def test_a_question_shows_the_text_once_and_what_every_score_means() -> None:
    text = question("Rivers carry sand.")
    assert text.count("Rivers carry sand.") == 1
    assert [text.count(f"\n{score}: {meaning}\n") for score, meaning in enumerate(SCALE)] == [1] * 6


def test_the_form_of_the_answer_is_bound_to_the_scale() -> None:
    schema = body("Rivers carry sand.")["response_format"]["json_schema"]["schema"]
    bounds = schema["properties"]["teaching_value"]
    assert (bounds["minimum"], bounds["maximum"]) == (0, 5)
    assert list(schema["properties"]) == ["reason", "teaching_value"], "the score follows from the reason"


@pytest.mark.parametrize(
    "answer",
    [
        '{"reason": "It explains\\n tides.", "teaching_value": 4}',
        'I think {so}. ```json\n{"reason": "It explains tides.", "teaching_value": 4}\n```',
    ],
)
def test_an_answer_is_read_with_what_stands_around_it(answer: str) -> None:
    assert parse(answer) == (4, "It explains tides.")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "4",
        "[4]",
        '{"reason": "It explains tides."}',
        '{"reason": "Fine.", "teaching_value": 6}',
        '{"reason": "Fine.", "teaching_value": -1}',
        '{"reason": "Fine.", "teaching_value": 3.5}',
        '{"reason": "Fine.", "teaching_value": true}',
        '{"reason": "Fine.", "teaching_value": "4"}',
        '{"reason": "...", "teaching_value": 4}',
        '{"teaching_value": 4}',
        '{"reason": "Fine.", "teaching_value": 4',
    ],
)
def test_what_is_no_answer_is_refused(answer: str) -> None:
    with pytest.raises(ValueError):
        parse(answer)


def test_a_reason_may_hold_brackets() -> None:
    assert parse(json.dumps({"reason": "It has {sets} and } too", "teaching_value": 2})).reason.startswith("It has")
