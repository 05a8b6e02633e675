"""Benchmarks: what a row of one says, and the texts of an item that are searched for.

Belongs here: the rows of a benchmark's files or hub data set as items, and putting an item's texts together. Does not
belong here: searching for them (`rules`), which field of a row holds what (`fields`), formats of files
(`cosmo_assets.seeds.readers`), or what is known of a benchmark by its name (`cosmo_assets.recipe.decontamination`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from cosmo_assets.decontamination.fields import (
    Question,
    columns_of,
    id_of,
    layout_of,
    letter,
    lines,
    question_of,
    required,
)
from cosmo_assets.recipe.decontamination import Benchmark, Part
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.seeds.readers.base import BadFieldError, BadRow
from cosmo_assets.seeds.readers.hf_dataset import hub_rows
from cosmo_assets.seeds.readers.records import parquet_rows
from cosmo_assets.seeds.readers.sources import Unit, located_units
from cosmo_assets.seeds.readers.streams import json_rows
from cosmo_assets.words.alphabet import words_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.hub import HubPath
from cosmo_resources.storage.digest import digest

JSON_NAME = re.compile(r"\.(jsonl|json|ndjson)(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)
LONG = 10
"""Words from which on a question says enough to be searched for alone; many stems have fewer, and stand everywhere."""

MARKS = {"marked": "\nAnswer: ", "q_a": "\nA: "}
"""What announces the answer."""

ALONE, PRINTED = ("question", "long_question"), ("lettered", "marked", "q_a")
"""Where a question is looked for alone, there is no need to look for the ways in which its item is printed; elsewhere a
letter or a mark parts the words that are looked for in a row."""

BLANK = re.compile(r"(?<![^\W_])_+(?![^\W_])")
"""The blank of a cloze: underscores with no letter or digit beside them."""


@dataclass(frozen=True)
class Item:
    """A text that is searched for, of a benchmark's item: `asked` comes before what a model should answer, `answer` is
    that, and what follows it; `between` stands between the two."""

    benchmark: str
    id: str
    asked: str
    answer: str
    part: Part = "question_answer"
    between: str = "\n"

    @property
    def text(self) -> str:
        return self.between.join(piece for piece in (self.asked, self.answer) if piece)


@dataclass(frozen=True)
class Source:
    """A benchmark and where its rows are, as they were found: `contents` are the digests of the units."""

    benchmark: Benchmark
    units: tuple[Unit, ...]
    contents: tuple[str, ...]

    @property
    def version(self) -> str:
        """The commit of a data set of the hub; else the digest of the files' names and bytes."""
        place = self.units[0].place
        if isinstance(place, HubPath):
            return place.revision
        return self.contents[0] if len(self.contents) == 1 else digest(*self.contents)

    @property
    def files(self) -> int:
        return sum(len(unit.files) for unit in self.units)


def sources(recipe: Recipe) -> list[Source]:
    """The recipe's benchmarks, in its order. Cost: every byte of their files is read; no network is asked.

    Raises:
        CosmoError: a path leads to no file, or to a data set of the hub without a commit.
    """
    found = ((benchmark, places(recipe, benchmark)) for benchmark in recipe.decontamination.benchmarks)
    return [Source(benchmark, tuple(units), tuple(unit.digest() for unit in units)) for benchmark, units in found]


def places(recipe: Recipe, benchmark: Benchmark) -> list[Unit]:
    """Where the rows of a benchmark are; nothing is opened.

    Raises:
        CosmoError: as `located_units`.
    """
    return located_units(recipe, benchmark.path, field=f"decontamination.benchmarks.{benchmark.name}.path")


def read_items(source: Source) -> Iterator[Item]:
    """The texts of all items of a benchmark, those of an item one after the other: one for each of its parts that says
    something other than those before. An item of which no part says anything is there with an empty text.

    Raises:
        CosmoError: a row cannot be read or lacks a field, or two items have one id: a benchmark that is read in part
            protects in part only. At the end, if a file has changed meanwhile.
    """
    benchmark = source.benchmark
    seen: dict[str, str] = {}
    for unit, content in zip(source.units, source.contents, strict=True):
        with unit.unchanged(content):
            for place, row in _rows(benchmark, unit):
                where = f"{unit.place}{place.removeprefix(unit.place.name)}"
                number = place.rpartition(":")[2]
                try:
                    if isinstance(row, BadFieldError):
                        raise row
                    layout = layout_of(row, benchmark.fields)
                    key = id_of(row, layout) or (number if len(source.units) == 1 else f"{unit.name}:{number}")
                    if key in seen:
                        raise BadFieldError("repeated_id", layout.id or "id", f"{key!r} stands in {seen[key]} too")
                    question = question_of(row, layout)
                except BadFieldError as bad:
                    raise _unreadable(benchmark, where, bad) from bad
                seen[key] = where
                yield from items_of(benchmark, key, question)


def items_of(benchmark: Benchmark, key: str, row: Question) -> list[Item]:
    """The texts of an item: see `read_items`."""
    items = [Item(benchmark.name, key, *_pieces(part, row)) for part in benchmark.parts]
    found: dict[str, Item] = {}
    for item in items:
        found.setdefault(" ".join(item.text.split()), item)
    if any(item.part in ALONE and item.text for item in items):
        found = {words: item for words, item in found.items() if item.part not in PRINTED}
    return [item for words, item in found.items() if words] or [Item(benchmark.name, key, "", "", benchmark.parts[0])]


def _pieces(part: Part, row: Question) -> tuple[str, str, Part, str]:
    """What is asked, what is answered, the part, and what stands between the two."""
    asked = lines(row.context, row.question)
    match part:
        case "question_answer":
            return asked, row.answer, part, "\n"
        case "question":
            return row.question, "", part, ""
        case "long_question" if len(words_of(row.question, "folded")) >= LONG:
            return row.question, "", part, ""
        case "context":
            return row.context, "", part, ""
        case "answer":
            return "", row.answer, part, ""
        case "choices" if row.choices:
            return asked, lines(*row.choices), part, "\n"
        case "lettered" if row.choices:
            return asked, lines(*(f"{letter(n)}. {choice}" for n, choice in enumerate(row.choices))), part, "\n"
        case "marked" | "q_a" if row.answer:
            return asked, row.answer, part, MARKS[part]
        case "filled" if row.answer:
            return _filled(asked, row.answer)
    return "", "", part, ""


def _filled(asked: str, answer: str) -> tuple[str, str, Part, str]:
    """The answer in place of the blank; where there is none, the answer goes on with the text. Of several blanks nobody
    knows what goes into which. Where the text begins with the answer, all of it counts as asked: it is no answer alone.
    """
    blanks = list(BLANK.finditer(asked))
    if len(blanks) > 1:
        return "", "", "filled", ""
    if not blanks:
        return asked, answer, "filled", " "
    start, end = blanks[0].span()
    before, after = asked[:start], answer + asked[end:]
    return (before, after, "filled", "") if before.strip() else (after, "", "filled", "")


def _rows(benchmark: Benchmark, unit: Unit) -> Iterator[tuple[str, Any]]:
    """The rows of a unit, each with its place; one that cannot be read as the reason."""
    place, needed = unit.place, partial(columns_of, layouts=benchmark.fields)
    if isinstance(place, HubPath):
        found = hub_rows(place.name, place.revision, benchmark.config or "", benchmark.split, needed)
    elif JSON_NAME.search(place.name):
        found = json_rows(place)
    elif place.suffix.lower() == ".parquet":
        found = parquet_rows(place, needed)
    else:
        raise CosmoError(
            f"{place}: benchmark {benchmark.name}: no format by its name",
            remedy="name files of .jsonl (plain or compressed) or .parquet, or hub:owner/name@commit",
        )
    for row in found:
        if isinstance(row, BadRow):
            yield row.place, BadFieldError(row.reason, row.field or "", row.detail)
        else:
            yield row


def _unreadable(benchmark: Benchmark, where: str, bad: BadFieldError) -> CosmoError:
    layouts = "; or ".join(", ".join(required(layout)) for layout in benchmark.fields)
    named = f", field {bad.field!r}" if bad.field else ""
    return CosmoError(
        f"{where}: benchmark {benchmark.name}{named}: {bad.reason}{f': {bad.detail}' if bad.detail else ''}",
        remedy=f"each row needs the fields {layouts}: mend the row, or say in decontamination.benchmarks"
        f".{benchmark.name}.fields which fields hold what",
    )
