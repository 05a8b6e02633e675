"""The files of the index: arrays that map into memory, each block of which is compared with its digest when it is read.

Belongs here: how an array lies on disk and is proved unharmed, and the search of sorted ids. Does not belong here: what
any array means (`index` writes them, `lookup` reads them).

A look-up touches a dozen places in gigabytes, so the checksums of the manifest, which cover whole files, are of no use
to it. `blocks.npy` therefore holds a digest of every 16 KiB of every file, and is itself compared with the manifest
when the index is opened: nothing is answered from a byte that was not proved, and a look-up proves what it touches.
"""

import hashlib
import json
import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cosmo_assets.ids import Numbers, halves_of, ids_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import canonical_json, file_digest
from cosmo_resources.storage.files import write_text
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

FOLDER = "index"
LAYOUT, BLOCKS = f"{FOLDER}/layout.json", f"{FOLDER}/blocks.npy"
BLOCK = 1 << 14
CELL = 64
"""Keys, on average, that a look-up searches among once the fence has been read."""

ID_BITS = 64
NO_PROMPT = np.uint32(0xFFFFFFFF)
"""The number of the prompt of a document without one."""
REMEDY = "run `cosmo doctor --deep`, remove the folder, and run `cosmo run --asset token_lineage`"

Array = npt.NDArray[Any]
Places = npt.NDArray[np.int64]


class IndexWriter:
    """Writes arrays as artifacts of a dataset, and in the end what proves them."""

    def __init__(self, writer: DatasetWriter) -> None:
        self._writer = writer
        self._blocks: dict[str, Numbers] = {}

    def add(self, name: str, values: Array) -> None:
        """Write an array. Memory: nothing beside it."""
        self.add_file(name, lambda path: _save(path, values))

    def add_file(self, name: str, produce: Callable[[Path], None]) -> None:
        """Add an array that `produce` writes as a .npy file, or links to."""
        file = file_name(name)
        self._writer.artifact(file, produce)
        self._blocks[file] = _block_digests(self._writer.folder / file)

    def add_ids(self, name: str, halves: Numbers) -> None:
        """Write sorted ids (n x 2, as `halves_of` makes them), and the fence through which one is found."""
        self.add(f"{name}.id", halves)
        self.add(f"{name}.fence", fence(halves[:, 0], fence_bits(len(halves))))

    def add_groups(self, name: str, bounds: Array, members: Array) -> None:
        """Write lists: those of group g are `members[bounds[g] : bounds[g + 1]]`."""
        self.add(f"{name}.bounds", bounds)
        self.add(name, members)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write `facts` (JSON) and the digests of all blocks."""
        starts = np.concatenate([[0], np.cumsum([len(found) for found in self._blocks.values()])]).tolist()
        places = dict(zip(self._blocks, starts[:-1], strict=True))
        digests = np.concatenate(list(self._blocks.values()))
        text = canonical_json({**facts, "blocks": places})
        self._writer.artifact(LAYOUT, lambda path: write_text(path, text + "\n"))
        self._writer.artifact(BLOCKS, lambda path: _save(path, digests))


class IndexFiles:
    """The arrays of a stored index. `facts` are those that were given to `IndexWriter.finish`."""

    def __init__(self, dataset: Dataset) -> None:
        """Raises:
        CosmoError: the version holds no such index, or its proofs were changed.
        """
        self._folder = dataset.folder
        recorded = {entry.name: entry.content for entry in dataset.manifest.files}
        for name in (LAYOUT, BLOCKS):
            if name not in recorded or file_digest(self._folder / name) != recorded[name]:
                raise CosmoError(f"{self._folder / name}: not what was written", remedy=REMEDY)
        self.facts: dict[str, Any] = json.loads((self._folder / LAYOUT).read_text(encoding="utf-8"))
        self._blocks: Numbers = np.load(self._folder / BLOCKS)
        self._opened: dict[str, Checked] = {}

    def array(self, name: str) -> "Checked":
        """An array by name; its file is opened once."""
        file = file_name(name)
        if file not in self._opened:
            path, first = self._folder / file, self.facts["blocks"][file]
            self._opened[file] = Checked(path, self._blocks[first : first - (-path.stat().st_size // BLOCK)])
        return self._opened[file]

    def ids(self, name: str) -> "SortedIds":
        return SortedIds(self.array(f"{name}.id"), self.array(f"{name}.fence"))

    def groups(self, name: str) -> "Groups":
        return Groups(self.array(f"{name}.bounds"), self.array(name))


class Checked:
    """A stored array, read where it is asked for.

    Raises, whenever it is read:
        CosmoError: the bytes there are not those that were written.
    """

    def __init__(self, path: Path, digests: Numbers) -> None:
        self.path = path
        self._digests = digests
        self._proved = np.zeros(len(digests), bool)
        with path.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._map.madvise(mmap.MADV_RANDOM)  # else each look-up would read megabytes ahead
            self._bytes = memoryview(self._map)
            self._prove(0, 1)
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(stream)
            self._head = stream.tell()
        count = int(np.prod(shape))
        self._values: Array = np.frombuffer(self._bytes, kind, count, self._head).reshape(shape)
        self._width = self._values.nbytes // len(self._values) if len(self._values) else 1

    def __len__(self) -> int:
        return len(self._values)

    def item(self, place: int) -> Any:
        """One value."""
        return self.slice(place, place + 1)[0].item()

    def slice(self, start: int, stop: int) -> Array:
        """A run of values, not copied."""
        if start < stop:
            self._prove(self._head + start * self._width, self._head + stop * self._width)
        return self._values[start:stop]

    def take(self, places: Array) -> Array:
        """The values at many places."""
        if len(places):
            first = self._head + places.astype(np.int64) * self._width
            blocks = np.unique(np.concatenate([first, first + self._width - 1]) // BLOCK)
            for block in blocks[~self._proved[blocks]].tolist():
                self._prove(block * BLOCK, block * BLOCK + 1)
        return self._values[places]

    def _prove(self, start: int, stop: int) -> None:
        first, last = start // BLOCK, -(-stop // BLOCK)
        if self._proved[first:last].all():
            return
        self._map.madvise(
            mmap.MADV_WILLNEED, first * BLOCK, min((last - first) * BLOCK, len(self._map) - first * BLOCK)
        )
        for block in (first + np.flatnonzero(~self._proved[first:last])).tolist():
            if _digest(self._bytes[block * BLOCK : (block + 1) * BLOCK]) != int(self._digests[block]):
                raise CosmoError(f"{self.path}: damaged or edited near byte {block * BLOCK}", remedy=REMEDY)
            self._proved[block] = True


class SortedIds:
    """Sorted ids: where one stands, in one step through the fence and one search among about `CELL` of them."""

    def __init__(self, ids: Checked, cells: Checked) -> None:
        self._ids = ids
        self._cells = cells
        self._shift = ID_BITS - (len(cells) - 2).bit_length()

    def __len__(self) -> int:
        return len(self._ids)

    def beginning_with(self, start: str) -> tuple[int, int]:
        """From where to where ids stand that begin with these hexadecimal digits; equal places if none does."""
        if not 0 < len(start) <= 32 or set(start) - set("0123456789abcdef"):
            return 0, 0
        return self._place(start.ljust(32, "0"), "left"), self._place(start.ljust(32, "f"), "right")

    def find(self, name: str) -> int | None:
        """The place of an id."""
        first, last = self.beginning_with(name) if len(name) == 32 else (0, 0)
        return first if first < last else None

    def names(self, places: Array) -> list[str]:
        """The ids at many places."""
        found: list[str] = ids_of(self._ids.take(places)).to_pylist()
        return found

    def name(self, place: int) -> str:
        return self.names(np.array([place]))[0]

    def _place(self, name: str, side: Any) -> int:
        high, low = np.uint64(int(name[:16], 16)), np.uint64(int(name[16:], 16))
        cell = int(high) >> self._shift
        first, last = (int(bound) for bound in self._cells.slice(cell, cell + 2))
        rows = self._ids.slice(first, last)
        start, stop = np.searchsorted(rows[:, 0], high, "left"), np.searchsorted(rows[:, 0], high, "right")
        return first + int(start + np.searchsorted(rows[start:stop, 1], low, side))


class Groups:
    """Lists of numbers, one for each group (compressed sparse rows)."""

    def __init__(self, bounds: Checked, members: Checked) -> None:
        self._bounds = bounds
        self._members = members

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def size(self, first: int, last: int) -> int:
        """How many members the groups from `first` to before `last` have."""
        return int(self._bounds.item(last)) - int(self._bounds.item(first))

    def of(self, first: int, last: int) -> Array:
        """The members of the groups from `first` to before `last`."""
        return self._members.slice(int(self._bounds.item(first)), int(self._bounds.item(last)))

    def of_each(self, groups: Array) -> Array:
        """The members of many groups, one after the other."""
        starts, stops = self._bounds.take(groups), self._bounds.take(groups + 1)
        return self._members.take(runs(starts, stops))


def file_name(name: str) -> str:
    """The artifact that holds an array."""
    return f"{FOLDER}/{name}.npy"


def runs(starts: Array, stops: Array) -> Places:
    """The numbers from each start to before its stop, one run after the other."""
    sizes = stops.astype(np.int64) - starts.astype(np.int64)
    offsets = np.repeat(starts.astype(np.int64) - (np.cumsum(sizes) - sizes), sizes)
    found: Places = offsets + np.arange(len(offsets))
    return found


def fence_bits(count: int) -> int:
    """How many leading bits of a key choose its cell, so that a cell has about `CELL` of `count` keys."""
    return (count // CELL).bit_length()


def fence(keys: Numbers, bits: int) -> npt.NDArray[np.uint32]:
    """Where each cell of sorted keys begins, and where the last one ends. A cell has the keys that agree in their first
    `bits` bits: of hashes, about equally many."""
    if not bits:
        return np.array([0, len(keys)], np.uint32)
    edges = np.arange(1 << bits, dtype=np.uint64) << np.uint64(ID_BITS - bits)
    return np.append(np.searchsorted(keys, edges), len(keys)).astype(np.uint32)


def grouped(groups: Array, count: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """`bounds` and `members` of the groups 0 to `count`, for the group of each member; members ascend in each."""
    bounds = np.zeros(count + 1, np.uint32)
    np.cumsum(np.bincount(groups, minlength=count), out=bounds[1:])
    return bounds, np.argsort(groups, kind="stable").astype(np.uint32)


def numbered(halves: Numbers) -> tuple[Numbers, npt.NDArray[np.uint32], Places]:
    """Distinct ids, sorted (n x 2); the number of each row's id among them; and for each id a row that has it, the
    first one. Memory: 40 bytes a row while it works."""
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    new = np.ones(len(order), bool)
    for column in (0, 1):
        ordered = halves[order, column]
        changes = ordered[1:] != ordered[:-1]
        new[1:] = changes if column == 0 else new[1:] | changes
    numbers = np.empty(len(order), np.uint32)
    numbers[order] = np.cumsum(new) - 1
    firsts = order[new]
    return halves[firsts], numbers, firsts


def places_of(wanted: Numbers, halves: Numbers) -> Places:
    """Where each wanted id stands among sorted distinct ids; -1 where it does not.

    The wanted ones are looked up in their order: neighbours then find what they need in the processor's cache, which
    makes it five times as fast. Cost: also copying half of the sorted ids, so ask for many at once.
    """
    found = np.full(len(wanted), -1, np.int64)
    if not len(halves):
        return found
    order = np.argsort(wanted[:, 0])
    asked, last = wanted[order], len(halves) - 1
    places = np.minimum(np.searchsorted(halves[:, 0], asked[:, 0]), last)
    behind = np.arange(len(places))
    while len(behind):  # ids that agree in their first 64 bits: as good as none
        here = halves[places[behind]]
        behind = behind[(here[:, 0] == asked[behind, 0]) & (here[:, 1] < asked[behind, 1]) & (places[behind] < last)]
        places[behind] += 1
    found[order] = np.where((halves[places] == asked).all(axis=1), places, -1)
    return found


def halves(column: Any, asset: str) -> Numbers:
    """The ids of a column of an asset.

    Raises:
        CosmoError: one of them is no id.
    """
    try:
        return halves_of(column)
    except ValueError as error:
        raise CosmoError(
            f"{asset}: a value that should be an id: {error}", remedy=f"remove {asset} and run `cosmo run`"
        ) from error


def _save(path: Path, values: Array) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, values, version=(1, 0), allow_pickle=False)


def _digest(block: Any) -> int:
    return int.from_bytes(hashlib.blake2b(block, digest_size=8).digest(), "little")


def _block_digests(path: Path) -> Numbers:
    found = []
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            found.append(_digest(block))
    return np.array(found, np.uint64)
