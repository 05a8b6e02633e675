"""A copy of a corpus that is right at every moment, also of one that is being built while it is copied.

Belongs here: what is copied in which order, and that a copy is whole. Does not belong here: Dagster's record, settings,
or how many copies are kept (`deploy/backup.py`).

A version's folder appears whole, after everything that it was made of, and never changes. So three orders suffice:

- pointers before versions: what was current when the copy began is in it;
- versions after the manifests that refer to them: what a version was made of is in the copy, too;
- row logs of open shards before sealed shards, and once more where a shard changed from one to the other meanwhile.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import link_or_copy, sync, write_text
from cosmo_resources.storage.garbage import GONE
from cosmo_resources.storage.manifest import MANIFEST_NAME, read_manifest
from cosmo_resources.storage.store import CURRENT_NAME, WORK_NAME, Dataset, verify_checksums

POINTER_SECONDS = 60.0
ATTEMPTS = 20
_UNSEEN = ("build-", GONE)
"""Beginnings of the names of what is no version yet, or none any more."""
_TEMPORARY = ".tmp"
_LOGS = (".rows.jsonl", ".turns.jsonl")
_DONE = ".done.json"


@dataclass
class Snapshot:
    """What a copy holds. Paths are relative to the corpus."""

    versions: int = 0
    linked: int = 0
    """Versions that are links to those of an earlier copy: not one byte of them was written."""
    bytes: int = 0
    """Written, links not counted."""
    damaged: list[str] = field(default_factory=list)
    """Versions whose files are not what their manifest says; they are not in the copy."""


def take_snapshot(source: Path, target: Path, earlier: Path | None = None) -> Snapshot:
    """Copy the corpus at `source` into the folder `target`, which is made; versions that the copy `earlier` holds are
    linked to it. Every file of a version that is copied is compared with its checksum. Who copies a corpus that others
    clean up holds it meanwhile (`CorpusStore.hold`).

    Raises:
        CosmoError: pointers change faster than they can be read.
    """
    found = Snapshot()
    pointers = _pointers(source)
    for version in sorted(_with_inputs(source, _versions(source))):
        _copy_version(source / version, target / version, earlier / version if earlier else None, found)
    _copy_others(source, target, found)
    for pointer, text in pointers.items():
        write_text(target / pointer, text)
    return found


def _pointers(source: Path) -> dict[Path, str]:
    """Which version of each dataset is current, all at one moment: read until two readings are equal."""
    deadline = time.monotonic() + POINTER_SECONDS
    before = None
    while (now := dict(_read_pointers(source))) != before:
        if time.monotonic() > deadline:
            raise CosmoError(f"{source}: datasets are published without a pause", remedy="take the backup again later")
        before = now
    return now


def _read_pointers(source: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(source.glob(f"*/*/{CURRENT_NAME}")):
        yield path.relative_to(source), path.read_text(encoding="utf-8")


def _versions(source: Path) -> set[Path]:
    return {path.parent.relative_to(source) for path in source.glob(f"*/*/*/{MANIFEST_NAME}")}


def _with_inputs(source: Path, versions: set[Path]) -> set[Path]:
    """The versions and all those that they were made of, one after the other. What is no dataset has no folder."""
    found, waiting = set(versions), list(versions)
    while waiting:
        try:
            manifest = read_manifest(source / waiting.pop() / MANIFEST_NAME)
        except (CosmoError, OSError):  # `_copy_version` says so
            continue
        inputs = {Path(ref.asset, ref.bucket, ref.version) for ref in manifest.inputs}
        new = {path for path in inputs - found if (source / path / MANIFEST_NAME).is_file()}
        found |= new
        waiting += new
    return found


def _copy_version(source: Path, target: Path, earlier: Path | None, found: Snapshot) -> None:
    name = "/".join(source.parts[-3:])
    try:
        manifest = read_manifest(source / MANIFEST_NAME)
        link = earlier is not None and _holds(earlier, source / MANIFEST_NAME)
        for entry in manifest.files:
            copy = target / entry.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if link and earlier is not None:
                link_or_copy(earlier / entry.name, copy)
            else:
                shutil.copyfile(source / entry.name, copy)
                sync(copy)
                found.bytes += entry.bytes
        wrong = [] if link else verify_checksums(Dataset(target, manifest))
    except FileNotFoundError as error:
        wrong = [str(error.filename)]
    except CosmoError as error:
        wrong = [error.message]
    if wrong:
        shutil.rmtree(target, ignore_errors=True)
        found.damaged.append(f"{name}: {', '.join(wrong)}")
        return
    write_text(target / MANIFEST_NAME, (source / MANIFEST_NAME).read_text(encoding="utf-8"))
    found.versions += 1
    found.linked += link


def _holds(earlier: Path, manifest: Path) -> bool:
    """Whether an earlier copy has a version with this very manifest."""
    there = earlier / MANIFEST_NAME
    return there.is_file() and there.read_bytes() == manifest.read_bytes()


def _copy_others(source: Path, target: Path, found: Snapshot) -> None:
    """Everything that is neither version nor pointer: what lies beside the datasets, and work that is not finished,
    once more where a shard was sealed or opened meanwhile."""
    for path in _others(source):
        if not path.name.endswith((*_LOGS, _DONE)):
            _copy(path, target / path.relative_to(source), found)
    for _ in range(ATTEMPTS):
        before = _shards(source)
        logs = [path for path in before if path.name.endswith(_LOGS)]
        sealed = [path for path in before if path.name.endswith(_DONE)]
        tables = [path.with_name(path.name.removesuffix(_DONE) + ".parquet") for path in sealed]
        copied = [_copy(path, target / path.relative_to(source), found) for path in (*logs, *tables, *sealed)]
        if all(copied) and _shards(source) == before:
            return


def _shards(source: Path) -> list[Path]:
    """What says how far unfinished work is: row logs of open shards, markers of sealed ones."""
    return [path for path in _others(source) if path.name.endswith((*_LOGS, _DONE))]


def _others(source: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(source):
        here = Path(folder)
        depth = len(here.relative_to(source).parts)
        if depth == 3 and (here / MANIFEST_NAME).is_file():
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not (here.name == WORK_NAME and name.startswith(_UNSEEN)))
        for name in sorted(files):
            if not (depth == 2 and name == CURRENT_NAME) and not name.endswith(_TEMPORARY):
                yield here / name


def _copy(path: Path, target: Path, found: Snapshot) -> bool:
    """Copy a file that may be appended to, replaced or removed meanwhile; False if it was gone."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    except FileNotFoundError:
        return False
    found.bytes += target.stat().st_size
    return True
