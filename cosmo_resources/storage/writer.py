"""Writing one dataset version: tables, rejected rows and artifacts into a working folder, then one atomic rename.

Belongs here: what a stage calls while it produces a dataset. Does not belong here: deciding whether it must be produced
at all (`store`), or the resumable ledger of long work (`ledger`).
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import file_digest, frozen_mapping, schema_fingerprint, table_digest
from cosmo_resources.storage.files import disk_errors, link_or_copy, sync, write_parquet, write_text
from cosmo_resources.storage.manifest import MANIFEST_NAME, FileEntry, Flow, InputRef, Manifest, Tokens, identity_of

REJECTED = pa.schema(
    [
        pa.field("place", pa.string(), nullable=False),
        pa.field("field", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)
"""Rows that did not make it: where each stood (file:row or id), which field, the counted reason, and what was seen."""


class DatasetWriter:
    """Collects the files of a new version in `folder`. Parts appear in the manifest in the order of writing."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.summary: dict[str, Any] = {}
        """Figures and small tables about the content, for checks and charts. Part of the version's identity."""
        self.run: dict[str, Any] = {}
        """Figures about this run alone (speed, tokens generated). No part of the identity."""
        self.reused_rows = 0
        """How many of the rows were taken over from an earlier version; the others count as computed."""
        self._schema = schema
        self._files: list[FileEntry] = []
        self._rejected: list[dict[str, str | None]] = []
        self._rejected_tables: list[pa.Table] = []
        self._flow: Flow | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, table: pa.Table, *, bucket: str | None = None) -> None:
        """Write one part file. The table is cast to the dataset's schema; a column that does not fit is an error."""
        table = table.select(self._schema.names).cast(self._schema)
        path = self._next_part()
        write_parquet(path, table)
        self._add(path, "rows", bucket, table.num_rows, table_digest(table))

    def adopt(
        self, shard: Path, *, rows: int, content: str, bucket: str | None = None, checksum: str | None = None
    ) -> None:
        """Take over a finished parquet file (of the ledger) as the next part, without copying it. Where its checksum is
        known, its bytes are not read either."""
        path = self._next_part()
        with disk_errors(self.folder):
            link_or_copy(shard, path)
        self._add(path, "rows", bucket, rows, content, checksum)

    def reject(self, place: str, reason: str, *, field: str | None = None, detail: str | None = None) -> None:
        """Record a row that was dropped or failed, so that it can be found again."""
        row = {"place": place, "field": field, "reason": reason, "detail": detail}
        self._rejected.append({key: value and value.encode("utf-8", "replace").decode() for key, value in row.items()})

    def reject_rows(self, table: pa.Table) -> None:
        """Record many such rows at once, as a table of `REJECTED`; they come before those of `reject`."""
        self._rejected_tables.append(table.cast(REJECTED))

    def artifact(
        self, name: str, produce: Callable[[Path], None], *, checksum: str | None = None, content: str | None = None
    ) -> None:
        """Add a file that is no part of the table (a report, token shards); `produce` writes it at the given path, or
        links a finished file there: where its checksum is known, its bytes are not read. `content` is the digest of its
        meaning, where its bytes hold more than that."""
        path = self.folder / name
        with disk_errors(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            produce(path)
            sync(path)
        checksum = checksum or file_digest(path)
        self._add(path, "artifact", None, 0, content or checksum, checksum)

    def flow(
        self,
        unit: str,
        rows_in: int,
        rows_out: int,
        *,
        dropped: Mapping[str, int] | None = None,
        failed: Mapping[str, int] | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """State what went in and what became of it (see `Flow`). What went in is what the input's own manifest says
        came out of it, never a count of what was read: so a row that a stage loses does not balance."""
        self._flow = Flow(
            unit=unit,
            rows_in=rows_in,
            rows_out=rows_out,
            dropped=dict(sorted((dropped or {}).items())),
            failed=dict(sorted((failed or {}).items())),
            tokens=tokens,
        )

    def finish(
        self,
        *,
        asset: str,
        bucket: str,
        stage_version: str,
        params: Mapping[str, Any],
        inputs: tuple[InputRef, ...],
        plan: str,
        run: Mapping[str, Any],
    ) -> Manifest:
        """Write the manifest, last. The folder is then complete and may be renamed into place."""
        if self._flow is None:
            raise CosmoError(f"{asset}: the stage stated no flow of rows", remedy="call writer.flow() before it ends")
        table = pa.concat_tables([*self._rejected_tables, pa.Table.from_pylist(self._rejected, schema=REJECTED)])
        if table.num_rows:
            path = self.folder / "rejected-00000.parquet"
            write_parquet(path, table)
            self._add(path, "rejected", None, table.num_rows, table_digest(table))
        fields: dict[str, Any] = {
            "asset": asset,
            "bucket": bucket,
            "stage_version": stage_version,
            "params": frozen_mapping(params),
            "inputs": [ref.model_dump() for ref in inputs],
            "schema_fingerprint": schema_fingerprint(self._schema),
            "files": [entry.model_dump() for entry in self._files],
            "flow": self._flow.model_dump(),
            "summary": frozen_mapping(self.summary),
            "plan": plan,
        }
        written = sum(entry.rows for entry in self._files if entry.role == "rows")
        touched = {"computed_rows": written - self.reused_rows, "reused_rows": self.reused_rows}
        manifest = Manifest.model_validate(
            {**fields, "version": identity_of(fields), "run": frozen_mapping({**run, **touched, **self.run})}
        )
        text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False, sort_keys=True)
        write_text(self.folder / MANIFEST_NAME, text + "\n")
        return manifest

    def discard(self) -> None:
        """Remove what was written; nothing of it was visible to readers."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _next_part(self) -> Path:
        return self.folder / f"part-{sum(entry.role == 'rows' for entry in self._files):05d}.parquet"

    def _add(
        self, path: Path, role: Any, bucket: str | None, rows: int, content: str, checksum: str | None = None
    ) -> None:
        self._files.append(
            FileEntry(
                name=path.relative_to(self.folder).as_posix(),
                role=role,
                bucket=bucket,
                rows=rows,
                bytes=path.stat().st_size,
                content=content,
                checksum=checksum or file_digest(path),
            )
        )


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One parquet file as a table.

    Raises:
        CosmoError: the file is damaged.
    """
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise CosmoError(
            f"{path}: not a readable parquet file: {error}",
            remedy="run `cosmo doctor`, then materialize the asset again",
        ) from error
