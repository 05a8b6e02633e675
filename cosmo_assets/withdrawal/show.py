"""A purge and the record of withdrawals as tables for a terminal.

Belongs here: rich tables. Does not belong here: what they say (`purge`, `record`), or options (`cosmo_assets.cli`).
"""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from cosmo_assets.withdrawal.purge import Purge
from cosmo_assets.withdrawal.record import Entry

MAX_ROWS = 30
"""Rows of a table that are shown."""


def purge_tables(found: Purge) -> list[Table]:
    """What goes: by item, by shard, by source."""
    items = Table("what", "documents", "tokens", "", title="to withdraw")
    withdrawn = {entry.item: entry for entry in found.in_force}
    for item, size in list(found.sizes.items())[:MAX_ROWS]:
        entry = withdrawn.get(item)
        remark = f"withdrawn already, {entry.when} by {entry.who}" if entry else "" if size.documents else "in no shard"
        items.add_row(escape(str(item)), f"{size.documents:,}", f"{size.tokens:,}", escape(remark))
    if len(found.sizes) > MAX_ROWS:
        items.add_row(f"{len(found.sizes) - MAX_ROWS} more", "", "", "")
    items.add_row("[bold]all, each document once[/]", f"[bold]{found.documents:,}[/]", f"[bold]{found.tokens:,}[/]", "")
    shards = Table("shard", "documents", "tokens", "of its tokens", title="shards that lose something")
    for row in found.shards[:MAX_ROWS]:
        share = f"{row['of']:,} ({row['tokens'] / row['of']:.1%})"
        shards.add_row(row["shard"], f"{row['documents']:,}", f"{row['tokens']:,}", share)
    if len(found.shards) > MAX_ROWS:
        shards.add_row(f"{len(found.shards) - MAX_ROWS} more", "", "", "")
    sources = Table("source", "tokens", title="by source")
    for source, tokens in found.sources.items():
        sources.add_row(escape(source), f"{tokens:,}")
    return [items, shards, sources] if found.documents else [items]


def record_table(record: Sequence[Entry], title: str) -> Table:
    """Entries, the first of them first."""
    table = Table("when", "who", "what", "why", "documents", "tokens", title=title)
    for entry in record:
        what = f"{entry.action} {entry.item}"
        figures = (f"{entry.documents:,}", f"{entry.tokens:,}") if entry.action == "withdraw" else ("", "")
        table.add_row(entry.when, escape(entry.who), escape(what), escape(entry.why), *figures)
    return table
