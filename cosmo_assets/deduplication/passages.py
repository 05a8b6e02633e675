"""Copied passages: documents much of which stands in better documents, in whatever order and however long these are.

Belongs here: which windows of a text are remembered, and who had them first. Does not belong here: words and their
hashes (`cosmo_assets.words.hashing`), or files (`records`).

A text's windows of 50 words are what ExactSubstr looks for (Lee et al., 2022, section 4.1). Of them those are kept
whose hash is divisible by `SAMPLE`, so that equal passages of two texts keep the same ones (Schleimer et al., 2003,
section 2); the share of a text that was copied is estimated from these.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.deduplication.records import Hashes, Positions, Records, write_records
from cosmo_assets.recipe.deduplication import PassagesMethod
from cosmo_assets.words.compiled import compiled
from cosmo_assets.words.hashing import hashed

FILE = "passages.sig"
SAMPLE = np.uint64(8)
"""One window in so many is kept."""

Ranks = npt.NDArray[np.int64]


class PassageSigner:
    """The windows of texts that are remembered. Memory: 16 bytes for each, a text of 600 words has some 70."""

    def __init__(self, method: PassagesMethod) -> None:
        self._size = method.words
        self._texts = 0
        self._found: list[tuple[Hashes, Positions]] = []

    def add(self, texts: pa.Array) -> None:
        """Cost: linear in the texts."""
        words = hashed(texts, "folded")
        starts = words.starts(self._size)
        windows = mixed(words.windows(starts, self._size))
        kept = windows % SAMPLE == 0
        self._found.append((windows[kept], words.owners(starts[kept]).astype(np.int64) + self._texts))
        self._texts += len(texts)

    def write(self, folder: Path) -> None:
        """Write `FILE`, in which the position of a text is the number of texts that were added before it. A window that
        a text repeats is there once."""
        windows = np.concatenate([np.empty(0, np.uint64), *(windows for windows, _ in self._found)])
        owners = np.concatenate([np.empty(0, np.int64), *(owners for _, owners in self._found)])
        order = np.lexsort((owners, windows))
        windows, owners = windows[order], owners[order]
        new = np.ones(len(windows), np.bool_)
        new[1:] = (windows[1:] != windows[:-1]) | (owners[1:] != owners[:-1])
        write_records(windows[new, None], owners[new], folder / FILE)


def mixed(hashes: Hashes) -> Hashes:
    """Hashes of which every bit depends on every bit (the finalizer of splitmix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Hashes = hashes ^ (hashes >> np.uint64(31))
    return found


def copies(windows: Hashes, ranks: Ranks, documents: int, share: float) -> Ranks:
    """For each rank, from the best document on, the rank of the document that it is a copy of, its own if of none.

    A document is a copy if at least `share` of its windows stand in better documents that are none; it is one of the
    document that holds most of them. `windows` and `ranks` (n,) are all windows, in any order.

    Cost: sorting the windows. Memory: some 40 bytes for each.
    """
    totals = np.bincount(ranks, minlength=documents)
    order = np.argsort(windows, kind="stable")
    ordered = windows[order]
    new = np.ones(len(windows), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    group = np.cumsum(new) - 1
    shared = np.bincount(group, minlength=1)[group] > 1
    group, owners = group[shared], ranks[order[shared]]
    by_owner = np.argsort(owners, kind="stable")
    bounds = np.searchsorted(owners[by_owner], np.arange(documents + 1))
    copied = np.arange(documents)
    holder = np.full(int(group.max(initial=-1)) + 1, -1, np.int64)
    room = np.empty(int(np.diff(bounds).max(initial=0)), np.int64)
    _copies(group[by_owner], bounds, totals, share, holder, room, copied)
    return copied


@compiled
def _copies(
    groups: Ranks, bounds: Ranks, totals: Ranks, share: float, holder: Ranks, room: Ranks, copied: Ranks
) -> None:
    for rank in range(len(bounds) - 1):
        held = 0
        for place in range(bounds[rank], bounds[rank + 1]):
            if holder[groups[place]] >= 0:
                room[held] = holder[groups[place]]
                held += 1
        if held > 0 and held + 1e-9 >= share * totals[rank]:
            holders = np.sort(room[:held])
            best, most, run = holders[0], 0, 0
            for at in range(held):
                run = run + 1 if at > 0 and holders[at] == holders[at - 1] else 1
                if run > most:
                    best, most = holders[at], run
            copied[rank] = best
        else:
            for place in range(bounds[rank], bounds[rank + 1]):
                if holder[groups[place]] < 0:
                    holder[groups[place]] = rank


def passages_of(records: Records) -> tuple[Hashes, Positions]:
    """The windows of a file's records and the positions of their documents."""
    return records["hashes"][:, 0], records["position"].astype(np.int64)
