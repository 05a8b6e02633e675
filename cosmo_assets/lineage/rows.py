"""Reading single rows of large datasets by their number.

Belongs here: from a row's number to its values, reading as little as the files allow. Does not belong here: which row
it is (`lookup`).
"""

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import Dataset

OPEN_FILES = 64


class Rows:
    """The rows of a dataset, numbered over all its parts. `key` is the column that proves which row was read."""

    def __init__(self, dataset: Dataset, key: str) -> None:
        self._dataset = dataset
        self._key = key
        self._ends = list(accumulate(entry.rows for entry in dataset.manifest.files if entry.role == "rows"))
        self._paths = dataset.paths()

    def read(self, number: int, name: str | None = None) -> dict[str, Any]:
        """One row. Cost: its row group is read, all columns.

        Raises:
            CosmoError: the row is not the one named `name`, or the file is damaged.
        """
        part = bisect_right(self._ends, number)
        if part == len(self._paths):
            raise self._damaged(self._dataset.folder, f"no row {number}")
        path = self._paths[part]
        row = self._read(path, number - (self._ends[part - 1] if part else 0))
        if name is not None and row[self._key] != name:
            raise self._damaged(path, f"row {number} is {row[self._key]}, the index says {name}")
        return row

    def _read(self, path: Path, number: int) -> dict[str, Any]:
        try:
            file, ends = _opened(path)
            group = bisect_right(ends, number)
            table = file.read_row_group(group, use_threads=False)
            found: dict[str, Any] = table.slice(number - (ends[group - 1] if group else 0), 1).to_pylist()[0]
        except (OSError, pa.ArrowException, IndexError, UnicodeDecodeError) as error:
            raise self._damaged(path, f"row {number} cannot be read: {error}") from error
        return found

    def _damaged(self, path: Path, problem: str) -> CosmoError:
        asset = self._dataset.manifest.asset
        return CosmoError(f"{path}: {problem}", remedy=f"run `cosmo doctor --deep`, then `cosmo run --asset {asset}`")


@lru_cache(OPEN_FILES)
def _opened(path: Path) -> tuple[pq.ParquetFile, list[int]]:
    file = pq.ParquetFile(path, memory_map=True)
    metadata = file.metadata
    return file, list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
