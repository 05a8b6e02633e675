"""The manifest: the record of one immutable dataset version, and the only door through which it is read.

Belongs here: the manifest's fields, its identity and its (de)serialization. Does not belong here: writing data files
(`writer`) or finding versions (`store`).
"""

import json
from collections.abc import Mapping, Sequence
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


class Tokens(Frozen):
    """The flow of tokens through a stage that has any: `tokens_in = tokens_out + dropped`."""

    tokens_in: int
    tokens_out: int
    dropped: dict[str, int] = {}

    @property
    def balanced(self) -> bool:
        return self.tokens_in == self.tokens_out + sum(self.dropped.values())


class Flow(Frozen):
    """What went in and what became of it, in `unit`s: the conservation law `rows_in = rows_out + dropped + failed`,
    and the same in tokens once there are any."""

    unit: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int] = {}
    failed: dict[str, int] = {}
    tokens: Tokens | None = None

    def tokens_through(self, verdicts: Mapping[str, int]) -> Tokens | None:
        """The tokens' flow of the next stage: in comes what this one let out, `verdicts` counts tokens by the reason
        for dropping them, those kept under "keep"."""
        if self.tokens is None:
            return None
        dropped = {reason: count for reason, count in sorted(verdicts.items()) if reason != "keep"}
        return Tokens(tokens_in=self.tokens.tokens_out, tokens_out=verdicts.get("keep", 0), dropped=dropped)

    @property
    def balanced(self) -> bool:
        if self.tokens is not None and not self.tokens.balanced:
            return False
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


def total_flow(flows: Sequence[Flow]) -> Flow:
    """The flow of several buckets together, as the input of a stage that reads them all."""
    tokens = [flow.tokens for flow in flows if flow.tokens is not None]
    return Flow(
        unit=flows[0].unit,
        rows_in=sum(flow.rows_in for flow in flows),
        rows_out=sum(flow.rows_out for flow in flows),
        tokens=Tokens(
            tokens_in=sum(part.tokens_in for part in tokens), tokens_out=sum(part.tokens_out for part in tokens)
        )
        if len(tokens) == len(flows)
        else None,
    )
