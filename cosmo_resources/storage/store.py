"""The corpus store: which dataset versions exist, which is current, and building a version exactly once.

Belongs here: the layout `<root>/<asset>/<bucket>/<version>/`, the `CURRENT` pointer, verification, and `build`.
Does not belong here: what any dataset contains.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import file_digest, frozen_mapping, json_digest, schema_fingerprint
from cosmo_resources.storage.files import disk_errors, exclusive, sync, write_text
from cosmo_resources.storage.manifest import MANIFEST_NAME, InputRef, Manifest, read_manifest
from cosmo_resources.storage.writer import DatasetWriter, read_table

ALL = "all"
"""The bucket name of a dataset that is not partitioned."""

CURRENT_NAME = "CURRENT"
WORK_NAME = ".work"
HOLDERS_NAME = ".holders"
"""Folder of the lock files of processes at work on the corpus, beside its assets."""


@dataclass(frozen=True)
class BuildPlan:
    """What would be built: everything that determines a dataset version before it is computed."""

    asset: str
    stage_version: str
    schema: pa.Schema
    params: Mapping[str, Any]
    inputs: tuple[InputRef, ...]
    bucket: str = ALL

    @property
    def digest(self) -> str:
        """Equal plans have equal digests; a version that carries this digest need not be built again."""
        inputs = [ref.model_dump() for ref in self.inputs]
        schema = schema_fingerprint(self.schema)
        return json_digest([self.asset, self.bucket, self.stage_version, schema, frozen_mapping(self.params), inputs])


@dataclass(frozen=True)
class Dataset:
    """One verified version, ready to be read."""

    folder: Path
    manifest: Manifest

    def paths(self, *, bucket: str | None = None, role: str = "rows") -> list[Path]:
        """Paths of the files of one role, in order; of one bucket only, where a bucket is named."""
        entries = [entry for entry in self.manifest.files if entry.role == role]
        return [self.folder / entry.name for entry in entries if bucket is None or entry.bucket == bucket]

    def tables(self, columns: list[str] | None = None, *, bucket: str | None = None) -> Iterator[pa.Table]:
        """The part files one after another: memory is bounded by the largest part."""
        for path in self.paths(bucket=bucket):
            yield read_table(path, columns)

    def table(self, columns: list[str] | None = None, *, bucket: str | None = None) -> pa.Table:
        """All rows at once, for datasets that fit in memory (an empty table where there are none).

        Raises:
            CosmoError: the version has no rows at all, so that not even its columns are known.
        """
        tables = list(self.tables(columns, bucket=bucket))
        if not tables:
            first = self.paths()
            if not first:
                raise CosmoError(
                    f"{self.folder}: the dataset holds no part file", remedy=f"materialize {self.manifest.asset} again"
                )
            return read_table(first[0], columns).slice(0, 0)
        return pa.concat_tables(tables)

    def rejected(self) -> pa.Table | None:
        """The rows recorded as dropped or failed, or None where there are none."""
        paths = self.paths(role="rejected")
        return pa.concat_tables([read_table(path) for path in paths]) if paths else None

    def ref(self, bucket: str | None = None) -> InputRef:
        return self.manifest.ref(bucket)


class CorpusStore:
    """All datasets of one corpus under `root`. Readers never lock; builders of the same bucket wait for one another."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, asset: str, bucket: str = ALL) -> Path:
        return self.root / asset / bucket

    def work(self, asset: str, bucket: str = ALL) -> Path:
        """The folder of unpublished work of a bucket."""
        return self.place(asset, bucket) / WORK_NAME

    def lock(self, asset: str, bucket: str = ALL, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold a bucket against other builders (see `exclusive`)."""
        return exclusive(self.work(asset, bucket) / "lock", wait=wait)

    def current(self, asset: str, bucket: str = ALL) -> Dataset | None:
        """The current version, verified (its files exist and have the recorded sizes), or None if there is none.

        Raises:
            CosmoError: the version is damaged.
        """
        name = self.current_version(asset, bucket)
        return self._load(self.place(asset, bucket) / name) if name else None

    def current_version(self, asset: str, bucket: str = ALL) -> str | None:
        """The name of the current version, whatever its state, or None if there is none."""
        pointer = self.place(asset, bucket) / CURRENT_NAME
        return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None

    def current_manifest(self, asset: str, bucket: str = ALL) -> Manifest | None:
        """The manifest of the current version, for those who compare; None where there is none, or it is damaged."""
        try:
            dataset = self.current(asset, bucket)
        except CosmoError:
            return None
        return dataset.manifest if dataset else None

    def version(self, ref: InputRef) -> Dataset:
        """The version that a reference to a whole dataset names, current or not.

        Raises:
            CosmoError: it is gone or damaged.
        """
        return self._load(self.place(ref.asset, ref.bucket) / ref.version)

    def open(self, asset: str, bucket: str = ALL) -> Dataset:
        """The current version.

        Raises:
            CosmoError: there is none, or it is damaged; the message names the command that mends it.
        """
        dataset = self.current(asset, bucket)
        if dataset is None:
            where = asset if bucket == ALL else f"{asset} of bucket {bucket}"
            raise CosmoError(f"{where} is not built yet under {self.root}", remedy=_mend(asset, bucket))
        return dataset

    def versions(self, asset: str, bucket: str = ALL) -> list[Dataset]:
        """All readable versions of a bucket, in the order of their names; damaged ones are left out, and so are copies
        under other names."""
        found = []
        for path in sorted(self.place(asset, bucket).glob(f"*/{MANIFEST_NAME}")):
            try:
                found.append(self._load(path.parent))
            except CosmoError:
                continue
        return [dataset for dataset in found if dataset.folder.name == dataset.manifest.version]

    def buckets(self, asset: str) -> list[str]:
        """The buckets of an asset that hold anything, sorted."""
        folder = self.root / asset
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def assets(self) -> list[str]:
        """The assets that hold anything, sorted."""
        folders = (path for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else ()
        return sorted(path.name for path in folders if not path.name.startswith("."))

    def hold(self, name: str) -> AbstractContextManager[bool]:
        """Be known as at work on this corpus until the end of the block, or of the process, however it ends: what was
        current since then is not collected (`garbage`). `name` is unique: a run's id, or any other."""
        return _holding(self._holder(name))

    def abandoned(self, name: str) -> bool:
        """Whether a process held the corpus under this name and died: true once, as its lock file is removed."""
        path = self._holder(name)
        if not path.is_file():  # it ended well, or works elsewhere
            return False
        with exclusive(path, wait=False) as gone:
            if gone:
                path.unlink(missing_ok=True)
        return gone

    def held_since(self) -> float | None:
        """When the oldest of the processes that hold the corpus began, by the clock of the file system; None where
        there is none."""
        began = []
        for path in (self.root / HOLDERS_NAME).glob("*.lock"):
            with suppress(FileNotFoundError):  # it ended just now
                since = path.stat().st_mtime
                with exclusive(path, wait=False, create=False) as free:
                    if not free:
                        began.append(since)
        return min(began, default=None)

    def _holder(self, name: str) -> Path:
        return self.root / HOLDERS_NAME / f"{name}.lock"

    def find(self, plan: BuildPlan) -> Dataset | None:
        """A version that this plan would build again, preferring the current one."""
        current = self.current_version(plan.asset, plan.bucket)
        matching = [found for found in self.versions(plan.asset, plan.bucket) if found.manifest.plan == plan.digest]
        return next((found for found in matching if found.folder.name == current), matching[0] if matching else None)

    def build(
        self,
        plan: BuildPlan,
        produce: Callable[[DatasetWriter], None],
        *,
        run: Mapping[str, Any],
        fresh: Callable[[Manifest], bool] = lambda manifest: True,
    ) -> Manifest:
        """The manifest of the version that `plan` describes, produced only where no such version exists.

        A version found by its plan and `fresh` is made current and nothing is written beyond the pointer, and not even
        that where it is current already. Otherwise `produce` fills a working folder, which is renamed into place as
        its last step: a failure or kill at any moment leaves earlier versions as they were.
        """
        place = self.place(plan.asset, plan.bucket)
        with disk_errors(place):
            place.mkdir(parents=True, exist_ok=True)
        if (existing := self._reusable(plan, fresh)) is not None and self._is_current(existing):
            return existing
        with self.lock(plan.asset, plan.bucket):
            # Looked for again: built by another process while this one waited, or collected.
            if (existing := self._reusable(plan, fresh)) is not None:
                self._point(place, existing.version)
                return existing
            self._sweep(place)
            started = time.monotonic()
            writer = DatasetWriter(place / WORK_NAME / f"build-{uuid.uuid4().hex}", plan.schema)
            try:
                with disk_errors(place):
                    produce(writer)
                manifest = writer.finish(
                    asset=plan.asset,
                    bucket=plan.bucket,
                    stage_version=plan.stage_version,
                    params=plan.params,
                    inputs=plan.inputs,
                    plan=plan.digest,
                    run={
                        **run,
                        "wall_seconds": round(time.monotonic() - started, 3),
                        "built_at": round(time.time(), 3),
                    },
                )
                self._publish(place, writer.folder, manifest.version)
            finally:
                writer.discard()
        return manifest

    def _reusable(self, plan: BuildPlan, fresh: Callable[[Manifest], bool]) -> Manifest | None:
        existing = self.find(plan)
        return existing.manifest if existing is not None and fresh(existing.manifest) else None

    def _is_current(self, manifest: Manifest) -> bool:
        return self.current_version(manifest.asset, manifest.bucket) == manifest.version

    def _publish(self, place: Path, folder: Path, version: str) -> None:
        target = place / version
        with disk_errors(place):
            if target.exists() and not self._intact(target):
                shutil.rmtree(target)
            if not target.exists():
                folder.rename(target)
                sync(place)
        self._point(place, version)

    def _point(self, place: Path, version: str) -> None:
        pointer = place / CURRENT_NAME
        if not pointer.is_file() or pointer.read_text(encoding="utf-8").strip() != version:
            write_text(pointer, version + "\n")

    def _intact(self, folder: Path) -> bool:
        try:
            self._load(folder)
        except CosmoError:
            return False
        return True

    def _load(self, folder: Path) -> Dataset:
        manifest = read_manifest(folder / MANIFEST_NAME)
        for entry in manifest.files:
            path = folder / entry.name
            size = path.stat().st_size if path.is_file() else None
            if size != entry.bytes:
                raise CosmoError(
                    f"{path}: {'missing' if size is None else f'{size} bytes'}, the manifest says {entry.bytes} bytes",
                    remedy=f"remove {folder}, then {_mend(manifest.asset, manifest.bucket)}",
                )
        return Dataset(folder, manifest)

    def _sweep(self, place: Path) -> None:
        """Remove what killed builds left behind; the lock is held, so none of them is alive."""
        for leftover in (place / WORK_NAME).glob("build-*"):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _holding(path: Path) -> Iterator[bool]:
    with exclusive(path, wait=False) as held:
        try:
            yield held
        finally:
            if held:
                path.unlink(missing_ok=True)


def verify_checksums(dataset: Dataset) -> Sequence[str]:
    """Names of the files whose bytes differ from their recorded checksum: reads everything."""
    return [
        entry.name for entry in dataset.manifest.files if file_digest(dataset.folder / entry.name) != entry.checksum
    ]


def intact(dataset: Dataset, name: str, *, read: bool = True) -> bool:
    """Whether a file of a version has the bytes of its recorded checksum.

    With `read` false, for what is linked and not read: whether it has not been modified since its version was sealed,
    by the clock of its file system; only what has been is compared. Bytes that changed on the disk by themselves are
    then linked with the checksum that they should have, so that `verify_checksums` goes on finding them.
    """
    path = dataset.folder / name
    if not read and path.stat().st_mtime_ns < (dataset.folder / MANIFEST_NAME).stat().st_mtime_ns:
        return True
    (checksum,) = (entry.checksum for entry in dataset.manifest.files if entry.name == name)
    return file_digest(path) == checksum


def _mend(asset: str, bucket: str) -> str:
    selection = f"--asset {asset}" if bucket == ALL else f"--asset {asset} --bucket {bucket}"
    return f"run `cosmo run {selection}` (or materialize it in the UI)"
