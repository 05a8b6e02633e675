"""Benchmarks: what a row of one says, and the text of an item that is searched for.

Belongs here: reading a benchmark's file and putting an item's text together. Does not belong here: searching for it
(`rules`), or which benchmarks a recipe names.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmo_resources.errors import CosmoError


@dataclass(frozen=True)
class Item:
    """A benchmark item: `asked` comes before what a model should answer, `answer` is that."""

    benchmark: str
    id: str
    asked: str
    answer: str

    @property
    def text(self) -> str:
        return "\n".join(part for part in (self.asked, self.answer) if part)


def read_items(benchmark: str, path: Path) -> Iterator[Item]:
    """The items of a JSONL file with the fields id, question, answer and, where there is one, context.

    Raises:
        CosmoError: a row is no JSON object or lacks a field; a benchmark that is read in part protects in part only.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    yield _item(benchmark, json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise CosmoError(
                        f"{path}:{number}: benchmark {benchmark}: {type(error).__name__}: {error}",
                        remedy="each line needs the fields id, question and answer; mend the line or remove it",
                    ) from error


def _item(benchmark: str, row: dict[str, Any]) -> Item:
    asked = "\n".join(str(part) for part in (row.get("context"), row["question"]) if part)
    return Item(benchmark, str(row["id"]), asked, str(row["answer"] or ""))
