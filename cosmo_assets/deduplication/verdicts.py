"""Verdicts: which documents of a bucket are left after deduplication.

Belongs here: the stage. Does not belong here: finding duplicates (`clusters`).
"""

from collections import Counter

import pyarrow as pa

from cosmo_assets.schemas.screening import DEDUPLICATED
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "2"


def build(workspace: Workspace, bucket: str) -> Manifest:
    """Build `deduplicated` of a bucket. Cost: linear in its documents."""
    signatures = workspace.store.open("text_signatures", bucket)
    found = workspace.store.open("duplicate_clusters")
    return workspace.build(
        "deduplicated",
        lambda writer: _produce(writer, signatures, found, bucket),
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(signatures.ref(), found.ref(bucket)),
        params={},
    )


def _produce(writer: DatasetWriter, signatures: Dataset, found: Dataset, bucket: str) -> None:
    members = found.table(["doc_id", "method", "survivor", "duplicate_of"], bucket=bucket).to_pylist()
    dropped = {row["doc_id"]: row for row in members if row["survivor"] != row["doc_id"]}
    rows = []
    counts: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for document in signatures.table(["doc_id", "tokens"]).to_pylist():
        key = document["doc_id"]
        row = dropped.get(key)
        method = row["method"] if row else None
        rows.append(
            {"doc_id": key, "keep": row is None, "method": method, "duplicate_of": row["duplicate_of"] if row else None}
        )
        reason = f"duplicate_{method}"
        tokens[reason if row else "keep"] += document["tokens"]
        if row:
            counts[reason] += 1
            writer.reject(key, reason, detail=row["duplicate_of"])
    writer.write(pa.Table.from_pylist(rows, schema=DEDUPLICATED))
    flow = signatures.manifest.flow
    kept = len(rows) - sum(counts.values())
    writer.flow("documents", flow.rows_out, kept, dropped=counts, tokens=flow.tokens_through(tokens))
