"""Benchmark files: what of a row is an item's text, and rows that cannot be read."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.decontamination.benchmarks import Item, read_items
from cosmo_resources.errors import CosmoError


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_items_are_read_with_context_question_and_answer(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "context": "In the cell.", "question": "Which one?", "answer": "This", "choices": ["That"]},
        {"id": "b", "context": None, "question": "Caf\u2028é?", "answer": "", "split": "test"},
        {"id": "c", "question": "", "answer": "Only an answer"},
    ]
    path = write(tmp_path / "b.jsonl", rows)
    path.write_text("\ufeff" + path.read_text(encoding="utf-8").replace("\n", "\r\n\n"), encoding="utf-8", newline="")
    items = list(read_items("bench", path))
    assert items == [
        Item("bench", "7", "In the cell.\nWhich one?", "This"),
        Item("bench", "b", "Caf\u2028é?", ""),
        Item("bench", "c", "", "Only an answer"),
    ]
    assert [item.text for item in items] == ["In the cell.\nWhich one?\nThis", "Caf\u2028é?", "Only an answer"]


def test_an_unescaped_line_separator_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"id": "1", "question": "one\u2028two\u0085three", "answer": "x"}\n', encoding="utf-8")
    assert [item.asked for item in read_items("bench", path)] == ["one\u2028two\u0085three"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "2", "question": "q", "answer": ',
        b'["2", "q", "a"]',
        b'"text"',
        b"null",
        b'{"question": "q", "answer": "a"}',
        b'{"id": "2", "answer": "a"}',
        b'{"id": "2", "question": "q"}',
        b'{"id": "2", "question": "caf\xe9", "answer": "a"}',
    ],
    ids=["cut", "list", "string", "null", "no id", "no question", "no answer", "not UTF-8"],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_bytes(b'{"id": "1", "question": "q", "answer": "a"}\n\n' + line + b"\n")
    with pytest.raises(CosmoError, match=r"bench\.jsonl:3: benchmark science") as caught:
        list(read_items("science", path))
    assert str(path) in caught.value.message
    assert "id, question and answer" in caught.value.remedy
