"""Marks: what is wrong with an answer on its face."""

import pytest

from cosmo_assets.generation.marks import MARKS, OPENING, marks_of

STORY = "A keeper of the far island lit the green lamp before dusk, and ships on the dark water turned from the rocks. "


@pytest.mark.parametrize(
    ("text", "finish", "marks"),
    [
        (STORY, "stop", []),
        (STORY, "length", ["truncated"]),
        ("", "stop", ["empty"]),
        ("  \n*** … ---", "stop", ["empty"]),
        ("", "length", ["truncated", "empty"]),
        ("I'm sorry, but that is not something for me.", "stop", ["refusal"]),
        ("I cannot assist with that request.", "stop", ["refusal"]),
        ("I can’t write about this.", "stop", ["refusal"]),
        ("As an AI, I have no lamp.", "stop", ["refusal"]),
        ("As a large language model I know lamps.", "stop", ["refusal"]),
        ("The keeper said: I can see the ships, and I will write it down.", "stop", []),
        (STORY * 3 + " He called: I am sorry, I cannot help you!", "stop", ["repetitive"]),
        (STORY * 2, "stop", ["repetitive"]),
        ("the same word " * 40, "length", ["truncated", "repetitive"]),
        ("three words only", "stop", []),
    ],
)
def test_marks(text: str, finish: str, marks: list[str]) -> None:
    assert marks_of(text, finish) == marks


def test_marks_come_in_their_own_order() -> None:
    assert list(MARKS) == ["truncated", "empty", "refusal", "repetitive"]


def test_a_refusal_is_looked_for_at_the_start_alone() -> None:
    text = " ".join(f"word{number}" for number in range(100))
    assert len(text) > OPENING
    assert marks_of(f"{text} I cannot help you.", "stop") == []
    assert marks_of(f"I cannot help you. {text}", "stop") == ["refusal"]
