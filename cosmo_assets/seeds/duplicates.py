"""Duplicates among all seeds, found from digests and signatures alone; texts are read of candidates only.

Belongs here: which rows repeat an earlier one, exactly or nearly. Does not belong here: where rows lie (`files`), or
MinHash itself (`cosmo_assets.deduplication.minhash`).

Rows are numbered in the order of reading: sources in the recipe's order, units by name, rows as they stand. The first
of two equal or similar ones stays, so what comes out is a function of what is there, whatever came and went before.

Near-duplicates: two rows are candidates if they share a band of their MinHash signatures (Broder 1997; parameters as
for generated texts). In order, a row is compared with what stayed of its candidates and, of a candidate that fell, with
the row that it was similar to. It falls if its Jaccard similarity of word 5-grams to one of them exceeds the threshold.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.deduplication import signer
from cosmo_assets.deduplication.minhash import configuration
from cosmo_assets.recipe.deduplication import MinHashMethod
from cosmo_resources.storage.digest import digest

MINHASH = MinHashMethod()
BANDS = MINHASH.bands
BATCH_CHARS = 64_000_000
"""Characters of candidates' texts that are compared at a time; a larger component is compared as a whole."""

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


def shingle_hashes(text: str) -> Hashes:
    """The word 5-grams of a text as sorted distinct 64-bit hashes: sets of them are as similar as the sets of 5-grams,
    but for collisions (one in 10^13 for two texts of 1,000 words)."""
    hashes: Hashes = np.unique(signer.shingle_hashes(text, configuration(MINHASH)))
    return hashes


def band_hashes(text: str) -> list[int] | None:
    """One 64-bit hash per band of the text's MinHash signature: equal where all hashes of the band are. None for a
    text with fewer words than a shingle. Cost: linear in the text."""
    (signature,), (signed,) = signer.signatures(pa.array([text]), configuration(MINHASH))
    if not signed:
        return None
    bands = signature.astype("<u8")
    return [int.from_bytes(hashlib.blake2b(band.tobytes(), digest_size=8).digest(), "little") for band in bands]


def repeated(high: Hashes, low: Hashes) -> npt.NDArray[np.bool_]:
    """Whether an earlier row has the same digest (its two halves). Cost: sorting, 24 bytes per row."""
    found = np.zeros(len(high), dtype=bool)
    order = np.lexsort((low, high))  # stable: equal digests stay in the order of reading
    same = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
    found[order[1:][same]] = True
    return found


@dataclass(frozen=True)
class Component:
    """Rows that are connected by shared bands, in order, and for each the groups that it shares with others."""

    rows: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]


def components(bands: Iterable[tuple[Rows, Hashes]]) -> list[Component]:
    """The rows that share a band with another, by connected component, in the order of their first rows.

    `bands` gives one band after another: the numbers of the rows that have a signature, ascending, and their hashes.
    Cost: sorting each band. Memory: one band, and what shares one.
    """
    groups_of: dict[int, list[int]] = defaultdict(list)
    parent: dict[int, int] = {}
    count = 0
    for rows, hashes in bands:
        for members in _equal(rows, hashes):
            first = _root(parent, members[0])
            for row in members:
                groups_of[row].append(count)
                root = _root(parent, row)
                parent[max(first, root)] = first = min(first, root)
            count += 1  # groups are numbered over all bands
    found: dict[int, list[int]] = defaultdict(list)
    for row in sorted(groups_of):
        found[_root(parent, row)].append(row)
    return [Component(tuple(rows), tuple(tuple(groups_of[row]) for row in rows)) for _, rows in sorted(found.items())]


def _equal(rows: Rows, hashes: Hashes) -> Iterator[list[int]]:
    """Runs of rows with equal hashes, of at least two rows, each ascending."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.empty(0, int)
    sizes = np.diff(np.append(starts, len(ordered)))
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        yield rows[order[start : start + size]].tolist()


def _root(parent: dict[int, int], row: int) -> int:
    path = []
    while (above := parent.setdefault(row, row)) != row:
        path.append(row)
        row = above
    for passed in path:
        parent[passed] = row
    return row


def twins(component: Component, text_of: Mapping[int, str], threshold: float) -> list[int]:
    """For each row of a component, the place in it of the earlier row that it is a near-duplicate of, -1 for none.
    Cost: the pairs that share a band, at most."""
    shingles: dict[int, Hashes] = {}
    stayed: dict[int, set[int]] = defaultdict(set)
    found = []
    for place, (row, groups) in enumerate(zip(component.rows, component.groups, strict=True)):
        shingles[place] = shingle_hashes(text_of[row])
        candidates = sorted(set().union(*(stayed[group] for group in groups)))
        twin = next((other for other in candidates if jaccard(shingles[place], shingles[other]) > threshold), -1)
        found.append(twin)
        if twin >= 0:
            del shingles[place]
        for group in groups:
            stayed[group].add(place if twin < 0 else twin)
    return found


def jaccard(left: Hashes, right: Hashes) -> float:
    """Similarity of two sets of hashes, each sorted and distinct; 1.0 for two empty ones."""
    shared = np.intersect1d(left, right, assume_unique=True).size
    union = left.size + right.size - shared
    return float(shared / union) if union else 1.0


def component_key(seeds: Sequence[str], threshold: float, version: str) -> str:
    """What the twins of a component depend on: its seeds in order, for an id stands for a text and so for its bands."""
    return digest("component", version, repr(threshold), *seeds)


def batches(sizes: Sequence[int]) -> Iterator[range]:
    """Neighbouring components in batches of at most `BATCH_CHARS` characters, or of one larger component, each by its
    size in characters."""
    start = held = 0
    for number, size in enumerate(sizes):
        if held and held + size > BATCH_CHARS:
            yield range(start, number)
            start, held = number, 0
        held += size
    if start < len(sizes):
        yield range(start, len(sizes))
