"""Where documents stand in the shards: a function of their ids, their stages and the number of shards, of nothing else.

Belongs here: the shuffle, the cut into shards, looking documents up. Does not belong here: tokens (`encoding`), files
(`shards`).

Every copy of a document draws a number of 64 bits from its id. The numbers' range is cut into equal parts, one for each
shard; inside a shard copies stand in the order of their numbers. So a document that comes or goes moves no other one
into another shard, and the shards without it stay what they are, to the byte. Where the mixture has stages, each has
shards of its own, and copies are shuffled within their stage.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.ids import Numbers, halves_of, ids_of, mixed
from cosmo_assets.recipe.mixture import MAX_SHARDS
from cosmo_resources.storage.digest import digest

Places = npt.NDArray[np.int64]
"""Positions in arrays with an entry for each document, or for each copy of one (see `Layout`)."""

_SALT = np.uint64(int(digest("draws", "shuffle")[:16], 16))


def shard_count(tokens: int, shard_tokens: int) -> int:
    """How many shards a corpus of so many tokens is cut into: the least power of two with which a shard has no more
    than `shard_tokens` on average. It stays the same until the corpus doubles or halves, and where it doubles, each
    shard becomes two."""
    return min(1 << (max(1, -(-tokens // shard_tokens)) - 1).bit_length(), MAX_SHARDS)


def shards_of(keys: Numbers, shards: int | Numbers) -> Places:
    """The shard of each of many drawn numbers, of at most 2^31 shards; of each its own number of shards, or all one."""
    return ((keys >> np.uint64(32)) * np.uint64(shards) >> np.uint64(32)).astype(np.int64)


def keys_of(low: Numbers, copy: npt.NDArray[np.uint32]) -> Numbers:
    """What copies of documents draw; `low`: the last 64 bits of their documents' ids."""
    return mixed(low ^ mixed(copy.astype(np.uint64) ^ _SALT))


@dataclass(frozen=True)
class Layout:
    """The documents of a corpus, sorted by id (the last 64 bits first), and their copies: the copies of document `d`
    are `first[d]` to `first[d + 1]`. 40 bytes for a document, 13 for each copy.

    `order` are all copies as they stand in the shards; shard `s` holds `order[begins[s]:begins[s + 1]]`. Stage `t` has
    the next `cuts[t]` shards after those of the stages before it; without stages all is one.
    """

    ids: Numbers
    """n x 2 (see `halves_of`)."""
    first: Places
    documents: npt.NDArray[np.uint32]
    """The document of each copy."""
    stages: npt.NDArray[np.uint8]
    """The stage of each copy."""
    cuts: tuple[int, ...]
    order: Places
    begins: Places

    @classmethod
    def of(cls, tables: Iterable[pa.Table], cuts: Sequence[int]) -> "Layout":
        """The layout of the documents of some tables (doc_id, copies; with several stages also stage_copies, whose
        copies are numbered through the stages)."""
        halves, counts = [np.empty((0, 2), np.uint64)], [np.empty((0, len(cuts)), np.int64)]
        for table in tables:
            halves.append(halves_of(table["doc_id"]))
            counts.append(_by_stage(table, len(cuts)))
        ids, copies = np.concatenate(halves), np.concatenate(counts)
        by_id = np.lexsort((ids[:, 0], ids[:, 1]))
        ids, copies = ids[by_id], copies[by_id]
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(copies.sum(axis=1))])
        documents = np.repeat(np.arange(len(ids), dtype=np.uint32), copies.sum(axis=1))
        stages = np.repeat(np.tile(np.arange(len(cuts), dtype=np.uint8), len(ids)), copies.ravel())
        layout = cls(ids, first, documents, stages, tuple(cuts), np.empty(0, np.int64), np.zeros(1, np.int64))
        order = layout.shuffled(np.arange(len(documents), dtype=np.int64))
        begins = np.searchsorted(layout.shards_of(order), np.arange(layout.shards + 1)).astype(np.int64)
        return cls(ids, first, documents, stages, tuple(cuts), order, begins)

    @property
    def shards(self) -> int:
        return sum(self.cuts)

    @property
    def firsts(self) -> list[int]:
        """The first shard of each stage."""
        return [0, *accumulate(self.cuts)][:-1]

    def shards_of(self, places: Places) -> Places:
        """The shard of each of some copies."""
        if len(self.cuts) == 1:
            return shards_of(self.drawn(places), self.cuts[0])
        stages = self.stages[places]
        within = shards_of(self.drawn(places), np.array(self.cuts, np.uint64)[stages])
        return np.array(self.firsts, np.int64)[stages] + within

    def in_shard(self, shard: int) -> Places:
        """The copies of a shard, in their order."""
        return self.order[self.begins[shard] : self.begins[shard + 1]]

    def copies(self, places: Places) -> npt.NDArray[np.uint32]:
        """Which of its document's copies each of these is, from 0."""
        return (places - self.first[self.documents[places]]).astype(np.uint32)

    def shuffled(self, places: Places) -> Places:
        """Some copies in the order in which they stand in the shards."""
        keys = (places, self.drawn(places))  # documents are sorted by id: copies with equal draws stand in that order
        return places[np.lexsort(keys if len(self.cuts) == 1 else (*keys, self.stages[places]))]

    def drawn(self, places: Places) -> Numbers:
        """What some copies draw."""
        return keys_of(self.ids[self.documents[places], 1], self.copies(places))

    def of_documents(self, documents: Places) -> Places:
        """All copies of some documents, document after document."""
        counts = self.first[documents + 1] - self.first[documents]
        starts = np.repeat(self.first[documents] - (np.cumsum(counts) - counts), counts)
        return starts + np.arange(int(counts.sum()), dtype=np.int64)

    def find(self, ids: pa.Array | pa.ChunkedArray) -> Places:
        """The documents of these ids, -1 for one that is none."""
        halves, last = halves_of(ids), len(self.ids) - 1
        if last < 0:
            return np.full(len(halves), -1, np.int64)
        places = np.minimum(np.searchsorted(self.ids[:, 1], halves[:, 1]), last).astype(np.int64)
        while True:
            equal = (self.ids[places] == halves).all(axis=1)
            further = np.minimum(places + 1, last)
            on = ~equal & (further > places) & (self.ids[further, 1] == halves[:, 1])
            if not on.any():
                return np.where(equal, places, -1)
            places[on] += 1  # two ids that agree in their last 64 bits

    def doc_ids(self, places: Places) -> pa.Array:
        """The ids of the documents of some copies."""
        return ids_of(self.ids[self.documents[places]])


def _by_stage(table: pa.Table, stages: int) -> npt.NDArray[np.int64]:
    """The copies of each document in each stage (documents x stages)."""
    column = table["copies"] if stages == 1 else table["stage_copies"].combine_chunks().flatten()
    found: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64).reshape(-1, stages)
    return found


@dataclass(frozen=True)
class Tokens:
    """Where the tokens of every copy lie: in which file, from which token, and how many. 20 bytes for a copy."""

    source: npt.NDArray[np.int32]
    """The number of the file, -1 where it is not known yet."""
    start: Places
    size: Places

    @classmethod
    def unknown(cls, copies: int) -> "Tokens":
        return cls(np.full(copies, -1, np.int32), np.zeros(copies, np.int64), np.zeros(copies, np.int64))

    def put(self, places: Places, source: int, start: Places, end: Places) -> None:
        self.source[places] = source
        self.start[places] = start
        self.size[places] = end - start

    def repeat(self, firsts: Places) -> None:
        """Let copies whose tokens are not known be those of another, the first of their document."""
        lacking = np.flatnonzero(self.source < 0)
        for column in (self.source, self.start, self.size):
            column[lacking] = column[firsts[lacking]]

    def forget(self, source: int) -> None:
        """Let what lies in a file be unknown."""
        self.source[self.source == source] = -1
