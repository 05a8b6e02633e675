"""Files of signatures: records of hashes, each with the position of its document in the bucket, sorted.

Belongs here: writing, merging and reading such files. Does not belong here: what is hashed (`minhash`, `passages`).

The layout is datatrove's for MinHash bands, so that its own steps read these files too: little-endian, the hashes as
64-bit and then the position as 32-bit unsigned integers, sorted by the hashes and then the position.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]
Records = npt.NDArray[Any]
"""One-dimensional, with the fields `hashes`, (n,), and `position`."""


def record_type(hashes: int) -> np.dtype[Any]:
    """A record of so many hashes."""
    return np.dtype([("hashes", "<u8", (hashes,)), ("position", "<u4")])


def write_records(hashes: Hashes, positions: Positions, target: Path) -> None:
    """Write records, `hashes` (records, n) of documents at `positions` (records,). Cost: sorting."""
    records = np.empty(len(hashes), record_type(hashes.shape[1]))
    records["hashes"], records["position"] = hashes, positions
    _sorted(records).tofile(target)


def read_records(path: Path, hashes: int) -> Records:
    """The records of a file, mapped into memory."""
    if not path.stat().st_size:
        return np.empty(0, record_type(hashes))
    return np.memmap(path, record_type(hashes), mode="r")


def merge_records(parts: Sequence[tuple[Path, Positions]], hashes: int, target: Path) -> None:
    """Write the records of several files as one. Each file comes with the new position of each of its documents, -1
    for those left out. Cost: reading and sorting."""
    gathered = [np.empty(0, record_type(hashes))]
    for path, positions in parts:
        records = np.array(read_records(path, hashes))
        moved = positions[records["position"]]
        records["position"] = np.maximum(moved, 0)
        gathered.append(records[moved >= 0])
    _sorted(np.concatenate(gathered)).tofile(target)


def _sorted(records: Records) -> Records:
    return records[record_order(records["hashes"], records["position"])]


def record_order(hashes: Hashes, positions: npt.NDArray[np.integer[Any]]) -> Positions:
    """The order of records by all hashes of a band, then by position. Few agree in their first hash: only these are
    compared in the others."""
    order = np.argsort(hashes[:, 0])
    first = hashes[order, 0]
    equal = first[1:] == first[:-1]
    tied = np.concatenate([equal, [False]]) | np.concatenate([[False], equal]) if len(order) else equal
    some = order[tied]
    keys = [hashes[some, column] for column in range(hashes.shape[1])]
    order[tied] = some[np.lexsort((positions[some], *reversed(keys)))]
    return order
