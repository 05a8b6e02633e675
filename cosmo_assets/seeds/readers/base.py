"""What a reader is, what it yields, and how a record becomes a raw seed.

Belongs here: the three outcomes of a row, the type of readers, picking and checking of fields. Does not belong here:
bytes and damaged files (`streams`) or any one format.
"""

import html
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as data_field
from pathlib import Path
from typing import Any

from cosmo_assets.seeds.readers.licences import all_of, stated_licence
from cosmo_resources.storage.digest import digest


@dataclass(frozen=True)
class RawSeed:
    """A document as its source has it: not cleaned, not masked.

    `context` says where it stands in its source, from the outside in (book, unit, chapter). `licence` and `attribution`
    are set only where the source itself states them; the recipe's hold otherwise. `place` is "file.jsonl:17", where
    a reader of records says it; what a document is does not depend on it.
    """

    native_id: str
    text: str
    title: str | None = None
    context: tuple[str, ...] = ()
    url: str | None = None
    licence: str | None = None
    attribution: str | None = None
    place: str | None = data_field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read. `place` is "file.jsonl:17" (or the file alone, where the whole of it is concerned),
    `reason` a short slug to count by, `detail` for the person who mends it."""

    place: str
    reason: str
    field: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A sound row that is left out on purpose: a redirect, a repeated title, a category that the recipe excludes, a
    book whose licence is stated in two ways (`detail` then says both)."""

    place: str
    reason: str
    detail: str | None = None


Row = RawSeed | BadRow | Skipped
Reader = Callable[[Path, Mapping[str, Any]], Iterator[Row]]
"""Reads ONE file, with the options of the recipe's source. Rows come in the file's order; bad input comes as `BadRow`;
a file of which nothing can be read raises `CosmoError`, at the first row that is asked for."""

RECORD_OPTIONS: Mapping[str, Any] = {
    "text": "text",
    "id": "id",
    "title": "title",
    "url": "url",
    "licence": "license",
    "attribution": "attribution",
}
"""Options of every reader of records, with their defaults: the names of the fields."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class BadFieldError(Exception):
    """A field that is missing or has the wrong type; a reader turns it into a `BadRow`."""

    def __init__(self, reason: str, field: str, detail: str | None = None) -> None:
        super().__init__(f"{field}: {reason}")
        self.reason = reason
        self.field = field
        self.detail = detail

    def row(self, place: str) -> BadRow:
        return BadRow(place, self.reason, self.field, self.detail)


def field(row: Any, name: str) -> Any:
    """The value of a field, None where it is missing. A dotted name reaches into objects and, by number, into lists
    ("messages.0.content"); a key that itself has the dots goes first. NaN, pandas' null, counts as missing.

    Raises:
        BadFieldError: the row is not an object.
    """
    if not (type(row) is dict or isinstance(row, Mapping)):  # the first is the rule, and quickly told
        raise BadFieldError("wrong_type", name, f"expected an object with fields, got {_kind(row)}")
    value: Any = row
    for part in [name] if name in row else name.split("."):
        if type(value) is dict or isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return None if isinstance(value, float) and math.isnan(value) else value


def required_text(row: Any, name: str) -> str:
    """The text in a field.

    Raises:
        BadFieldError: missing_field, wrong_type or empty_field.
    """
    value = field(row, name)
    if value is None:
        present = name in row
        raise BadFieldError(
            "missing_field", name, "it is null" if present else f"fields: {', '.join(map(str, list(row)[:12]))}"
        )
    if not isinstance(value, str):
        raise BadFieldError("wrong_type", name, f"expected text, got {_kind(value)}")
    if not value.strip():
        raise BadFieldError("empty_field", name)
    return sound(value)


def optional_text(row: Any, name: str) -> str | None:
    """The text in a field, or None where it is missing, null or blank. A number is taken as text ("1984").

    Raises:
        BadFieldError: wrong_type.
    """
    value = field(row, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadFieldError("wrong_type", name, f"expected text, got {_kind(value)}")
    text = sound(str(value)).strip()
    return text or None


def record(place: str, row: Any, options: Mapping[str, Any]) -> RawSeed | BadRow:
    """A record with the fields of `RECORD_OPTIONS` as a seed. A missing id falls back to the URL, then to a digest of
    the text. Licence and attribution may be lists: a text under several licences must keep to each of them."""
    names = {**RECORD_OPTIONS, **options}
    try:
        text = required_text(row, names["text"])
        url = optional_text(row, names["url"])
        return RawSeed(
            native_id=optional_text(row, names["id"]) or url or digest(text),
            text=text,
            title=optional_text(row, names["title"]),
            url=url,
            licence=all_of(map(stated_licence, _texts(row, names["licence"]))),
            attribution=", ".join(_texts(row, names["attribution"])) or None,
            place=place,
        )
    except BadFieldError as bad:
        return bad.row(place)


def _texts(row: Any, name: str) -> list[str]:
    """The texts in a field that holds one or a list of them.

    Raises:
        BadFieldError: wrong_type.
    """
    value = field(row, name)
    if not isinstance(value, list):
        text = optional_text(row, name)
        return [text] if text else []
    if not all(isinstance(item, str) for item in value):
        raise BadFieldError("wrong_type", name, "expected text or a list of texts")
    return [sound(item).strip() for item in value if item.strip()]


def sound(text: str) -> str:
    """Text that can be written as UTF-8: lone surrogates (JSON's "\\ud83d" cut in half) become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def unescaped(text: str) -> str:
    """Text without HTML character references, white space collapsed: for titles and descriptions of one line."""
    return " ".join(html.unescape(text).split())


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
