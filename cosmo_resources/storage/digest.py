"""Content digests: blake2b, 128 bits, hex. The one hash behind every id, version and checksum.

Belongs here: hashing of strings, JSON values, Arrow tables and files. Does not belong here: what goes into which id
(`cosmo_assets.ids`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

DIGEST_BYTES = 16
VOLATILE = b"volatile"
"""Field metadata key. A column marked with it (seconds, attempts) is stored but is no part of a table's identity."""

_BATCH_ROWS = 1 << 16


def digest(*parts: str | bytes) -> str:
    """Digest of a sequence of parts, each prefixed with its length, so that ("ab", "c") differs from ("a", "bc")."""
    return hashlib.blake2b(framed(*parts), digest_size=DIGEST_BYTES).hexdigest()


def framed(*parts: str | bytes) -> bytes:
    """The parts as one run of bytes, each after its length."""
    raws = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    return b"".join(frame for raw in raws for frame in (len(raw).to_bytes(8, "little"), raw))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def json_digest(value: Any) -> str:
    """Digest of a JSON value's canonical form."""
    return digest(canonical_json(value))


def file_digest(path: Path) -> str:
    """Digest of a file's bytes, read in blocks of 1 MiB."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def files_digest(paths: Iterable[Path], relative_to: Path) -> str:
    """Digest of a set of files by relative name and content, whatever the order in which they are given."""
    names = sorted((path.relative_to(relative_to).as_posix(), path) for path in paths)
    return digest(*(part for name, path in names for part in (name, file_digest(path))))


def content_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that make up a table's identity: all but those marked volatile."""
    return [field.name for field in schema if VOLATILE not in (field.metadata or {})]


def table_digest(table: pa.Table) -> str:
    """Digest of a table's content columns in row order: of names, types, nullability and values, whatever the chunks,
    the compression, or the columns' descriptions.

    The rows are copied in batches first, because Arrow serializes more than values: a slice brings the bits beside it
    along, and a null whatever was computed in its place.
    """
    names = content_columns(table.schema)
    bare = [table.schema.field(name).remove_metadata() for name in names]
    content = pa.Table.from_arrays([table[name] for name in names], schema=pa.schema(bare))
    sink = _HashSink()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), content.schema) as stream:
        for start in range(0, content.num_rows, _BATCH_ROWS):
            batch = content.slice(start, _BATCH_ROWS)
            stream.write_table(batch.take(pa.array(range(batch.num_rows))).combine_chunks())
    return sink.state.hexdigest()


def schema_fingerprint(schema: pa.Schema) -> str:
    """Digest of the names, types and nullability of a schema's columns."""
    return digest(*(f"{field.name}:{field.type}:{field.nullable}" for field in schema))


def frozen_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON round trip: proves that a value can stand in a manifest, and detaches it from the caller's object."""
    frozen: dict[str, Any] = json.loads(canonical_json(value))
    return frozen


class _HashSink:
    """A write-only file object that only hashes: lets Arrow serialize a table without keeping the bytes."""

    def __init__(self) -> None:
        self.state = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.closed = False

    def write(self, data: bytes) -> int:
        self.state.update(data)
        return len(data)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True
