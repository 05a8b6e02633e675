"""Plain text: where a document ends."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row
from cosmo_assets.seeds.readers.registry import read
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest


def rows_of(tmp_path: Path, content: bytes, **options: Any) -> list[Row]:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    return list(read("text", "plain_text", path, options))


def texts(rows: list[Row]) -> list[str]:
    return [row.text for row in rows if isinstance(row, RawSeed)]


def test_a_blank_line_ends_a_document(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"one\nstill one\n\n \t\r\ntwo\r\n\n\n")
    assert texts(rows) == ["one\nstill one", "two"]
    assert isinstance(rows[0], RawSeed)
    assert rows[0].native_id == digest("one\nstill one"), "an id that stays when a document is put before it"


def test_without_separators_a_document_ends_at_the_paragraph_before_its_size(tmp_path: Path) -> None:
    paragraphs = [f"{number} " + "word " * 18 + "end." for number in range(40)]
    rows = rows_of(tmp_path, "\n".join(paragraphs).encode(), separator="none", document_chars=500)
    found = texts(rows)
    assert [line for text in found for line in text.split("\n")] == paragraphs, "nothing is lost or cut"
    assert all(300 < len(text) <= 500 for text in found[:-1])


def test_a_long_paragraph_is_cut_after_a_sentence_else_at_a_space_else_anywhere(tmp_path: Path) -> None:
    sentences = "A sentence of some length. " * 30
    assert all(text.endswith(".") for text in texts(rows_of(tmp_path, sentences.encode(), document_chars=100)))
    words = "word " * 100
    assert set(" ".join(texts(rows_of(tmp_path, words.encode(), document_chars=33))).split()) == {"word"}
    solid = texts(rows_of(tmp_path, b"x" * 250, document_chars=100))
    assert [len(text) for text in solid] == [100, 100, 50]
    spaces = texts(rows_of(tmp_path, b"a" + b" " * 500 + b"b", document_chars=100))
    assert "".join("".join(spaces).split()) == "ab"


def test_a_bad_line_is_recorded_and_the_document_goes_on(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"one\n\xff\xfe bad\ntwo\n")
    assert texts(rows) == ["one\ntwo"]
    assert [(row.place, row.reason) for row in rows if isinstance(row, BadRow)] == [("a.txt:2", "not_utf8")]


@pytest.mark.parametrize("options", [{"separator": "page"}, {"document_chars": -1}, {"document_chars": "many"}])
def test_other_values_of_the_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(CosmoError, match=f"option {next(iter(options))}"):
        rows_of(tmp_path, b"x", **options)
