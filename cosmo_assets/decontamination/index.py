"""The index of the items of all benchmarks, for a stack of rules: built once, then mapped into memory from its files.

Belongs here: building, storing, and searching texts with all rules. Does not belong here: what a rule condemns
(`rules`), or which texts are searched (`stage`).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.decontamination.benchmarks import Item
from cosmo_assets.decontamination.rules import Items, Rule
from cosmo_assets.decontamination.tables import Table
from cosmo_assets.decontamination.wording import own_wording
from cosmo_assets.words.alphabet import AlphabetName
from cosmo_assets.words.hashing import Words, hashed


class Match(NamedTuple):
    """An item that contaminates a text, by a rule and one of the item's own texts, its `part`: the share of this that
    the text holds, and its longest piece."""

    text: int
    rule: str
    benchmark: str
    item: str
    part: str
    ratio: float
    span: str


class BenchmarkIndex:
    """Benchmark items, and for each rule, by its name, what it looks them up in."""

    def __init__(self, rules: Mapping[str, Rule], items: pa.Table, arrays: Mapping[str, Table]) -> None:
        self.rules = rules
        self._names = [items[column].to_pylist() for column in ("benchmark", "item", "part")]
        texts = items["text"].combine_chunks()
        self._items = {
            name: Items(
                texts, Words(*(arrays[name][part] for part in Words.__match_args__)), arrays[name]["before_answer"]
            )
            for name in {rule.alphabet for rule in rules.values()}
        }
        self._tables = {name: arrays[name] for name in rules}

    @classmethod
    def open(cls, rules: Mapping[str, Rule], items: pa.Table, files: Iterable[Path]) -> Self:
        """The index that `build_index` wrote for the same rules, with its table of items. The arrays stay on disk until
        they are looked at."""
        arrays: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for path in files:
            owner, name, _ = path.name.split(".")
            arrays.setdefault(owner, {})[name] = np.load(path, mmap_mode="r")
        return cls(rules, items, arrays)

    def matches(self, texts: pa.Array) -> Iterator[Match]:
        """Every item that contaminates one of the texts, by every rule.

        Cost: linear in the texts' bytes, for each alphabet and rule; and what the rules measure of candidates.
        """
        words = {name: hashed(texts, name) for name in self._items}
        for name, rule in self.rules.items():
            items = self._items[rule.alphabet]
            for found in rule.condemned(texts, words[rule.alphabet], items, self._tables[name]):
                benchmark, item, part = (column[found.item] for column in self._names)
                yield Match(found.text, name, benchmark, item, part, found.ratio, found.span)


def build_index(items: Iterable[Item], rules: Mapping[str, Rule], folder: Path) -> pa.Table:
    """Write the arrays of an index of items' texts, each in its own wording, to an empty folder. Returns the table of
    them: benchmark, item, part, text, and `rules`, the names of those that can find the text.

    Cost: linear in the items' text, plus sorting n-grams, for each rule. Memory: some 50 bytes for each word of the
    items.
    """
    rows = own_wording(items)
    texts = pa.array([row.text for row in rows], pa.large_string())
    asked = pa.array([row.asked for row in rows], pa.large_string())
    found: list[list[str]] = [[] for _ in rows]
    held: dict[AlphabetName, Items] = {}
    for alphabet in sorted({rule.alphabet for rule in rules.values()}):
        words, before = hashed(texts, alphabet), np.diff(hashed(asked, alphabet).bounds)
        held[alphabet] = Items(texts, words, before)
        arrays = {"hashes": words.hashes, "prefix": words.prefix, "bounds": words.bounds, "before_answer": before}
        _save(folder, alphabet, arrays)
    for name, rule in rules.items():
        table = rule.table(held[rule.alphabet])
        _save(folder, name, table)
        for number in np.flatnonzero(rule.checkable(held[rule.alphabet], table)).tolist():
            found[number].append(name)
    return pa.table(
        {
            "benchmark": [row.benchmark for row in rows],
            "item": [row.id for row in rows],
            "part": [row.part for row in rows],
            "text": texts,
            "rules": pa.array(found, pa.list_(pa.string())),
        }
    )


def _save(folder: Path, owner: str, arrays: Table) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{owner}.{name}.npy", array)
