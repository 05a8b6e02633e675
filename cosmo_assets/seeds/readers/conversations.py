"""Readers of conversations: UltraChat and OpenHermes-2.5, which seed the stories as in Cosmopedia.

Belongs here: which turns make the seed, and which rows the recipe leaves out. Does not belong here: records whose text
is one field (`records`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmo_assets.seeds.readers.base import BadFieldError, BadRow, RawSeed, Row, Skipped, field, optional_text, sound
from cosmo_assets.seeds.readers.streams import json_rows
from cosmo_resources.storage.digest import digest

ULTRACHAT_OPTIONS: Mapping[str, Any] = {}
OPENHERMES_OPTIONS: Mapping[str, Any] = {
    "sources": [],
    "categories": [],
    "exclude_sources": [],
    "exclude_categories": [],
    "languages": ["English"],
}
"""Where `sources` or `categories` name any, only their rows are taken, so none without one; rows of excluded ones are
skipped, and rows in other languages; a row without a language is English."""

_TURN_FIELDS = ("data", "messages", "conversations")
_USER = {"user", "human"}
_ASSISTANT = {"assistant", "gpt"}


def ultrachat(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """UltraChat: the seed is the first user turn. Reads the original rows (`data`: texts in turn, user first) and
    UltraChat 200k (`messages` with role and content)."""
    for item in json_rows(path):
        yield item if isinstance(item, BadRow) else _ultrachat(*item)


def _ultrachat(place: str, row: Any) -> Row:
    try:
        name, turns = _turns(row)
        text = _words(name, turns, _USER, "no user turn")
        native_id = optional_text(row, "id") or optional_text(row, "prompt_id") or digest(text)
        return RawSeed(native_id=native_id, text=text)
    except BadFieldError as bad:
        return bad.row(place)


def openhermes(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """OpenHermes-2.5 (one JSON array, or JSON Lines): the seed is the first human turn, a line end, the first answer.
    Most rows have no id: theirs is a digest of the text."""
    chosen = {**OPENHERMES_OPTIONS, **options}
    for item in json_rows(path):
        yield item if isinstance(item, BadRow) else _openhermes(*item, chosen)


def _openhermes(place: str, row: Any, options: Mapping[str, Any]) -> Row:
    try:
        for name, plural in (("source", "sources"), ("category", "categories")):
            value = optional_text(row, name)
            if (options[plural] and value not in options[plural]) or value in options[f"exclude_{plural}"]:
                return Skipped(place, f"excluded_{name}", value)
        if (optional_text(row, "language") or "English") not in options["languages"]:
            return Skipped(place, "excluded_language")
        name, turns = _turns(row)
        question = _words(name, turns, _USER, "no human turn")
        text = f"{question}\n{_words(name, turns, _ASSISTANT, 'no answer')}"
        return RawSeed(optional_text(row, "id") or digest(text), text, title=optional_text(row, "title"))
    except BadFieldError as bad:
        return bad.row(place)


Turns = Iterator[tuple[int, Any, Any]]
"""What is left of a conversation: number, speaker and words of each turn."""


def _turns(row: Any) -> tuple[str, Turns]:
    """The name of the field that holds the turns, and the turns.

    Raises:
        BadFieldError: there is none, or it holds no list; at a turn that is none.
    """
    name = next((name for name in _TURN_FIELDS if field(row, name) is not None), None)
    if name is None:
        raise BadFieldError("missing_field", _TURN_FIELDS[0], f"none of {', '.join(_TURN_FIELDS)}")
    value = field(row, name)
    if not isinstance(value, list):
        raise BadFieldError("wrong_type", name, "expected a list of turns")
    return name, _each(name, value)


def _each(name: str, turns: list[Any]) -> Turns:
    for number, turn in enumerate(turns):
        if isinstance(turn, str):
            yield number, ("user", "assistant")[number % 2], turn
        elif isinstance(turn, Mapping):
            yield number, turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        else:
            raise BadFieldError("wrong_type", f"{name}.{number}", "expected a speaker and his words")


def _words(name: str, turns: Turns, speakers: set[str], missing: str) -> str:
    """The words of the next turn of one of some speakers. What other turns hold does not matter.

    Raises:
        BadFieldError: there is none (`missing` says so), or its words are no text, or blank.
    """
    for number, speaker, words in turns:
        if not isinstance(speaker, str) or (speaker in speakers and not isinstance(words, str)):
            raise BadFieldError("wrong_type", f"{name}.{number}", "expected a speaker and his words")
        if speaker in speakers:
            if not words.strip():
                raise BadFieldError("empty_field", f"{name}.{number}")
            return sound(words)
    raise BadFieldError("missing_turn", name, missing)
