"""Readers of records: one row, one document, the fields named by the recipe (JSON Lines, CSV, Parquet, Arrow).

Belongs here: formats in which a row is a document. Does not belong here: rows that hold conversations
(`conversations`) or courses (`courses`).
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_assets.seeds.readers.base import RECORD_OPTIONS, BadRow, Row, record
from cosmo_assets.seeds.readers.streams import MAX_ROW_BYTES, Line, json_rows, lines
from cosmo_resources.errors import CosmoError

CSV_OPTIONS: Mapping[str, Any] = {**RECORD_OPTIONS, "delimiter": ","}
BATCH_ROWS = 500
_REREAD = 4
"""How often the lines of a CSV file may be read again, on average."""


def jsonl(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """JSON Lines (plain, .gz, .zst, .bz2 or .xz), or one JSON array of objects; options `RECORD_OPTIONS`.

    AutoMathText is read with `id: url`, 20 Newsgroups with `title: subject`.
    """
    for item in json_rows(path):
        yield item if isinstance(item, BadRow) else record(*item, options)


def csv_table(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """CSV with a header, UTF-8, quoted as RFC 4180 says; plain or compressed; options `CSV_OPTIONS`. A row's place is
    the line on which it ends; that of a row that cannot be read, the line on which it begins. A quote that is missing
    costs its own line: reading goes on with the line after it.

    Cost: linear. Lines that a bad row has swallowed are read again, up to `_REREAD` times the size of the file; after
    that, reading goes on behind such rows. Memory: the lines of one row, at most `MAX_ROW_BYTES` characters of them.

    Raises:
        CosmoError: no header, or it lacks the text's column or one that the options name.
    """
    names = {**CSV_OPTIONS, **options}
    csv.field_size_limit(MAX_ROW_BYTES)
    damage: list[BadRow] = []
    source = _RowLines(_csv_lines(path, damage))
    try:
        rows = csv.reader(source, delimiter=names["delimiter"], strict=True)
    except (TypeError, ValueError) as error:
        raise CosmoError(f"{path}: option delimiter: {error}", remedy="set it to one character") from error
    header: list[str] | None = None
    count = 0
    while True:
        source.begin()
        try:
            cells = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            if header is None:
                raise CosmoError(
                    f"{path}: it is not CSV: {error}", remedy="check the file and its delimiter"
                ) from error
            count += 1
            first, last = source.lines
            taken = f"lines {first} to {last} were taken for one row: " if last > first else ""
            yield BadRow(f"{path.name}:{first}", "invalid_csv", detail=f"{taken}{error}")
            source.resume()
            continue
        if not cells:
            continue
        if header is None:
            header = cells
            require_columns(path, header, names, options)
            continue
        count += 1
        yield _csv_row(f"{path.name}:{source.lines[1]}", header, cells, names)
    if not count and not damage:
        damage.append(BadRow(path.name, "empty_file", detail="a header and no rows"))
    yield from damage


class _RowLines:
    """The lines of a CSV file, of which those of the present row can be given once more."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._ahead: list[str] = []  # the next line is the last of these
        self._row: list[str] = []
        self._chars = 0
        self._last = 0
        self._spare = 0  # how many characters may still be read again

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._chars > MAX_ROW_BYTES:
            raise csv.Error(f"a row of more than {MAX_ROW_BYTES} characters")
        if self._ahead:
            line = self._ahead.pop()
        else:
            line = next(self._source)
            self._spare += _REREAD * len(line)
        self._row.append(line)
        self._chars += len(line)
        self._last += 1
        return line

    @property
    def lines(self) -> tuple[int, int]:
        """Numbers of the first and the last line of the present row."""
        return self._last - len(self._row) + 1, self._last

    def begin(self) -> None:
        """A row begins with the next line."""
        self._row, self._chars = [], 0

    def resume(self) -> None:
        """Give the lines of the present row again, but for its first."""
        again = self._row[1:]
        if (size := sum(map(len, again))) <= self._spare:
            self._spare -= size
            self._ahead += reversed(again)
            self._last -= len(again)


def _csv_lines(path: Path, damage: list[BadRow]) -> Iterator[str]:
    """The lines, each with its end, for a quoted field may hold several; a lost line is recorded and left blank."""
    for line in lines(path, errors="surrogateescape"):
        if isinstance(line, Line):
            yield line.text + "\n" if line.ended else line.text
        else:
            damage.append(line)
            yield "\n"


def _csv_row(place: str, header: list[str], cells: list[str], names: Mapping[str, Any]) -> Row:
    if len(cells) != len(header):
        return BadRow(place, "wrong_field_count", detail=f"{len(cells)} fields, the header has {len(header)}")
    for name, cell in zip(header, cells, strict=True):
        if any("\udc80" <= char <= "\udcff" for char in cell):
            return BadRow(place, "not_utf8", name)
    return record(place, dict(zip(header, cells, strict=True)), names)


def parquet(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """Parquet, a row group at a time; only the columns that are needed are read; options `RECORD_OPTIONS`. A row's
    place is its number from 1. A damaged row group is one bad row that says how many rows are lost.

    Memory: the needed columns of the largest row group, at worst; writers make groups of some 100 MB, or of any size.

    Raises:
        CosmoError: it is no Parquet file, or lacks the text's column or one that the options name.
    """
    names = {**RECORD_OPTIONS, **options}

    def chosen(columns: list[str]) -> list[str]:
        require_columns(path, columns, names, options)
        return needed_columns(columns, names)

    for item in parquet_rows(path, chosen):
        yield item if isinstance(item, BadRow) else record(*item, names)


def parquet_rows(path: Path, choose: Callable[[list[str]], list[str]]) -> Iterator[tuple[str, Any] | BadRow]:
    """The rows of a Parquet file, each with its place; of its columns those that `choose` takes. Order, places, damage
    and memory as `parquet`.

    Raises:
        CosmoError: it is no Parquet file; or as `choose`.
    """
    try:
        if path.stat().st_size == 0:
            yield BadRow(path.name, "empty_file")
            return
        file = pq.ParquetFile(path, page_checksum_verification=True)
        columns = choose(file.schema_arrow.names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CosmoError(f"{path}: it cannot be read as Parquet: {error}", remedy="fetch the file again") from error
    with file:
        if file.metadata.num_rows == 0:
            yield BadRow(path.name, "empty_file")
        first = 1
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            yield from _row_group(file, group, first, size, columns, path.name)
            first += size


def _row_group(
    file: pq.ParquetFile, group: int, first: int, size: int, columns: list[str], name: str
) -> Iterator[tuple[str, Any] | BadRow]:
    done = 0
    try:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
            for offset, row in enumerate(_rows(batch)):
                place = f"{name}:{first + done + offset}"
                yield _unsound(place, row) if isinstance(row, Exception) else (place, row)
            done += batch.num_rows
    except (pa.ArrowException, OSError, MemoryError) as error:
        detail = f"row group {group}: {size - done} rows from here on are lost: {error}"
        yield BadRow(f"{name}:{first + done}", "damaged_file", detail=detail)


def arrow(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """Arrow IPC, as a stream (what `Dataset.save_to_disk` writes) or with a footer, a record batch at a time; options
    `RECORD_OPTIONS`. A row's place is its number from 1. A damaged batch is one bad row: the rest is not read.

    Raises:
        CosmoError: it is no Arrow file, or lacks the text's column or one that the options name.
    """
    names = {**RECORD_OPTIONS, **options}
    done = 0
    try:
        with path.open("rb") as file:
            if not file.read(1):
                yield BadRow(path.name, "empty_file")
                return
            for batch in _batches(file):
                columns = batch.schema.names
                if not done:
                    require_columns(path, columns, names, options)
                for offset, row in enumerate(_rows(batch.select(needed_columns(columns, names))), start=1):
                    place = f"{path.name}:{done + offset}"
                    yield _unsound(place, row) if isinstance(row, Exception) else record(place, row, names)
                done += batch.num_rows
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        if not done:
            raise CosmoError(f"{path}: it cannot be read as Arrow: {error}", remedy="fetch the file again") from error
        yield BadRow(f"{path.name}:{done + 1}", "damaged_file", detail=f"the rest is not read: {error}")
        return
    if not done:
        yield BadRow(path.name, "empty_file", detail="no rows")


def _batches(file: Any) -> Iterator[pa.RecordBatch]:
    file.seek(0)
    try:
        stream = pa.ipc.open_stream(file)
    except pa.ArrowInvalid:
        reader = pa.ipc.open_file(file)
        stream = (reader.get_batch(number) for number in range(reader.num_record_batches))
    yield from stream


def _rows(batch: pa.RecordBatch) -> Iterator[Any]:
    """The rows of a batch as objects; where the batch is not sound (bad UTF-8 above all), each row by itself."""
    try:
        batch.validate(full=True)
        yield from batch.to_pylist()
        return
    except (pa.ArrowException, UnicodeDecodeError):
        pass
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        try:
            row.validate(full=True)
            yield row.to_pylist()[0]
        except (pa.ArrowException, UnicodeDecodeError) as error:
            yield error


def _unsound(place: str, error: Exception) -> BadRow:
    bad_text = "utf8" in str(error).lower().replace("-", "")
    return BadRow(place, "not_utf8" if bad_text else "damaged_row", detail=str(error))


def _column(name: str, columns: list[str]) -> str | None:
    """The column that holds a field: of that name, or of the first part of a dotted name."""
    return next((column for column in (name, name.split(".")[0]) if column in columns), None)


def needed_columns(columns: list[str], names: Mapping[str, Any]) -> list[str]:
    """Those of a table's columns that hold the fields which options name."""
    held = {_column(names[option], columns) for option in RECORD_OPTIONS}
    return [column for column in columns if column in held]


def require_columns(place: Path | str, columns: list[str], names: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a table without the text's column, or without another that the recipe's options name.

    Raises:
        CosmoError: it names the place, the option and the columns that are there.
    """
    for option in RECORD_OPTIONS:
        if (option == "text" or option in given) and _column(names[option], columns) is None:
            raise CosmoError(
                f"{place}: no column {names[option]!r} for the {option}; it has {', '.join(map(repr, columns))}",
                remedy=f"set the source's option {option!r} to one of these columns",
            )
