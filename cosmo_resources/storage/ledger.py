"""The ledger of long work: shards with a row log while they are open and a done marker once they are sealed.

Belongs here: what survives a kill and how it is read again. Does not belong here: what a row means, or who works on
which shard (`cosmo_resources.pools`).

A shard `00003` of a plan is, in the plan's folder:

- `shard-00003.rows.jsonl`   append-only, one finished row a line; a killed worker loses at most its last, cut line
- `shard-00003.turns.jsonl`  the same for answers within a row that takes several requests, until the row is finished
- `shard-00003.parquet`      all rows, in the plan's order, written once when none is missing
- `shard-00003.done.json`    written after the parquet file: the shard is finished (`ShardDone`)
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from cosmo_resources.storage.digest import file_digest, table_digest
from cosmo_resources.storage.files import disk_errors, exclusive, write_parquet, write_text
from cosmo_resources.storage.manifest import Frozen
from cosmo_resources.storage.store import WORK_NAME
from cosmo_resources.storage.writer import read_table


class ShardDone(Frozen):
    """What is known of a sealed shard. `counters` are sums over its rows, added up for the manifest."""

    index: int
    rows: int
    bytes: int
    content: str
    checksum: str
    counters: dict[str, int]


class ShardLedger:
    """The ledger in `folder` (`.work/<plan digest>` of a bucket)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def parquet(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.parquet"

    def done(self, index: int) -> ShardDone | None:
        """The done marker of a shard whose file is whole, else None."""
        marker = self._marker(index)
        if not marker.is_file():
            return None
        done = ShardDone.model_validate_json(marker.read_text(encoding="utf-8"))
        path = self.parquet(index)
        return done if path.is_file() and path.stat().st_size == done.bytes else None

    def unsealed(self, shards: int) -> list[int]:
        """Which of the first `shards` shards are not finished."""
        return [index for index in range(shards) if self.done(index) is None]

    def claim(self, index: int) -> Any:
        """A context manager that holds a shard for this process; yields False where another process holds it."""
        return exclusive(self.folder / f"shard-{index:05d}.lock", wait=False)

    def open_log(self, index: int) -> "RowLog":
        return RowLog(self._log(index))

    def open_turns(self, index: int) -> "RowLog":
        return RowLog(self._turns(index))

    def seal(self, index: int, table: pa.Table, counters: Mapping[str, int]) -> ShardDone:
        """Write the shard's table and then its done marker; the row log is no longer needed after that."""
        path = self.parquet(index)
        write_parquet(path, table)
        done = ShardDone(
            index=index,
            rows=table.num_rows,
            bytes=path.stat().st_size,
            content=table_digest(table),
            checksum=file_digest(path),
            counters=dict(counters),
        )
        write_text(self._marker(index), done.model_dump_json() + "\n")
        self._log(index).unlink(missing_ok=True)
        self._turns(index).unlink(missing_ok=True)
        return done

    def reopen(self, index: int) -> None:
        """Make a sealed shard an open one: its rows go back to the log, so that a kill at any moment loses none."""
        rows = read_table(self.parquet(index)).to_pylist()
        write_text(self._log(index), "".join(map(_line, rows)))
        self._marker(index).unlink()
        self.parquet(index).unlink()

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """All finished rows, of sealed and of open shards, in no particular order. Those of a shard whose file is
        damaged are left out: they are worked again."""
        sealed = self._sealed()
        for index in sealed:
            yield from read_table(self.parquet(index)).to_pylist()
        for path in self._open_logs(sealed):
            yield from read_log(path)

    def finished_rows(self) -> int:
        """How many rows are finished, for progress: reads markers and counts the lines of the open logs."""
        sealed = self._sealed()
        rows = sum(done.rows for done in sealed.values())
        for path in self._open_logs(sealed):
            try:
                rows += path.read_bytes().count(b"\n")
            except FileNotFoundError:  # sealed between the listing and the reading
                continue
        return rows

    def _sealed(self) -> dict[int, ShardDone]:
        found = (self.done(_index_of(path)) for path in sorted(self.folder.glob("shard-*.done.json")))
        return {done.index: done for done in found if done}

    def _open_logs(self, sealed: Mapping[int, ShardDone]) -> list[Path]:
        """The logs that count: one beside a done marker was left by a kill just before its removal."""
        return [path for path in sorted(self.folder.glob("shard-*.rows.jsonl")) if _index_of(path) not in sealed]

    def _log(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.rows.jsonl"

    def _turns(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.turns.jsonl"

    def _marker(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.done.json"


class RowLog:
    """Appends finished rows to an open shard's log. A row is safe from a kill of the process once `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: TextIO | None = None

    def read(self) -> list[dict[str, Any]]:
        """What the log holds."""
        return list(read_log(self.path)) if self.path.is_file() else []

    def append(self, row: Mapping[str, Any]) -> None:
        with disk_errors(self.path.parent):
            if self._stream is None:
                _drop_cut_line(self.path)
                self._stream = self.path.open("a", encoding="utf-8")
            self._stream.write(_line(row))
            self._stream.flush()

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with disk_errors(self.path.parent):  # closing writes what a full disk refused before
                stream.close()


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The whole rows of a log; a last line that was cut by a kill is left out."""
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:  # a line damaged by a crash of the machine: its row is worked again
                continue
            yield row


def work_folders(bucket_folder: Path) -> list[Path]:
    """The plan folders with unpublished work of a bucket, whatever plan they belong to."""
    return sorted(path for path in (bucket_folder / WORK_NAME).glob("*") if (path / "plan.json").is_file())


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=True) + "\n"


def _index_of(path: Path) -> int:
    return int(path.name.removeprefix("shard-").split(".")[0])


def _drop_cut_line(path: Path) -> None:
    if not path.is_file():
        return
    whole = path.read_bytes()
    keep = whole.rfind(b"\n") + 1
    if keep < len(whole):
        with path.open("r+b") as stream:
            stream.truncate(keep)
