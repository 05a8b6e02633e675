"""Conversations: which turns make the seed, and which rows are left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.registry import read
from cosmo_resources.storage.digest import digest


def rows_of(tmp_path: Path, reader: str, content: Any, **options: Any) -> list[Row]:
    path = tmp_path / "chat.json"
    lines = isinstance(content, tuple)
    path.write_text("\n".join(map(json.dumps, content)) if lines else json.dumps(content), encoding="utf-8")
    return list(read("chat", reader, path, options))


def turns(*words: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[number % 2], "value": value} for number, value in enumerate(words)]


def test_ultrachat_gives_the_first_user_turn(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path,
        "ultrachat",
        (
            {"id": "0", "data": ["Why?", "Because.", "And then?", "Then."]},
            {
                "prompt_id": "p",
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How?"}],
            },
            {"data": ["Who?", "Me."]},
        ),
    )
    assert rows == [RawSeed("0", "Why?"), RawSeed("p", "How?"), RawSeed(digest("Who?"), "Who?")]


def test_openhermes_gives_the_first_question_and_its_answer(tmp_path: Path) -> None:
    system = {"from": "system", "value": "You are helpful."}
    conversations = [system, *turns("What is rain?", "Water.", "More?", "No.")]
    content = [{"conversations": conversations, "source": "x", "id": None, "title": "Rain", "language": None}]
    expected = "What is rain?\nWater."
    assert rows_of(tmp_path, "openhermes", content) == [RawSeed(digest(expected), expected, title="Rain")]
    assert rows_of(tmp_path, "openhermes", tuple(content)) == [RawSeed(digest(expected), expected, title="Rain")]


def test_an_answer_before_the_question_does_not_count(tmp_path: Path) -> None:
    greeting = {"from": "gpt", "value": "How can I help?"}
    (row,) = rows_of(tmp_path, "openhermes", [{"conversations": [greeting, *turns("What is rain?", "Water.")]}])
    assert isinstance(row, RawSeed)
    assert row.text == "What is rain?\nWater."


def test_openhermes_leaves_out_what_the_recipe_excludes(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"source": "camelai"},
        {"category": "coding"},
        {"language": "French"},
        {"language": "English", "source": "other", "category": "general"},
        {},
    ]
    content = [{**extra, "conversations": turns(f"question {number}", "answer")} for number, extra in enumerate(fields)]
    options = {"exclude_sources": ["camelai"], "exclude_categories": ["coding", "rp"]}
    rows = rows_of(tmp_path, "openhermes", content, **options)
    assert [row.reason for row in rows if isinstance(row, Skipped)] == [
        "excluded_source",
        "excluded_category",
        "excluded_language",
    ]
    assert [row.text for row in rows if isinstance(row, RawSeed)] == ["question 3\nanswer", "question 4\nanswer"]
    assert rows[0] == Skipped("chat.json:1", "excluded_source", "camelai")
    french = rows_of(tmp_path, "openhermes", content, languages=["French"])
    assert [row.text for row in french if isinstance(row, RawSeed)] == ["question 2\nanswer"]


def test_openhermes_takes_only_what_the_recipe_names(tmp_path: Path) -> None:
    fields = [{"source": "a"}, {"source": "b"}, {"source": "a", "category": "rp"}, {"category": "plan"}, {}]
    content = [{**extra, "conversations": turns(f"question {number}", "answer")} for number, extra in enumerate(fields)]
    for options, taken in (
        ({"sources": ["a"]}, [0, 2]),
        ({"sources": ["a"], "exclude_categories": ["rp"]}, [0]),
        ({"categories": ["plan", "rp"]}, [2, 3]),
        ({"sources": ["a"], "exclude_sources": ["a"]}, []),
    ):
        rows = rows_of(tmp_path, "openhermes", content, **options)
        assert [row.text for row in rows if isinstance(row, RawSeed)] == [f"question {n}\nanswer" for n in taken]
        assert len(rows) == 5


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({"id": "1"}, "missing_field", "data"),
        ({"data": "text"}, "wrong_type", "data"),
        ({"data": [1, 2]}, "wrong_type", "data.0"),
        ({"data": []}, "missing_turn", "data"),
        ({"data": [" ", "answer"]}, "empty_field", "data.0"),
        ({"conversations": [{"from": "gpt", "value": "Hello."}]}, "missing_turn", "conversations"),
        ({"messages": [{"role": "user"}]}, "wrong_type", "messages.0"),
        ([1], "wrong_type", "data"),
    ],
)
def test_conversations_without_the_turn_are_bad_rows(tmp_path: Path, row: Any, reason: str, field: str) -> None:
    assert [(bad.reason, bad.field) for bad in rows_of(tmp_path, "ultrachat", (row,)) if isinstance(bad, BadRow)] in (
        [(reason, field)],
        [(reason, "0")],
    ), row


def test_an_empty_answer_is_a_bad_row_wherever_it_stands(tmp_path: Path) -> None:
    system = {"from": "system", "value": "Be brief."}
    for above in ([], [system], [system, {"from": "gpt", "value": "How can I help?"}]):
        (row,) = rows_of(tmp_path, "openhermes", [{"conversations": [*above, *turns("Why?", " ")]}])
        assert row == BadRow("chat.json:1", "empty_field", f"conversations.{len(above) + 1}")


def test_turns_that_are_not_used_may_hold_anything(tmp_path: Path) -> None:
    used = [{"from": "system", "value": None}, *turns("Why?", "Because.")]
    for later in ({"from": "human", "value": None}, {"from": None}, None, {"from": "gpt", "value": ""}):
        (row,) = rows_of(tmp_path, "openhermes", [{"conversations": [*used, later]}])
        assert isinstance(row, RawSeed)
        assert row.text == "Why?\nBecause."
    assert rows_of(tmp_path, "ultrachat", ({"id": "0", "data": ["Why?", None, 7]},)) == [RawSeed("0", "Why?")]


def test_a_question_without_an_answer_is_a_bad_row(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, "openhermes", [{"conversations": turns("alone")}])
    assert row == BadRow("chat.json:1", "missing_turn", "conversations", "no answer")
