"""Differences between versions of the corpus as tables for a terminal.

Belongs here: rich tables. Does not belong here: what they say (`changes`, `versions`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from cosmo_assets.comparison.changes import Difference
from cosmo_assets.comparison.versions import built
from cosmo_resources.storage.store import Dataset

SHORT_VERSION = 12
MAX_ROWS = 25
MAX_CHARS = 60


def difference_tables(found: Difference) -> list[Table]:
    """Why, by facet, and what differs upstream."""
    head = Table("", "version", "documents", "tokens")
    for name, side in (("from", found.before), ("to", found.after)):
        head.add_row(name, side["version"], f"{side['documents']:,}", f"{side['tokens']:,}")
    tables = [head, why_table(found.why, "what changed, and because of what")]
    for facet, rows in found.by.items():
        table = Table(facet, "documents +", "documents -", "tokens +", "tokens -")
        names = ("documents_added", "documents_removed", "tokens_added", "tokens_removed")
        _fill(table, ([str(row["value"]), *(f"{row[name]:,}" for name in names)] for row in rows), len(rows))
        tables.append(table)
    inputs = Table("asset", "datasets of another version", title="upstream")
    _fill(inputs, ([row["asset"], str(row["changed"])] for row in found.inputs), len(found.inputs))
    settings = Table("field", "from", "to", title="recipe, as the stages used it")
    _fill(settings, ([_short(row[name]) for name in row] for row in found.settings), len(found.settings))
    return [table for table in (*tables, inputs, settings) if table.row_count]


def why_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """Documents and tokens by what became of them and the reason."""
    table = Table(title, "because of", "documents", "tokens")
    for row in rows:
        table.add_row(row["what"], escape(row["because"]), f"{row['documents']:+,}", f"{row['tokens']:+,}")
    return table


def versions_table(versions: Sequence[Dataset], current: str | None) -> Table:
    """The versions of the shards, the latest first, by the beginnings of their names, which are enough to name them."""
    table = Table("built", "version", "documents", "tokens", "")
    for dataset in versions:
        summary, version = dataset.manifest.summary, dataset.manifest.version
        mark = "current" if version == current else ""
        when = f"{built(dataset):%Y-%m-%d %H:%M}"
        table.add_row(when, version[:SHORT_VERSION], f"{summary['documents']:,}", f"{summary['tokens']:,}", mark)
    return table


def _fill(table: Table, rows: Iterable[Sequence[str]], count: int) -> None:
    for row, _ in zip(rows, range(MAX_ROWS), strict=False):
        table.add_row(*map(escape, row))
    if count > MAX_ROWS:
        table.add_row(f"{count - MAX_ROWS} more")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"
