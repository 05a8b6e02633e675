"""The record of what is taken out of a corpus: who withdrew what, when and why, and what of it is in force.

Belongs here: the `withdrawals` dataset, adding to it, reading it. Does not belong here: which tokens a withdrawal
concerns (`purge`), reading lists of ids (`keys`), or leaving documents out (`cosmo_assets.mixture`).

Each version holds two tables. `record`: every withdrawal and restoration in order; it only grows, so no version can
lack what another one says. `in_force`: what is withdrawn at present, sorted; the mixture reads this part alone. Names,
reasons, times and counts are no part of a version's identity: a version says what was withdrawn in which order, and the
mixture's input only what is withdrawn. What is restored gives the mixture back to the byte.
"""

import getpass
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from cosmo_assets.schemas.corpus import WITHDRAWALS
from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal.keys import Item
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.files import exclusive
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter

ASSET = "withdrawals"
STAGE_VERSION = "1"
RECORD, IN_FORCE = "record", "in_force"

Action = Literal["withdraw", "restore"]


@dataclass(frozen=True)
class Size:
    """Documents and tokens in the shards when an entry was made, all copies and end-of-text tokens included."""

    documents: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Entry:
    """One line of the record."""

    action: Action
    key: str
    value: str
    who: str
    why: str
    when: str
    documents: int
    tokens: int

    @property
    def item(self) -> Item:
        return Item(self.key, self.value)


@dataclass(frozen=True)
class Note:
    """Who makes entries, and why. `when`: UTC, ISO 8601, to the second."""

    why: str
    who: str = field(default_factory=getpass.getuser)
    when: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        if not self.why.strip() or not self.who.strip():
            raise CosmoError(
                "a withdrawal says who makes it and why", remedy='give --why "..." (and --who, where it is not you)'
            )


def build(workspace: Workspace) -> Manifest:
    """The current version; an empty one where nothing was ever withdrawn."""
    current = workspace.store.current(ASSET)
    return current.manifest if current is not None else _write(workspace, [])


def entries(store: CorpusStore, part: str = RECORD) -> list[Entry]:
    """The record, or what is in force.

    Raises:
        CosmoError: the current version is damaged.
    """
    current = store.current(ASSET)
    return [] if current is None else [Entry(**row) for row in current.table(bucket=part).to_pylist()]


def withdraw(workspace: Workspace, sizes: Mapping[Item, Size], note: Note) -> list[Entry]:
    """Record withdrawals, with what each concerns at present; those already in force are left as they are.

    Returns: the entries that were made. Those of several processes at once are all kept: one adds after the other.
    """
    return _append(workspace, "withdraw", sizes, note)


def restore(workspace: Workspace, items: Iterable[Item], note: Note) -> list[Entry]:
    """Record that withdrawals end.

    Raises:
        CosmoError: one of them is not in force; then nothing is recorded.
    """
    return _append(workspace, "restore", dict.fromkeys(items, Size()), note)


def _append(workspace: Workspace, action: Action, sizes: Mapping[Item, Size], note: Note) -> list[Entry]:
    with exclusive(workspace.store.work(ASSET) / "record.lock"):  # from reading the record to publishing the next one
        record = entries(workspace.store)
        before = {entry.item for entry in in_force(record)}
        if action == "restore" and (missing := sorted(set(sizes) - before)):
            raise CosmoError(
                f"{missing[0]} is not withdrawn, so it cannot be restored",
                remedy="see what is in force: cosmo purge --list",
            )
        new = [
            Entry(action, item.key, item.value, note.who, note.why, note.when, size.documents, size.tokens)
            for item, size in sorted(sizes.items())
            if action == "restore" or item not in before
        ]
        if new:
            _write(workspace, [*record, *new])
    return new


def in_force(record: Sequence[Entry]) -> list[Entry]:
    """The withdrawals that nothing ended, by key and value."""
    found: dict[Item, Entry] = {}
    for entry in record:
        if entry.action == "withdraw":
            found[entry.item] = entry
        else:
            del found[entry.item]
    return [found[item] for item in sorted(found)]


def _write(workspace: Workspace, record: Sequence[Entry]) -> Manifest:
    effective = in_force(record)
    withdrawn = sum(entry.action == "withdraw" for entry in record)

    def produce(writer: DatasetWriter) -> None:
        for part, found in ((RECORD, record), (IN_FORCE, effective)):
            writer.write(pa.Table.from_pylist([asdict(entry) for entry in found], schema=WITHDRAWALS), bucket=part)
        writer.flow("entries", withdrawn, len(effective), dropped={"restored": withdrawn - len(effective)})
        keys: dict[str, int] = {}
        for entry in effective:
            keys[entry.key] = keys.get(entry.key, 0) + 1
        nameless = sum(not (entry.who and entry.why and entry.when) for entry in record)
        writer.summary = {"in_force": keys, "entries": len(record), "nameless": nameless}

    said: list[Any] = [[entry.action, entry.key, entry.value] for entry in record]
    return workspace.build(ASSET, produce, stage_version=STAGE_VERSION, inputs=(), params={"record": json_digest(said)})
