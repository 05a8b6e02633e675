"""Counting verdicts: Cosmopedia's table, documents and tokens removed by benchmark, documents of contaminated seeds.

Belongs here: what is counted of rows of `decontaminated`. Does not belong here: making them (`stage`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cosmo_resources.storage.manifest import Manifest

WHOLE = "all"


class Splits:
    """Cosmopedia's table: documents removed, and distinct items found in them, by source of the seeds and benchmark.

    A document counts for the benchmark of its worst item. Items count for their own: one may be found where nothing
    was removed for its benchmark."""

    def __init__(self) -> None:
        self._removed: Counter[tuple[str | None, str | None]] = Counter()
        self._items: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)

    def add(self, source: str, benchmark: str, items: Iterable[str]) -> None:
        """A removed document, with its items as benchmark:item."""
        for split in (source, None):
            for column in (benchmark, None):
                self._removed[split, column] += 1
            for item in items:
                self._items[split, item.split(":", 1)[0]].add(item)
                self._items[split, None].add(item)

    def removed(self, source: str | None, benchmark: str | None) -> int:
        """Documents of a source, or of all, removed for a benchmark, or for any."""
        return self._removed[source, benchmark]

    def unique_items(self, source: str | None, benchmark: str | None) -> int:
        return len(self._items.get((source, benchmark), ()))

    def cells(self) -> list[dict[str, Any]]:
        """The cells that are not empty, margins included, where source or benchmark is None."""
        return [
            {
                "source": source,
                "benchmark": benchmark,
                "removed": self.removed(source, benchmark),
                "unique_items": self.unique_items(source, benchmark),
            }
            for source, benchmark in sorted(
                {*self._removed, *self._items}, key=lambda cell: [name or "" for name in cell]
            )
        ]


def split_table(cells: Iterable[Mapping[str, Any]], documents: Mapping[str, int]) -> list[dict[str, Any]]:
    """The table to look at: a row for each source and one for all, with "removed (unique items)" for each benchmark
    that was found. `documents`: how many were searched, by source."""
    found = {(cell["source"], cell["benchmark"]): cell for cell in cells}
    columns = sorted({benchmark for _, benchmark in found if benchmark is not None})

    def cell(source: str | None, benchmark: str | None) -> str:
        counts = found.get((source, benchmark), {"removed": 0, "unique_items": 0})
        return f"{counts['removed']:,} ({counts['unique_items']:,})"

    splits: Sequence[str | None] = [*sorted(documents), None]
    return [
        {
            "split": source or WHOLE,
            "documents": documents[source] if source else sum(documents.values()),
            **{benchmark: cell(source, benchmark) for benchmark in columns},
            WHOLE: cell(source, None),
        }
        for source in splits
    ]


def found_items(row: Mapping[str, Any]) -> Sequence[str]:
    """The items that a row of `decontaminated` was removed for, or may have been."""
    return [row["seed_item"]] if row["place"] == "seed" else row["items"]


class Tally:
    """The rows of a bucket that went by."""

    def __init__(self) -> None:
        self.documents = 0
        self.removed: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        """Tokens by what becomes of them: "keep", or contaminated_<benchmark>."""
        self._splits = Splits()
        self._of_source: Counter[str] = Counter()
        self._marked: Counter[bool] = Counter()

    def add(self, row: Mapping[str, Any], tokens: int) -> None:
        self.documents += 1
        self._of_source[row["source"]] += 1
        if row["seed_item"]:
            self._marked[row["keep"]] += 1
        if not row["keep"]:
            self.removed[row["benchmark"]] += 1
            self._splits.add(row["source"], row["benchmark"], found_items(row))
        self.tokens["keep" if row["keep"] else f"contaminated_{row['benchmark']}"] += tokens

    def summary(self, sizes: Mapping[str, int]) -> dict[str, Any]:
        """The figures for the manifest. `sizes`: items by benchmark."""
        return {
            "benchmarks": [
                {
                    "benchmark": name,
                    "items": items,
                    "removed": self.removed[name],
                    "tokens": self.tokens[f"contaminated_{name}"],
                    "unique_items": self._splits.unique_items(None, name),
                }
                for name, items in sizes.items()
            ],
            "sources": dict(sorted(self._of_source.items())),
            "splits": self._splits.cells(),
            "of_contaminated_seeds": {"kept": self._marked[True], "removed": self._marked[False]},
        }


def removed_since(before: Manifest | None, after: Manifest) -> list[dict[str, Any]]:
    """By benchmark the documents and tokens that a version of `decontaminated` removes, and how many more than the
    version before did. Empty where there was none, or it is the same."""
    if before is None or before.version == after.version:
        return []
    now, then = (_lost(manifest) for manifest in (after, before))
    rows = []
    for reason in sorted({*now, *then}):
        (documents, tokens), (documents_before, tokens_before) = now.get(reason, (0, 0)), then.get(reason, (0, 0))
        rows.append(
            {
                "benchmark": reason.removeprefix("contaminated_"),
                "documents": documents,
                "more documents": documents - documents_before,
                "tokens": tokens,
                "more tokens": tokens - tokens_before,
            }
        )
    return rows


def _lost(manifest: Manifest) -> dict[str, tuple[int, int]]:
    """Documents and tokens by the reason for dropping them."""
    tokens = manifest.flow.tokens.dropped if manifest.flow.tokens else {}
    return {reason: (count, tokens.get(reason, 0)) for reason, count in manifest.flow.dropped.items()}
