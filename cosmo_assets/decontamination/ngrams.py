"""Contamination by a benchmark item: n-gram candidates, then the matched share of the item.

Belongs here: the index of benchmark items and the test of one text against it. Does not belong here: which texts are
tested (`stage`).

Method: Cosmopedia's rule (decontaminate.py of its repository), mended: every item that shares an n-gram is tested, not
the first that the set order yields; an n-gram keeps all its items, not the last; an item that is shorter than an n-gram
is a candidate where its whole text stands in the document.
"""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from cosmo_resources.errors import CosmoError

MIN_BLOCK = 5
"""Matching blocks of this many characters or fewer do not count, as published."""

_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True)
class Item:
    """A benchmark item as it is searched for: its question (and context), then its answer."""

    benchmark: str
    id: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """The worst item found in a text: the matched share of the item, and the longest matched run."""

    benchmark: str
    item: str
    ratio: float
    span: str


def words_of(text: str) -> tuple[str, ...]:
    """Words for matching: NFD, combining marks dropped, lower case, runs of word characters."""
    plain = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    return tuple(_WORD.findall(plain.lower()))


def read_items(benchmark: str, path: Path) -> Iterator[Item]:
    """The items of a JSONL file with the fields id, question, answer and, where there is one, context.

    Raises:
        CosmoError: a row is no JSON object or lacks a field; a benchmark that is read in part protects in part only.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                parts = (row.get("context"), row["question"], row["answer"])
                item = Item(benchmark, str(row["id"]), words_of("\n".join(str(part) for part in parts if part)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CosmoError(
                    f"{path}:{number}: benchmark {benchmark}: {type(error).__name__}: {error}",
                    remedy="each line needs the fields id, question and answer; mend the line or remove it",
                ) from error
            yield item


class BenchmarkIndex:
    """All items by their word n-grams; shorter items by their whole text. Memory: one entry per distinct n-gram."""

    def __init__(self, items: Iterable[Item], ngram: int) -> None:
        self.ngram = ngram
        self.items = [item for item in items if item.words]
        self._by_gram: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, item in enumerate(self.items):
            size = min(self.ngram, len(item.words))
            for gram in dict.fromkeys(_grams(item.words, size)):
                self._by_gram[gram].append(number)
        self.sizes = sorted({min(self.ngram, len(item.words)) for item in self.items})

    def candidates(self, words: tuple[str, ...]) -> list[int]:
        """Numbers of the items that share an n-gram with a text, ascending."""
        found: set[int] = set()
        for size in self.sizes:
            for gram in _grams(words, size):
                if gram in self._by_gram:
                    found.update(self._by_gram[gram])
        return sorted(found)

    def worst(self, text: str, ratio: float) -> Match | None:
        """The item with the highest matched share above `ratio`, or None. Equal shares: the first by name and id.

        Cost: linear in the text to find candidates; quadratic in characters for each candidate.
        """
        words = words_of(text)
        found = []
        for number in self.candidates(words):
            item = self.items[number]
            matched, span = matched_share(words, item.words)
            if matched > ratio:
                found.append((-matched, item.benchmark, item.id, span))
        if not found:
            return None
        matched, benchmark, worst, span = min(found)
        return Match(benchmark, worst, round(-matched, 4), span)


def matched_share(text: tuple[str, ...], item: tuple[str, ...]) -> tuple[float, str]:
    """The share of an item's characters inside blocks that it has in common with a text, and the longest such block."""
    document, wanted = " ".join(text), " ".join(item)
    matcher = SequenceMatcher(None, document, wanted, autojunk=False)
    blocks = [document[block.a : block.a + block.size] for block in matcher.get_matching_blocks()]
    blocks = [block for block in blocks if len(block) > MIN_BLOCK]
    matched = " ".join("".join(blocks).split())
    if wanted in document:  # also an item too short to form a block
        return 1.0, wanted
    return len(matched) / len(wanted), max(blocks, key=len, default="").strip()


def _grams(words: tuple[str, ...], size: int) -> Iterator[tuple[str, ...]]:
    return (words[start : start + size] for start in range(len(words) - size + 1))
