"""What can be withdrawn: the keys, and reading lists of them.

Belongs here: the keys, the columns that they stand for, reading lists. Does not belong here: the record (`record`).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmo_resources.errors import CosmoError

COLUMNS = {
    "doc": "doc_id",
    "prompt": "prompt_id",
    "seed": "seed_id",
    "source": "source",
    "topic": "topic",
    "template": "template",
    "model": "model",
    "licence": "licence",
}
"""The keys of a withdrawal, and their columns in the token index."""

IDS = ("doc", "prompt", "seed")
"""Those whose values are ids."""

MAX_SHOWN = 20
"""Faulty lines of a list that an error names."""

_ID = re.compile(r"[0-9a-f]{32}")


class Item(NamedTuple):
    """One thing to withdraw: all documents whose column of this key has this value."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key} {self.value}"


def is_id(value: str) -> bool:
    return _ID.fullmatch(value) is not None


def read_items(path: Path, key: str | None = None) -> list[Item]:
    """The items of a list: a line each, `KEY VALUE` or a JSON object with "key" and "value"; where `key` is given, a
    line is a value of that key. Empty lines and those that begin with # are passed over.

    Raises:
        CosmoError: lines that say nothing of the kind; all of them are named.
    """
    found: list[Item] = []
    faults: list[str] = []
    for number, line in _lines(path):
        try:
            found.append(_item(line, key))
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    if faults:
        more = [f"and {len(faults) - MAX_SHOWN} more"] if len(faults) > MAX_SHOWN else []
        raise CosmoError(
            "\n".join([*faults[:MAX_SHOWN], *more]), remedy="correct these lines; nothing of the list was taken"
        )
    if not found:
        raise CosmoError(f"{path}: the list is empty", remedy="write `KEY VALUE` on each line, as in: source web_pages")
    return list(dict.fromkeys(found))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise CosmoError(f"{path}:{number}: not UTF-8", remedy="save the list as UTF-8") from error
    for number, line in enumerate(text.splitlines(), 1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield number, stripped


def _item(line: str, key: str | None) -> Item:
    if line.startswith("{"):
        item = _json_item(line)
    elif key is not None:
        item = Item(key, line)
    else:
        name, *value = line.split(None, 1)
        item = Item(name, "".join(value))
        if not item.value:
            raise ValueError(f"{line!r} is not `KEY VALUE`: which key? one of {', '.join(COLUMNS)}, or give --key")
    if item.key not in COLUMNS:
        raise ValueError(f"no key {item.key!r}: one of {', '.join(COLUMNS)}")
    if item.key in IDS and not is_id(item.value):
        raise ValueError(f"{item.value!r} is no id of a {item.key}: 32 hexadecimal digits")
    return item


def _json_item(line: str) -> Item:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    for name in ("key", "value"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise ValueError(f'the field "{name}" is missing or no text')
    return Item(row["key"], row["value"])
