"""What is kept of every unit that was read: its clean rows, its drops, and an index of digests and signatures.

Belongs here: reading a unit once, publishing what came of it under a key of its content, finding it again.
Does not belong here: which rows are seeds in the end (`documents`, `duplicates`), or the rules of cleaning (`rows`).

The kept unit `<key>` is a folder of `.work/files` of `seed_documents`, or of `real_documents`:

- `part-00000.parquet`  clean rows, as they stand in the dataset; sorted by their id, so that they can become its parts
- `index.parquet`       one row per clean row, in the order of reading: digests, band hashes, where the row lies
- `drops.parquet`       rows that fell out, in the order of reading
- `unit.json`           counts, and sizes and checksums of the other files, with a digest of itself

It is made under another name and renamed, so it is there as a whole or not at all. Its parts are linked into versions
of the dataset, so that what damages one damages the other. Before it is used every file is compared with its checksum;
where one differs, the unit counts as not kept, and is read again.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmo_assets.ids import normalized
from cosmo_assets.recipe.sources import SeedPolicy, TextSource
from cosmo_assets.seeds.duplicates import BANDS, band_hashes
from cosmo_assets.seeds.readers.sources import Unit, rows
from cosmo_assets.seeds.rows import Clean, Drop, cleaned
from cosmo_resources.storage.digest import canonical_json, digest, file_digest, table_digest
from cosmo_resources.storage.files import COMPRESSION, disk_errors, sync, write_parquet, write_text
from cosmo_resources.storage.manifest import Frozen
from cosmo_resources.storage.writer import read_table

PART_ROWS = 20_000
PART_CHARS = 32_000_000
"""A part is closed with the row that reaches one of these: what readers downstream hold at a time."""

INDEX = pa.schema(
    [
        pa.field("seed_high", pa.uint64(), nullable=False),
        pa.field("seed_low", pa.uint64(), nullable=False),
        pa.field("text_high", pa.uint64(), nullable=False),
        pa.field("text_low", pa.uint64(), nullable=False),
        pa.field("part", pa.uint32(), nullable=False),
        pa.field("position", pa.uint32(), nullable=False),
        pa.field("chars", pa.uint32(), nullable=False),
        pa.field("masked", pa.uint32(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("toxicity", pa.float32()),
        *(pa.field(f"band_{band:02d}", pa.uint64()) for band in range(BANDS)),
    ]
)
"""`seed_*` and `text_*` are the halves of the seed's id and of the digest of its text (normalized, case folded); `part`
and `position` say where the row lies; the bands are null where a text is too short for a signature."""

DROPS = pa.schema(
    [
        pa.field("place", pa.string(), nullable=False),
        pa.field("field", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("failed", pa.bool_(), nullable=False),
        pa.field("after", pa.uint32(), nullable=False),
    ]
)
"""The columns of rejected rows, whether it is a failure, and how many clean rows came before it."""

_TWINS = pa.schema([pa.field("component", pa.string()), pa.field("twins", pa.list_(pa.int32()))])

_FLUSH_DROPS = 20_000
_BATCH_ROWS, _BATCH_TABLES = 1 << 16, 1000
Marker = TypeVar("Marker", bound=Frozen)


class File(Frozen):
    """A file that is kept, as it was written."""

    name: str
    bytes: int
    checksum: str


class Part(File):
    """A part file of a kept unit, or the part of it that is left without duplicates."""

    rows: int
    content: str
    kept: str = ""
    """Digest of which rows are left, for a part that lost some."""


class Kept(Frozen):
    """Counts and files of a kept unit: `read` rows were seen, of which `rows` came out clean."""

    read: int
    rows: int
    parts: tuple[Part, ...]
    index: File
    drops: File

    @property
    def files(self) -> tuple[File, ...]:
        return (self.index, self.drops, *self.parts)


@dataclass(frozen=True)
class UnitFile:
    """A unit as it is kept, and whether it had to be read for this."""

    folder: Path
    kept: Kept
    was_read: bool

    def index(self, limit: int) -> pa.Table:
        """The index of the first `limit` rows."""
        return read_table(self.folder / self.kept.index.name).slice(0, limit)

    def drops(self, limit: int | None) -> pa.Table:
        """The drops; where only `limit` rows are wanted, those that stood before the last of them was reached."""
        table = read_table(self.folder / self.kept.drops.name)
        return table if limit is None or limit > self.kept.rows else table.filter(pc.less(table["after"], limit))

    def part(self, number: int, columns: list[str] | None = None) -> pa.Table:
        return read_table(self.folder / self.kept.parts[number].name, columns)

    def without(self, number: int, mask: npt.NDArray[np.bool_]) -> Part:
        """The part that is left of a part when only some of its rows are taken. It is kept like the part itself, one
        at a time: as long as the same rows are left, nothing is written."""
        name = f"left-{number:05d}.parquet"
        marker = self.folder / f"left-{number:05d}.json"
        kept = digest(mask.tobytes())
        found = _read_marker(marker, Part)
        path = self.folder / name
        if found is not None and found.kept == kept and _is_whole(self.folder, found):
            return found
        table = self.part(number).filter(pa.array(mask))
        write_parquet(path, table)  # a version may hold the old file, too: it is replaced, never written into
        part = _part_of(path, table, kept)
        _write_marker(marker, part)
        return part


def unit_key(unit: Unit, content: str, source: TextSource, policy: SeedPolicy, version: str) -> str:
    """Everything that the rows of a unit depend on: its name and content, what the recipe says of reading its source,
    the seed policy as far as it concerns a row by itself, the stage's version."""
    alone = policy.model_dump(mode="json", exclude={"near_duplicate_threshold"})
    return digest("unit", version, unit.name, content, canonical_json(reading(source)), canonical_json(alone))


def reading(source: TextSource) -> dict[str, Any]:
    """The part of a source's description that its rows depend on."""
    named = {"name", "reader", "licence", "attribution", "options", "max_documents"}
    return {**source.model_dump(include=named), "kind": source.kind}


class UnitFiles:
    """The kept units of an asset with the table `schema`, in `folder`. One builder at a time: the caller holds the
    asset's lock."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.schema = schema
        for leftover in folder.glob(".*.tmp"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def take(
        self, key: str, unit: Unit, content: str, source: TextSource, policy: SeedPolicy, progress: Callable[[], None]
    ) -> UnitFile:
        """A unit as it is kept, read and cleaned first where it is not whole. `content` is the digest that `key` was
        made of. Of a source with `max_documents`, reading ends with that many clean rows.

        Cost: where it is kept, a checksum of every byte that is kept of it; else linear in its text, of which every
        byte is read once more, for its digest. Memory: one part's rows.
        `progress` is called now and then while it is read.

        Raises:
            CosmoError: the unit is not the one that `content` stands for, or changed while it was read: nothing of it
                is kept.
        """
        folder = self.folder / key
        kept = _read_marker(folder / "unit.json", Kept)
        if kept is not None and all(_is_whole(folder, file) for file in kept.files):
            return UnitFile(folder, kept, was_read=False)
        work = self.folder / f".{key}.tmp"
        with disk_errors(self.folder):
            try:
                work.mkdir(parents=True)
                with unit.unchanged(content):
                    found = cleaned(rows(source, unit), source, policy)
                    kept = _read(work, found, source.max_documents, self.schema, progress)
                _write_marker(work / "unit.json", kept)
                shutil.rmtree(folder, ignore_errors=True)
                work.rename(folder)
                sync(self.folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return UnitFile(folder, kept, was_read=True)

    def keep(self, keys: Sequence[str]) -> int:
        """Remove the kept units that neither this build (`keys`) nor the one before it used. How many were removed."""
        marker = self.folder / "used.txt"
        before = marker.read_text(encoding="utf-8", errors="replace").split() if marker.is_file() else []
        wanted = {*keys, *before}
        stale = [path for path in self.folder.iterdir() if path.is_dir() and path.name not in wanted]
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        write_text(marker, "".join(f"{key}\n" for key in sorted(set(keys))))
        return len(stale)

    def known_twins(self) -> dict[str, list[int]]:
        """What `keep_twins` was last given; nothing where that is missing or damaged."""
        marker = _read_marker(self.folder / "twins.json", File)
        if marker is None or not _is_whole(self.folder, marker):
            return {}
        components, found = read_table(self.folder / marker.name).columns
        return dict(zip(components.to_pylist(), found.to_pylist(), strict=True))

    def keep_twins(self, answers: Mapping[str, list[int]]) -> None:
        """Keep which rows of each component are near-duplicates, by the component's key, until the next build."""
        path = self.folder / "twins.parquet"
        write_parquet(path, pa.table([list(answers), list(answers.values())], schema=_TWINS))
        _write_marker(self.folder / "twins.json", _file_of(path))


def joined(indices: Iterable[pa.Table], path: Path) -> pa.Table:
    """Indices one after another as one table, whose columns stay on the disk until they are used. It is a file at
    `path` that has no name any more when this returns, so that it goes with the table.

    Cost: each index is read and written once. Memory: about `_BATCH_ROWS` rows, and the columns in use.
    """
    held: list[pa.Table] = []
    with disk_errors(path.parent):
        with pa.ipc.new_file(path, INDEX) as file:

            def flush() -> None:
                file.write_table(pa.concat_tables(held).combine_chunks())
                held.clear()

            for index in indices:
                held.append(index)
                if sum(table.num_rows for table in held) >= _BATCH_ROWS or len(held) >= _BATCH_TABLES:
                    flush()
            if held:
                flush()
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        path.unlink()
    return table


def _read(
    work: Path, outcomes: Iterator[Clean | Drop], limit: int | None, schema: pa.Schema, progress: Callable[[], None]
) -> Kept:
    """Write what comes of a unit's rows into `work`. Their ids stand in the first column of the table."""
    parts: list[Part] = []
    held: list[Clean] = []
    drops: list[dict[str, Any]] = []
    read = count = chars = 0
    with ExitStack() as stack:
        index = stack.enter_context(pq.ParquetWriter(work / "index.parquet", INDEX, compression=COMPRESSION))
        dropped = stack.enter_context(pq.ParquetWriter(work / "drops.parquet", DROPS, compression=COMPRESSION))

        def close_part() -> None:
            path = work / f"part-{len(parts):05d}.parquet"
            order = sorted(range(len(held)), key=lambda position: held[position]["seed_id"])
            named = ({**held[position], schema.names[0]: held[position]["seed_id"]} for position in order)
            table = pa.Table.from_pylist(list(named), schema=schema)
            write_parquet(path, table)
            index.write_table(_index_of(held, order, len(parts)))
            parts.append(_part_of(path, table))
            held.clear()

        def flush_drops() -> None:
            dropped.write_table(pa.Table.from_pylist(drops, schema=DROPS))
            drops.clear()

        for outcome in outcomes:
            read += 1
            if isinstance(outcome, Drop):
                drops.append(_drop_row(outcome, count))
            else:
                held.append(outcome)
                count += 1
                chars += len(outcome["text"])
            if len(held) >= PART_ROWS or chars >= PART_CHARS:
                close_part()
                chars = 0
            if len(drops) >= _FLUSH_DROPS:
                flush_drops()
            if read % 1000 == 0:
                progress()
            if count == limit:
                break
        if held:
            close_part()
        flush_drops()
    for name in ("index.parquet", "drops.parquet"):
        sync(work / name)
    files = {"index": _file_of(work / "index.parquet"), "drops": _file_of(work / "drops.parquet")}
    return Kept(read=read, rows=count, parts=tuple(parts), **files)


def _index_of(held: list[Clean], order: list[int], part: int) -> pa.Table:
    position_of = {row: position for position, row in enumerate(order)}
    texts = [digest(normalized(row["text"]).casefold()) for row in held]
    bands = [band_hashes(row["text"]) for row in held]
    columns: dict[str, list[Any]] = {
        "seed_high": [int(row["seed_id"][:16], 16) for row in held],
        "seed_low": [int(row["seed_id"][16:], 16) for row in held],
        "text_high": [int(text[:16], 16) for text in texts],
        "text_low": [int(text[16:], 16) for text in texts],
        "part": [part] * len(held),
        "position": [position_of[row] for row in range(len(held))],
        "chars": [len(row["text"]) for row in held],
        "masked": [row["masked"] for row in held],
        "licence": [row["licence"] for row in held],
        "toxicity": [row["toxicity"] for row in held],
    }
    for band in range(BANDS):
        columns[f"band_{band:02d}"] = [found[band] if found else None for found in bands]
    return pa.table(columns, schema=INDEX)


def _drop_row(drop: Drop, after: int) -> dict[str, Any]:
    texts = {"place": drop.place, "field": drop.field, "reason": drop.reason, "detail": drop.detail}
    sound = {name: text and text.encode("utf-8", "replace").decode() for name, text in texts.items()}
    return {**sound, "failed": drop.failed, "after": after}


def _part_of(path: Path, table: pa.Table, kept: str = "") -> Part:
    return Part(
        name=path.name,
        rows=table.num_rows,
        bytes=path.stat().st_size,
        content=table_digest(table),
        checksum=file_digest(path),
        kept=kept,
    )


def _file_of(path: Path) -> File:
    return File(name=path.name, bytes=path.stat().st_size, checksum=file_digest(path))


def _is_whole(folder: Path, file: File) -> bool:
    """Whether a file is what was written, byte for byte. Cost: reading it, at about 1 GB a second and core."""
    path = folder / file.name
    try:
        return path.stat().st_size == file.bytes and file_digest(path) == file.checksum
    except OSError:
        return False


def _write_marker(path: Path, value: Frozen) -> None:
    """A marker, and under it the digest by which damage is noticed."""
    text = value.model_dump_json()
    write_text(path, f"{text}\n{digest(text)}\n")


def _read_marker(path: Path, model: type[Marker]) -> Marker | None:
    """A marker, or None where it is missing or damaged: what it stands for is made again."""
    try:
        text, checksum = path.read_text(encoding="utf-8").splitlines()
        return model.model_validate_json(text) if digest(text) == checksum else None
    except (OSError, ValueError):
        return None
