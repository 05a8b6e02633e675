"""Searching texts for benchmark items on all cores, and which of the items found speaks for a text.

Belongs here: what every stage that searches has in common. Does not belong here: which texts are searched (`stage`,
`seeds`), or what finds an item (`index`, `rules`).
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_assets.decontamination.index import BenchmarkIndex, Match
from cosmo_assets.decontamination.rules import rules_of
from cosmo_assets.recipe.decontamination import Decontamination
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import read_table

TEXTS_AT_ONCE = 256

CLEAN = dict.fromkeys(("rule", "benchmark", "item", "part", "ratio", "span"))
"""The columns of a match, for a text without any."""


class Search:
    """An index, searched by a thread for each core."""

    def __init__(self, index: BenchmarkIndex) -> None:
        self._index = index
        self._order = {name: number for number, name in enumerate(index.rules)}

    def matches(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches of each text."""
        found: list[list[Match]] = [[] for _ in texts]
        parts = range(0, len(texts), TEXTS_AT_ONCE)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start, matches in zip(parts, pool.map(partial(self._part, texts), parts), strict=True):
                for match in matches:
                    found[start + match.text].append(match)
        return found

    def worst(self, matches: Sequence[Match]) -> dict[str, Any]:
        """The columns of the match with the highest ratio; of equals the first by rule, benchmark, item and part."""
        if not matches:
            return dict(CLEAN)
        worst = min(matches, key=self._rank)
        return {**{name: getattr(worst, name) for name in CLEAN}, "ratio": round(worst.ratio, 4)}

    def _rank(self, match: Match) -> tuple[float, int, str, str, str]:
        return -match.ratio, self._order[match.rule], match.benchmark, match.item, match.part

    def _part(self, texts: Sequence[str], start: int) -> list[Match]:
        return list(self._index.matches(pa.array(texts[start : start + TEXTS_AT_ONCE], pa.large_string())))


def open_search(benchmarks: Dataset, recipe: Decontamination) -> Search:
    """A search for the items of `benchmark_index`."""
    return _opened(tuple(benchmarks.paths()), tuple(benchmarks.paths(role="artifact")), recipe.rules)


@lru_cache(maxsize=1)
def _opened(items: tuple[Path, ...], arrays: tuple[Path, ...], rules: tuple[Any, ...]) -> Search:
    """The index, opened once for all buckets that a process builds."""
    table = pa.concat_tables(read_table(path) for path in items)
    return Search(BenchmarkIndex.open(rules_of(Decontamination(benchmarks=(), rules=rules)), table, arrays))


def names(matches: Sequence[Match]) -> list[str]:
    """All items found, as benchmark:item."""
    return sorted({f"{match.benchmark}:{match.item}" for match in matches})
