"""What a withdrawal concerns: documents and tokens, in the whole corpus and shard by shard, before anything is changed.

Belongs here: resolving what an operator names, and looking it up in the token index. Does not belong here: recording it
(`record`).
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.withdrawal.keys import COLUMNS, IDS, Item, is_id
from cosmo_assets.withdrawal.record import IN_FORCE, Entry, Size, entries
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore, Dataset

DOCUMENTS = pl.col("doc_id").n_unique().alias("documents")
TOKENS = (pl.col("end") - pl.col("start")).sum().alias("tokens")


@dataclass(frozen=True)
class Purge:
    """What goes. Sizes of items may overlap: `documents` and `tokens` count each once."""

    sizes: Mapping[Item, Size]
    in_force: Sequence[Entry]
    """Those of the items that are withdrawn already."""
    documents: int
    tokens: int
    shards: Sequence[Mapping[str, Any]]
    """Of each shard that loses something: shard, documents, tokens, of (tokens that it has)."""
    sources: Mapping[str, int]
    """Tokens that go, by source."""

    def as_json(self) -> dict[str, Any]:
        return {
            "items": [
                {"key": item.key, "value": item.value, "documents": size.documents, "tokens": size.tokens}
                for item, size in self.sizes.items()
            ],
            "in_force": [{"key": entry.key, "value": entry.value, "when": entry.when} for entry in self.in_force],
            "documents": self.documents,
            "tokens": self.tokens,
            "shards": [dict(row) for row in self.shards],
            "sources": dict(self.sources),
        }


def measure(store: CorpusStore, items: Iterable[Item]) -> Purge:
    """What of the current shards comes from these items. Cost: one pass over the columns of the index that are asked
    for; memory for the spans that are found. Without a corpus everything is of size zero."""
    wanted = sorted(set(items))
    values: dict[str, list[str]] = defaultdict(list)
    for item in wanted:
        values[item.key].append(item.value)
    index = _scan(store)
    found = pl.DataFrame() if index is None else _spans(index, values)
    sizes = dict.fromkeys(wanted, Size())
    by_shard: list[dict[str, Any]] = []
    if index is not None and found.height:
        for key in values:
            column = COLUMNS[key]
            of_key = found.filter(pl.col(column).is_in(pl.Series(values[key]).implode())).group_by(column)
            for value, documents, tokens in of_key.agg(
                pl.col("doc_id").n_unique().alias("documents"), TOKENS
            ).iter_rows():
                sizes[Item(key, value)] = Size(documents, tokens)
        whole = index.group_by("shard").agg(TOKENS.alias("of")).collect()
        lost = found.group_by("shard").agg(DOCUMENTS, TOKENS)
        by_shard = lost.join(whole, on="shard").sort("shard").to_dicts()
    current = {entry.item: entry for entry in entries(store, IN_FORCE)}
    return Purge(
        sizes,
        [current[item] for item in wanted if item in current],
        found["doc_id"].n_unique() if found.height else 0,
        sum(row["tokens"] for row in by_shard),
        by_shard,
        dict(found.group_by("source").agg(TOKENS).sort("source").iter_rows()) if found.height else {},
    )


def resolve(store: CorpusStore, recipe: Recipe, items: Iterable[Item], *, unseen: bool = False) -> list[Item]:
    """The items that an operator means: an id may be abbreviated, and a name must be one that the corpus or its recipe
    knows, so that a slip of the pen withdraws nothing without saying so. With `unseen` a name may be of what is yet to
    come; whole ids always may.

    Raises:
        CosmoError: nothing, or more than one thing, is meant.
    """
    return [
        Item(item.key, _id(store, item) if item.key in IDS else _name(store, recipe, item, unseen)) for item in items
    ]


def _id(store: CorpusStore, item: Item) -> str:
    if is_id(item.value):
        return item.value
    column = COLUMNS[item.key]
    index = _scan(store)
    begin = pl.col(column).str.starts_with(item.value)
    rows = pl.DataFrame({column: []}) if index is None else index.filter(begin).select(column).unique().collect()
    found = sorted(rows[column])
    if len(found) == 1:
        return str(found[0])
    what = f"{len(found)} begin so, the first is {found[0]}" if found else "nothing in the shards begins so"
    raise CosmoError(f"{item.key} {item.value}: {what}", remedy="give the whole id, of 32 hexadecimal digits")


def _name(store: CorpusStore, recipe: Recipe, item: Item, unseen: bool) -> str:
    known = {source.name for source in recipe.all_sources} if item.key == "source" else set()
    known |= _values(store, COLUMNS[item.key])
    if item.value in known or unseen:
        return item.value
    near = difflib.get_close_matches(item.value, sorted(known), n=3, cutoff=0.5)
    raise CosmoError(
        f"nothing in the corpus is of {item}" + (f"; do you mean {', '.join(near)}?" if near else ""),
        remedy="correct it, or give --unseen to keep out what may come",
    )


def _values(store: CorpusStore, column: str) -> set[str]:
    """What stands in a column of the shards' index and of the prompts."""
    found: set[str] = set()
    for asset in ("token_lineage", "prompt_table"):
        dataset = store.current(asset)
        if dataset is not None and column in TABLES[asset].names:
            found |= set(_table(dataset).select(column).unique().collect()[column].drop_nulls().to_list())
    return found


def _spans(index: pl.LazyFrame, values: Mapping[str, list[str]]) -> pl.DataFrame:
    columns = sorted({"shard", "start", "end", "doc_id", "source", *(COLUMNS[key] for key in values)})
    hits = [pl.col(COLUMNS[key]).is_in(pl.Series(found).implode()) for key, found in values.items()]
    return index.filter(pl.any_horizontal(hits)).select(columns).collect()


def _scan(store: CorpusStore) -> pl.LazyFrame | None:
    dataset = store.current("token_lineage")
    return None if dataset is None else _table(dataset)


def _table(dataset: Dataset) -> pl.LazyFrame:
    return pl.scan_parquet(dataset.paths(), hive_partitioning=False)
