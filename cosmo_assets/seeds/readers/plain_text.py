"""Reader of plain text without any structure but its line ends.

Belongs here: cutting a running text into documents. Does not belong here: files with one title per line (`outlines`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row
from cosmo_assets.seeds.readers.streams import lines
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest

PLAIN_TEXT_OPTIONS: Mapping[str, Any] = {"separator": "blank_line", "document_chars": None}
"""`separator`: "blank_line" (a blank line ends a document) or "none" (nothing says where one ends). `document_chars`:
the size, in characters, beyond which a document is cut, at a paragraph's end; by default `DOCUMENT_CHARS`."""

DOCUMENT_CHARS = {"blank_line": 50_000, "none": 3_000}

_SENTENCE_END = re.compile(r"[.!?]['\")\]’”]*\s+")


def plain_text(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """Text in which a line is a paragraph. A document's native id is the digest of its text, so that it keeps it when
    others come before it. A paragraph longer than `document_chars` is cut at a sentence's end.

    Raises:
        CosmoError: an option has another value than those of `PLAIN_TEXT_OPTIONS`.
    """
    chosen = {**PLAIN_TEXT_OPTIONS, **options}
    separator = chosen["separator"]
    if separator not in DOCUMENT_CHARS:
        known = ", ".join(DOCUMENT_CHARS)
        raise CosmoError(f"{path}: option separator: no such value: {separator!r}", remedy=f"set it to one of: {known}")
    limit = chosen["document_chars"] or DOCUMENT_CHARS[separator]
    if not isinstance(limit, int) or limit < 1:
        raise CosmoError(
            f"{path}: option document_chars: not a number of characters: {limit!r}", remedy="set it to 3000"
        )
    held: list[str] = []
    size = 0
    for line in lines(path):
        if isinstance(line, BadRow):
            yield line
            continue
        if not line.text.strip():
            if separator == "blank_line" and held:
                yield _document(held)
                held, size = [], 0
            continue
        for paragraph in _pieces(line.text, limit):
            if held and size + len(paragraph) > limit:
                yield _document(held)
                held, size = [], 0
            held.append(paragraph)
            size += len(paragraph) + 1
    if held:
        yield _document(held)


def _document(paragraphs: list[str]) -> RawSeed:
    text = "\n".join(paragraphs)
    return RawSeed(digest(text), text)


def _pieces(paragraph: str, limit: int) -> Iterator[str]:
    """A paragraph in pieces of at most `limit` characters: cut after a sentence, else at a space, else anywhere."""
    start = 0
    while len(paragraph) - start > limit:
        window = paragraph[start : start + limit]
        ends = [match.end() for match in _SENTENCE_END.finditer(window)]
        cut = ends[-1] if ends else window.rfind(" ") + 1 or limit
        start += cut
        if piece := window[:cut].strip():
            yield piece
    if rest := paragraph[start:].strip():
        yield rest
