"""Garbage: dataset versions that nothing refers to any more, found by marking from what is current, and removed.

Belongs here: what a version refers to, what is reachable, removing without ever showing half of a version. Does not
belong here: which unreferenced versions are worth keeping all the same (`cosmo_assets.operations.garbage`).
"""

import shutil
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import exclusive
from cosmo_resources.storage.manifest import MANIFEST_NAME, Manifest, read_manifest
from cosmo_resources.storage.store import ALL, CURRENT_NAME, HOLDERS_NAME, WORK_NAME, CorpusStore

GONE = "gone-"
"""Beginning of the name, in a bucket's working folder, of a version that is being removed."""
READER = "reader-"
"""Beginning of the name under which a command holds the corpus."""

BUILDING = "its bucket is being built"

Place = tuple[str, str, str]
"""Asset, bucket, version."""
Reason = str


@dataclass(frozen=True)
class Unreferenced:
    """A version or a working folder that nothing refers to; `kept` says why it stays all the same, if it does."""

    asset: str
    bucket: str
    name: str
    folder: Path
    bytes: int
    kept: Reason = ""


def collect(
    store: CorpusStore,
    *,
    also: Iterable[Path] = (),
    worth: Callable[[Manifest, set[Place]], Reason] = lambda manifest, kept: "",
    delete: bool = False,
) -> list[Unreferenced]:
    """Find the versions that no current version refers to, directly or through its inputs, and with `delete` remove
    them. `also` names files that are referred to from elsewhere; `worth` says why an unreferenced version is to be
    kept, given those that stay.

    A version that was current while some process was at work on the corpus stays until that process has ended: it may
    read it. So does a bucket's every version while the bucket is being built. Of two collections at once the second
    waits for the first.

    Raises:
        CosmoError: a version that is current or referred to cannot be read: what it refers to is not known, and nothing
            was removed.
    """
    with exclusive(store.root / HOLDERS_NAME / "garbage"):
        held_since = store.held_since()  # before marking: who publishes after that is known to be at work
        kept = reachable(store, also)
        found = [_judge(store, one, kept, held_since, worth) for one in _unreferenced(store, kept)]
        if not delete:
            return found
        for path in (store.root / HOLDERS_NAME).glob(f"{READER}*.lock"):
            store.abandoned(path.stem)
        return [one if one.kept else _remove(store, one) for one in found]


def reachable(store: CorpusStore, also: Iterable[Path] = ()) -> set[Place]:
    """The versions that are current, and all that these refer to, step by step.

    Raises:
        CosmoError: one of them is there and cannot be read.
    """
    found: set[Place] = set()
    by_part: dict[str, dict[tuple[str, str], str]] = {}
    open_ = [
        (place.parent.name, place.name, version)
        for place in _buckets(store)
        if (version := store.current_version(place.parent.name, place.name)) is not None
    ]
    open_ += [place for path in also if (place := _place_of(store, path)) is not None]
    while open_:
        asset, bucket, version = place = open_.pop()
        folder = store.place(asset, bucket) / version
        if place in found or not folder.is_dir():  # gone already: it refers to nothing
            continue
        found.add(place)
        manifest = read_manifest(folder / MANIFEST_NAME)
        for entry in manifest.files:
            if (elsewhere := _place_of(store, (folder / entry.name).resolve())) is not None:
                open_.append(elsewhere)
        for ref in manifest.inputs:
            open_.append((ref.asset, ref.bucket, ref.version))
            if ref.bucket != ALL:  # perhaps a bucket of a table that is stored in one
                parts = by_part.setdefault(ref.asset, _parts(store, ref.asset))
                if (whole := parts.get((ref.bucket, ref.version))) is not None:
                    open_.append((ref.asset, ALL, whole))
    return found


def _parts(store: CorpusStore, asset: str) -> dict[tuple[str, str], str]:
    """The versions of a table that is stored in one, by the references to each of its buckets. Of several that hold the
    same bucket, the current one, for whose sake nothing else need stay."""
    found: dict[tuple[str, str], str] = {}
    current = store.current_version(asset)
    for dataset in sorted(store.versions(asset), key=lambda dataset: dataset.folder.name == current):
        for bucket in {entry.bucket for entry in dataset.manifest.files if entry.bucket is not None}:
            found[bucket, dataset.manifest.ref(bucket).version] = dataset.folder.name
    return found


def _place_of(store: CorpusStore, path: Path) -> Place | None:
    """The version that a file lies in, if it lies in one."""
    root = store.root.resolve()
    if not path.is_relative_to(root):
        return None
    parts = path.relative_to(root).parts
    return (parts[0], parts[1], parts[2]) if len(parts) > 3 and parts[2] != WORK_NAME else None


def _buckets(store: CorpusStore) -> list[Path]:
    return [store.place(asset, bucket) for asset in store.assets() for bucket in store.buckets(asset)]


def _unreferenced(store: CorpusStore, kept: set[Place]) -> list[Unreferenced]:
    found: list[Unreferenced] = []
    for place in _buckets(store):
        asset, bucket = place.parent.name, place.name
        versions = [path for path in place.iterdir() if path.is_dir() and path.name != WORK_NAME]
        killed = [*(place / WORK_NAME).glob("build-*"), *(place / WORK_NAME).glob(f"{GONE}*")]
        found += [
            Unreferenced(asset, bucket, folder.name, folder, _freed(folder))
            for folder in sorted([*versions, *killed])
            if (asset, bucket, folder.name) not in kept
        ]
    return found


def _judge(
    store: CorpusStore,
    one: Unreferenced,
    kept: set[Place],
    held_since: float | None,
    worth: Callable[[Manifest, set[Place]], Reason],
) -> Unreferenced:
    with store.lock(one.asset, one.bucket, wait=False) as free:
        if not free:
            return _staying(one, BUILDING)
    if one.folder.parent.name == WORK_NAME:  # of a build or a collection that was killed
        return one
    pointer = store.place(one.asset, one.bucket) / CURRENT_NAME
    changed = pointer.stat().st_mtime if pointer.is_file() else one.folder.stat().st_mtime
    if held_since is not None and changed >= held_since:
        return _staying(one, "a process that may read it is at work")
    try:
        manifest = read_manifest(one.folder / MANIFEST_NAME)
    except CosmoError:
        return one  # nobody can read it
    reason = worth(manifest, kept)
    return _staying(one, reason) if reason else one


def _remove(store: CorpusStore, one: Unreferenced) -> Unreferenced:
    """Move a version out of sight, and then remove it. Under the bucket's lock a builder cannot make it current."""
    with store.lock(one.asset, one.bucket, wait=False) as free:
        if not free:
            return _staying(one, BUILDING)
        if store.current_version(one.asset, one.bucket) == one.name:
            return _staying(one, "it has become current")
        gone = store.work(one.asset, one.bucket) / f"{GONE}{uuid.uuid4().hex}"
        one.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    return one


def _staying(one: Unreferenced, reason: Reason) -> Unreferenced:
    return Unreferenced(one.asset, one.bucket, one.name, one.folder, one.bytes, reason)


def _freed(folder: Path) -> int:
    """The bytes that removing a folder gives back: those of files that have no other name."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            facts = path.lstat()
            total += facts.st_size if path.is_file() and facts.st_nlink == 1 else 0
    return total
