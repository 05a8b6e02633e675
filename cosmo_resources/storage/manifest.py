"""The manifest: the record of one immutable dataset version, and the only door through which it is read.

Belongs here: the manifest's fields, its identity and its (de)serialization. Does not belong here: writing data files
(`writer`) or finding versions (`store`).
"""

import json
from pathlib import Path
from typing import Any, Literal

import pydantic

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import json_digest

MANIFEST_NAME = "_manifest.json"


class Frozen(pydantic.BaseModel):
    """Base of the stored records: immutable, and strict about unknown fields."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class InputRef(Frozen):
    """One input of a dataset: an asset's bucket at a version. For a bucket of a table that is stored by bucket, the
    version is the digest of that bucket's files alone, so that a change elsewhere in the table is no change here."""

    asset: str
    bucket: str
    version: str


class FileEntry(Frozen):
    """One file of a version. `content` is the digest of its meaning (volatile columns left out), `checksum` that of
    its bytes."""

    name: str
    role: Literal["rows", "rejected", "artifact"]
    bucket: str | None
    rows: int
    bytes: int
    content: str
    checksum: str


class Flow(Frozen):
    """What went in and what became of it, in `unit`s: the conservation law `rows_in = rows_out + dropped + failed`."""

    unit: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int] = {}
    failed: dict[str, int] = {}

    @property
    def balanced(self) -> bool:
        return self.rows_in == self.rows_out + sum(self.dropped.values()) + sum(self.failed.values())


class Manifest(Frozen):
    """What a dataset version is (all fields but the last) and how it came about in one run (`run`).

    `version` is the digest of everything except `run`, `version` itself and the byte-level facts of the files; it is
    the dataset's identity and, in Dagster, its data version.
    """

    asset: str
    bucket: str
    stage_version: str
    params: dict[str, Any]
    inputs: tuple[InputRef, ...]
    schema_fingerprint: str
    files: tuple[FileEntry, ...]
    flow: Flow
    summary: dict[str, Any]
    plan: str
    version: str
    run: dict[str, Any]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.files if entry.role == "rows")

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.files)

    def ref(self, bucket: str | None = None) -> InputRef:
        """How a later stage names this version as its input: the whole of it, or one bucket's files of it."""
        if bucket is None or bucket == self.bucket:
            return InputRef(asset=self.asset, bucket=self.bucket, version=self.version)
        contents = [entry.content for entry in self.files if entry.bucket == bucket]  # part names count all buckets
        return InputRef(asset=self.asset, bucket=bucket, version=json_digest([self.schema_fingerprint, contents]))


def identity_of(fields: dict[str, Any]) -> str:
    """The version of a manifest given as plain fields (see `Manifest`)."""
    kept = {key: value for key, value in fields.items() if key not in {"run", "version"}}
    kept["files"] = [
        {key: value for key, value in entry.items() if key not in {"bytes", "checksum"}} for entry in fields["files"]
    ]
    return json_digest(kept)


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`, verified against its own version.

    Raises:
        CosmoError: it cannot be read, is not a manifest, or was edited by hand.
    """
    remedy = f"remove the folder {path.parent} and materialize the asset again"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest.model_validate(fields)
    except (OSError, ValueError) as error:
        raise CosmoError(f"{path}: not a readable manifest: {error}", remedy=remedy) from error
    if identity_of(manifest.model_dump(mode="json")) != manifest.version:
        raise CosmoError(f"{path}: the manifest does not match its version {manifest.version}", remedy=remedy)
    return manifest
