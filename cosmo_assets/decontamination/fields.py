"""What a row of a benchmark says: context, question, choices and right answer, wherever its fields hold them.

Belongs here: layouts of rows, and the ways in which choices and answers are written down. Does not belong here: what of
it is searched for (`benchmarks`), or files (`cosmo_assets.seeds.readers`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, NamedTuple

from cosmo_assets.recipe.decontamination import BenchmarkFields
from cosmo_assets.seeds.readers.base import BadFieldError, field, sound

Columns = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Question:
    """What a row says; `answer` is empty where the benchmark keeps it to itself."""

    context: str
    question: str
    choices: tuple[str, ...]
    answer: str


def columns_of(there: list[str], layouts: Sequence[BenchmarkFields]) -> list[str]:
    """The columns of a table that the layouts name; all of them where none is, for an error to tell."""
    named = {name for layout in layouts for name in _names(layout)}
    wanted = {*named, *(name.split(".")[0] for name in named)}
    return [column for column in there if column in wanted] or there


def _names(layout: BenchmarkFields) -> Iterator[str]:
    for columns in (layout.id, layout.context, layout.question, layout.choices, layout.answer):
        yield from _each(columns)


def _each(columns: Columns) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else columns or ()


def required(layout: BenchmarkFields) -> list[str]:
    """The fields that a row must have to be laid out so: all but those that have their usual name and may be absent."""
    usual = BenchmarkFields()
    optional = ((layout.id, usual.id), (layout.context, usual.context), (layout.choices, usual.choices))
    needed = [name for columns, known in optional if columns != known for name in _each(columns)]
    return [*_each(layout.question), *_each(layout.answer), *needed]


def layout_of(row: Any, layouts: Sequence[BenchmarkFields]) -> BenchmarkFields:
    """The first layout of which a row has all fields.

    Raises:
        BadFieldError: it has none; the field is the first that the last layout lacks.
    """
    for layout in layouts:
        lacking = [name for name in required(layout) if not _has(row, name)]
        if not lacking:
            return layout
    raise BadFieldError("missing_field", lacking[0], f"it has {', '.join(map(repr, list(row)[:12]))}")


def _has(row: Any, name: str) -> bool:
    """Whether a field is there, be it null."""
    if field(row, name) is not None or name in row:
        return True
    outer, _, last = name.rpartition(".")
    holder = field(row, outer) if outer else None
    return isinstance(holder, Mapping) and last in holder


def id_of(row: Any, layout: BenchmarkFields) -> str:
    """Empty where the row's number has to do.

    Raises:
        BadFieldError: a field that the recipe names has no id.
    """
    if layout.id is None:
        return ""
    key = _text(row, layout.id)
    if not key and _has(row, layout.id):
        raise BadFieldError("empty_field", layout.id)
    return key


def question_of(row: Any, layout: BenchmarkFields) -> Question:
    """What a row of this layout says.

    Raises:
        BadFieldError: wrong_type; or no_choice, an answer that is none of the choices.
    """
    choices = _choices(row, layout.choices)
    return Question(
        context=_text(row, layout.context) if layout.context else "",
        question=lines(*(_text(row, name) for name in _each(layout.question))),
        choices=choices.texts,
        answer=_answer(row, layout.answer, layout.answer_as, choices) if layout.answer else "",
    )


class _Choices(NamedTuple):
    """`worded`: written as texts, not as numbers."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    worded: bool


def _choices(row: Any, columns: Columns) -> _Choices:
    """The choices of a row: in a field each, in a list of texts or of objects with `text` and `label`, or in an object
    with the lists `text` and `label`."""
    found: Any
    labels: Any = []
    if not isinstance(columns, str):
        found = [field(row, name) for name in columns or ()]
    elif isinstance(value := field(row, columns), Mapping):
        found, labels = value.get("text"), value.get("label")
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        found, labels = [each.get("text") for each in value], [each.get("label") for each in value]
    else:
        found = [] if value is None else value
    name = ", ".join(_each(columns))
    if not isinstance(found, list) or not isinstance(labels, list) or len(labels) not in (0, len(found)):
        raise BadFieldError("wrong_type", name, "expected a list of choices, or lists of their text and label")
    texts = tuple(_as_text(each, name) for each in found)
    known = tuple(_as_text(each, name) for each in labels)
    worded = any(isinstance(each, str) for each in found)
    return _Choices(texts, known or tuple(map(letter, range(len(texts)))), worded)


def _answer(row: Any, name: str, kind: str, choices: _Choices) -> str:
    """The right answer in words; empty where the row keeps it to itself: null, an empty text, -1 as index."""
    value = field(row, name)
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or value == "":
        return ""
    if kind == "text":
        if not (choices.worded and isinstance(value, int) and not isinstance(value, bool)):
            text = _as_text(value, name)
            if len(text) == 1 and text in choices.labels and text not in choices.texts:
                raise BadFieldError("no_choice", name, f"{text!r} is the label of a choice: set answer_as: label")
            return text
        kind = "index"
    if kind == "label":
        text = _as_text(value, name).strip()
        place = choices.labels.index(text) if text in choices.labels else -1
    else:
        place = _whole_number(value, name) - (kind == "number")
        if place == -1 and kind == "index":
            return ""
    if not 0 <= place < len(choices.texts):
        raise BadFieldError("no_choice", name, f"{value!r}, as {kind}, is none of its {len(choices.texts)} choices")
    return choices.texts[place]


def _whole_number(value: Any, name: str) -> int:
    try:
        return int(str(value).strip().removesuffix(".0"))  # a column with nulls holds floats
    except ValueError:
        raise BadFieldError("wrong_type", name, f"expected the place of a choice, got {value!r}") from None


def _text(row: Any, name: str) -> str:
    """The text of a field, of a list the texts in lines; empty where it is missing or null."""
    value = field(row, name)
    return lines(*(_as_text(each, name) for each in (value if isinstance(value, list) else [value])))


def _as_text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str | int | float):
        raise BadFieldError("wrong_type", name, f"expected text, got {type(value).__name__}")
    return sound(str(value))


def letter(number: int) -> str:
    """A, B, C ..., and numbers after Z."""
    return ascii_uppercase[number] if number < len(ascii_uppercase) else str(number + 1)


def lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)
