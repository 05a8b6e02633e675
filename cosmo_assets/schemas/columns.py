"""A column of a table: what is said of it, and what is read from that.

Belongs here: the columns' kinds and metadata. Does not belong here: any table.

A column's metadata holds `description`; `from`, a comma-separated list of `asset.column` that it derives from; and
`volatile` where it may differ between equal runs (seconds, attempts) and so is no part of the dataset's identity.
"""

from collections.abc import Iterator

import pyarrow as pa

from cosmo_resources.storage.digest import VOLATILE

EMBEDDING_DIMENSION = 384
TEXT, COUNT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def column(
    name: str, kind: pa.DataType, description: str, *, source: str = "", null: bool = False, volatile: bool = False
) -> pa.Field:
    metadata = {"description": description}
    if source:
        metadata["from"] = source
    if volatile:
        metadata[VOLATILE.decode()] = "true"
    return pa.field(name, kind, nullable=null, metadata=metadata)


def numeric_columns(table: pa.Schema) -> list[str]:
    """The names of the columns that hold numbers."""
    return [field.name for field in table if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]


def description(field: pa.Field) -> str:
    return str((field.metadata or {})[b"description"].decode())


def origins(field: pa.Field) -> Iterator[tuple[str, str]]:
    """The (asset, column) pairs that a column derives from."""
    for item in (field.metadata or {}).get(b"from", b"").decode().split(","):
        if item:
            asset, column = item.split(".")
            yield asset, column
