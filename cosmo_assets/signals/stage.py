"""Signals of the documents: one row of figures for every text that decontamination kept.

Belongs here: the stages. Does not belong here: how a figure is computed (`statistics`), or which documents are kept for
it (`cosmo_assets.selection`).
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.deduplication.signatures import documents_left
from cosmo_assets.real.texts import DOCUMENTS, ELIGIBLE
from cosmo_assets.schemas import TEXT_STATISTICS
from cosmo_assets.signals.spread import Spread
from cosmo_assets.signals.statistics import statistics_of
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.writer import DatasetWriter

STATISTICS_VERSION = "1"
BATCH = 2048
"""Documents that are measured at a time."""


def build_statistics(workspace: Workspace, bucket: str) -> Manifest:
    """Build `text_statistics` of a bucket. Cost: linear in the text of documents that no earlier version measured, and
    reading the others; memory for a shard, and the figures of the bucket."""
    verdicts, generations = (workspace.store.open(asset, bucket) for asset in ("decontaminated", "generations"))
    return workspace.build_rows(
        "text_statistics",
        lambda writer, earlier: _produce(
            writer, workspace, documents_left(verdicts, generations, ["text"]), verdicts.manifest.flow.rows_out, earlier
        ),
        key="doc_id",
        sources=[RowSource(generations, ("text",))],
        bucket=bucket,
        stage_version=STATISTICS_VERSION,
        inputs=(verdicts.ref(), generations.ref()),
        params={},
    )


def build_real_statistics(workspace: Workspace) -> Manifest:
    """Build `real_statistics`: the same of the real documents that may stand in the corpus."""
    documents, eligible = (workspace.store.open(asset) for asset in (DOCUMENTS, ELIGIBLE))
    chosen = eligible.table(["doc_id"])["doc_id"].combine_chunks()
    parts = (part.filter(pc.is_in(part["doc_id"], chosen)) for part in documents.tables(["doc_id", "text"]))
    return workspace.build_rows(
        "real_statistics",
        lambda writer, earlier: _produce(writer, workspace, parts, len(chosen), earlier),
        key="doc_id",
        sources=[RowSource(documents, ("text",))],
        stage_version=STATISTICS_VERSION,
        inputs=(documents.ref(), eligible.ref()),
        params={},
    )


def _produce(
    writer: DatasetWriter, workspace: Workspace, parts: Iterable[pa.Table], total: int, earlier: Earlier
) -> None:
    spread, done = Spread(TEXT_STATISTICS), 0
    for part in parts:
        for start in range(0, max(part.num_rows, 1), BATCH):
            documents = part.slice(start, BATCH).combine_chunks()
            known = earlier.rows(documents["doc_id"].to_pylist())
            table = _in_order(documents["doc_id"], [known, _measured(documents, known)])
            writer.reused_rows += known.num_rows
            writer.write(table)
            spread.add(table)
            done += documents.num_rows
            workspace.progress(done, total, "documents")
    writer.flow("documents", total, done)
    writer.summary = {"spread": spread.summary()}


def _measured(documents: pa.Table, known: pa.Table) -> pa.Table:
    """The rows of those documents that are not known."""
    held = set(known["doc_id"].to_pylist())
    new = documents.filter(pa.array([key not in held for key in documents["doc_id"].to_pylist()], pa.bool_()))
    figures = statistics_of(new["text"])
    columns: list[Any] = [new["doc_id"], *(figures[name] for name in TEXT_STATISTICS.names[1:])]
    return pa.table(columns, schema=TEXT_STATISTICS)


def _in_order(ids: pa.ChunkedArray, tables: list[pa.Table]) -> pa.Table:
    """The rows of these documents, in their order."""
    rows = pa.concat_tables([table.select(TEXT_STATISTICS.names).cast(TEXT_STATISTICS) for table in tables])
    place = {key: number for number, key in enumerate(rows["doc_id"].to_pylist())}
    return rows.take(pa.array([place[key] for key in ids.to_pylist()], pa.int64()))
