"""Cases to look at: an item beside the text that holds it, with what they share set off.

Belongs here: which cases are shown, and which pieces of their texts. Does not belong here: finding items (`rules`), or
how pieces look (`reporting`, `report.html`).
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import Match, SequenceMatcher
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.words.alphabet import located_words
from cosmo_resources.storage.store import Dataset

MAX_CASES = 5
RUN_WORDS = 4
"""Words in a row that are set off; where a text shares no run of so many, the longest is."""
CONTEXT_CHARS, MAX_CHARS = 200, 1000

Pieces = list[list[Any]]
"""A text cut into (piece, whether it is set off)."""


def side_by_side(item: str, text: str) -> tuple[Pieces, Pieces]:
    """The part of an item and the part of a text around the longest run of words that they share, as they are spelled.

    Cost: difflib's, words of the one times words of the other at worst.
    """
    left, right = located_words(item, "folded"), located_words(text, "folded")
    matcher = SequenceMatcher(None, [word for word, *_ in left], [word for word, *_ in right], autojunk=False)
    runs = [run for run in matcher.get_matching_blocks() if run.size]
    if not runs:
        return _cut(item, [], 0), _cut(text, [], 0)
    longest = max(runs, key=lambda run: run.size)
    runs = [run for run in runs if run.size >= RUN_WORDS] or [longest]

    def places(words: Sequence[tuple[str, int, int]], side: int) -> list[tuple[int, int]]:
        return [_place(words, run, side) for run in runs]

    number = runs.index(longest)
    return _cut(item, places(left, 0), number), _cut(text, places(right, 1), number)


def _place(words: Sequence[tuple[str, int, int]], run: Match, side: int) -> tuple[int, int]:
    return words[run[side]][1], words[run[side] + run.size - 1][2]


def _cut(text: str, places: Sequence[tuple[int, int]], middle: int) -> Pieces:
    """The pieces of a text within sight of one of the places."""
    start, end = places[middle] if places else (0, 0)
    low, high = max(0, start - CONTEXT_CHARS), min(len(text), end + CONTEXT_CHARS, start + MAX_CHARS)
    low = text.find(" ", low, start) + 1 or low if low else 0  # at a word, where there are spaces
    high = high if high == len(text) else max(text.rfind(" ", start, high), min(end, high))
    pieces: Pieces = [["… ", False]] if low else []
    at = low
    for first, last in places:
        first, last = max(first, at), min(last, high)
        if first < last:
            pieces += [[text[at:first], False], [text[first:last], True]]
            at = last
    pieces += [[text[at:high], False], *([[" …", False]] if high < len(text) else [])]
    return [piece for piece in pieces if piece[0]]


class Cases:
    """The worst of the cases that go by, each of another item: the highest ratios, then the longest spans."""

    def __init__(self) -> None:
        self._worst: list[tuple[Mapping[str, Any], str]] = []

    def add(self, cases: Iterable[tuple[Mapping[str, Any], str]]) -> None:
        """Look at more: the columns of a match with the `key` of its row and its `place`, and the text that holds it.
        The texts of those that will not be shown are let go."""
        by_item: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
        for case, text in sorted([*self._worst, *cases], key=lambda found: rank(found[0])):
            by_item.setdefault((case["benchmark"], case["item"]), (case, text))
        self._worst = list(by_item.values())[:MAX_CASES]

    def shown(self, benchmarks: Dataset) -> list[dict[str, Any]]:
        """The cases, worst first, with `pieces_of_item` and `pieces_of_text`. `benchmarks` is `benchmark_index`."""
        wanted = pa.array(sorted({case["item"] for case, _ in self._worst}), pa.string())
        items = {
            (row["benchmark"], row["item"], row["part"]): row["text"]
            for table in (benchmarks.tables(["benchmark", "item", "part", "text"]) if self._worst else ())
            for row in table.filter(pc.is_in(table["item"], value_set=wanted)).to_pylist()
        }
        found = []
        for case, text in self._worst:
            left, right = side_by_side(items[case["benchmark"], case["item"], case["part"]], text)
            found.append({**case, "pieces_of_item": left, "pieces_of_text": right})
        return found


def rank(case: Mapping[str, Any]) -> tuple[float, int, str]:
    """Sorts cases, worst first."""
    return -case["ratio"], -len(case["span"]), case["key"]
