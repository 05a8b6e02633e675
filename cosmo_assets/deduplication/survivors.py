"""Which documents are kept: all documents in the order of the policy, and the methods applied to them one by one.

Belongs here: ranks, and what becomes of duplicates of duplicates. Does not belong here: the methods themselves
(`exact`, `minhash`, `passages`, `semantic`), or what is written of it (`clusters`).

Documents are numbered by their rank: 0 is the best, and of several duplicates the lowest rank is kept. So the outcome
depends on the documents alone, not on buckets, workers or the order of reading.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from cosmo_assets.deduplication import exact, minhash, passages, semantic
from cosmo_assets.deduplication.embeddings import read_vectors
from cosmo_assets.deduplication.records import Records, read_records
from cosmo_assets.recipe.deduplication import (
    Deduplication,
    DeduplicationMethod,
    ExactMethod,
    MinHashMethod,
    PassagesMethod,
)
from cosmo_resources.storage.store import Dataset

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Signed:
    """The signatures of one bucket: of this corpus, or of another one whose documents stay as they are."""

    signatures: Dataset
    embeddings: Dataset | None = None
    settled: frozenset[str] | None = None
    """Of another corpus: the documents that it keeps."""
    real: bool = False
    """Real documents: they go before generated ones, and nobody has embeddings of them."""


@dataclass(frozen=True)
class Ranked:
    """All documents by rank. `parts` are their buckets; `of_part` gives the ranks of a bucket's documents, by their
    position, -1 for those that have no say. The first `settled` ranks are those of other corpora."""

    parts: Sequence[Signed]
    of_part: Sequence[Ranks]
    settled: int

    def __len__(self) -> int:
        return int(sum((ranks >= 0).sum() for ranks in self.of_part))

    def column(self, name: str) -> list[pa.ChunkedArray]:
        """A column of the signatures, by bucket."""
        return [part.signatures.table([name])[name] for part in self.parts]

    def records(self, name: str, hashes: int, alive: npt.NDArray[np.bool_]) -> tuple[Records, Ranks]:
        """The records of a file of each bucket, of documents that are alive, and these documents' ranks."""
        found, owners = [], []
        for part, of_part in zip(self.parts, self.of_part, strict=True):
            records = read_records(part.signatures.folder / name, hashes)
            ranks = of_part[records["position"]]
            chosen = (ranks >= 0) & alive[ranks]
            found.append(records[chosen])
            owners.append(ranks[chosen])
        return np.concatenate(found), np.concatenate(owners)


@dataclass(frozen=True)
class Outcome:
    """What a method found among the documents that were left to it: for each rank the rank that it keeps of its
    cluster, its own where it is in none."""

    method: str
    survivor: Ranks


def ranked(parts: Sequence[Signed], policy: Deduplication) -> Ranked:
    """Documents in the order of the policy: those of other corpora first, then the real ones, then by
    `policy.survivor`, at last by id.
    Cost: sorting. Memory: 32 bytes for an id."""
    tables = [part.signatures.table(["doc_id", "quality", "words"]) for part in parts]
    owner = np.repeat(np.arange(len(parts)), [table.num_rows for table in tables])
    whole = pa.concat_tables(tables)
    settled, real = (
        np.concatenate([np.full(table.num_rows, mark) for mark, table in zip(marks, tables, strict=True)])
        for marks in ([part.settled is not None for part in parts], [part.real for part in parts])
    )
    keys = [np.concatenate([np.array(table["doc_id"].to_pylist(), "S32") for table in tables])]
    keys += [-whole[name].to_numpy() for name in reversed(policy.survivor)]
    order = np.lexsort((*keys, ~real, ~settled))
    silent = _silent(parts, tables)
    order = order[~silent[order]]
    rank = np.full(len(owner), -1, np.int64)
    rank[order] = np.arange(len(order))
    bounds = np.searchsorted(owner, np.arange(1, len(parts)))
    return Ranked(parts, np.split(rank, bounds), int(settled[order].sum()))


def _silent(parts: Sequence[Signed], tables: Sequence[pa.Table]) -> npt.NDArray[np.bool_]:
    """Documents that another corpus does not keep."""
    found = []
    for part, table in zip(parts, tables, strict=True):
        if part.settled is None:
            found.append(np.zeros(table.num_rows, np.bool_))
        else:
            kept = pc.is_in(table["doc_id"], pa.array(sorted(part.settled), pa.string()))
            found.append(~kept.to_numpy(zero_copy_only=False).astype(bool))
    return np.concatenate(found)


def outcomes(documents: Ranked, methods: Iterable[DeduplicationMethod]) -> Iterator[Outcome]:
    """What each method finds among the documents that the ones before it kept."""
    own = np.arange(len(documents))
    alive = np.ones(len(documents), np.bool_)
    for method in methods:
        survivor = _survivors(documents, method, alive)
        survivor[: documents.settled] = own[: documents.settled]
        alive &= survivor == own
        yield Outcome(method.method, survivor)


def resolved(found: Sequence[Outcome]) -> Ranks:
    """For each rank the rank that stands for it in the end: what was kept by one method may be dropped by the next."""
    last = np.arange(len(found[0].survivor))
    for outcome in found:
        last = outcome.survivor[last]
    return last


def _survivors(documents: Ranked, method: DeduplicationMethod, alive: npt.NDArray[np.bool_]) -> Ranks:
    survivor = np.arange(len(documents))
    left = np.flatnonzero(alive)
    if isinstance(method, ExactMethod):
        keys = np.empty((len(documents), 2), np.uint64)
        for hashes, ranks in zip(documents.column("text_hash"), documents.of_part, strict=True):
            keys[ranks[ranks >= 0]] = exact.as_integers(hashes)[ranks >= 0]
        survivor[left] = left[exact.first_of_equal(keys[left])]
    elif isinstance(method, MinHashMethod):
        bands = (documents.records(minhash.band_name(band), method.rows, alive) for band in range(method.bands))
        survivor = best_connected(len(documents), minhash.linked(bands))
    elif isinstance(method, PassagesMethod):
        records, ranks = documents.records(passages.FILE, 1, alive)
        survivor = passages.copies(records["hashes"][:, 0], ranks, len(documents), method.share)
    else:
        pairs = zip(documents.parts, documents.of_part, strict=True)
        vectors = [(read_vectors(part.embeddings), ranks) for part, ranks in pairs if part.embeddings]
        gathered = np.empty((len(documents), vectors[0][0].shape[1]), np.float16)
        embedded = np.zeros(len(documents), np.bool_)
        for found, ranks in vectors:
            gathered[ranks[ranks >= 0]] = found[ranks >= 0]
            embedded[ranks[ranks >= 0]] = True
        left = left[embedded[left]]
        survivor[left] = left[semantic.similar(gathered[left].astype(np.float32), method)]
    return survivor


def best_connected(count: int, links: Iterable[tuple[Ranks, Ranks]]) -> Ranks:
    """For each of `count` ranks the best one that it is connected with. Cost: linear in the links."""
    pairs = list(links)
    left, right = (np.concatenate([np.empty(0, np.int64), *(pair[side] for pair in pairs)]) for side in (0, 1))
    graph = sp.coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    best: Ranks = first[labels].astype(np.int64)
    return best
