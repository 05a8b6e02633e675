"""Document embeddings: one unit vector per document, for a recipe that compares meanings.

Belongs here: the stage. Does not belong here: the embedding model (`cosmo_resources.embedding`), or comparing vectors
(`semantic`).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.deduplication.signatures import documents_left
from cosmo_assets.schemas.screening import TEXT_EMBEDDINGS
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import CHUNK, Embedder, as_column, matrix
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"


def build(workspace: Workspace, embedder: Embedder, bucket: str) -> Manifest:
    """Build `text_embeddings` of a bucket: of the documents that decontamination kept, in their order. Cost: the
    model's, once per document."""
    verdicts, generations = (workspace.store.open(asset, bucket) for asset in ("decontaminated", "generations"))
    return workspace.build_rows(
        "text_embeddings",
        lambda writer, earlier: _produce(writer, workspace, embedder, verdicts, generations, earlier),
        key="doc_id",
        sources=[RowSource(generations, ("text",))],
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(verdicts.ref(), generations.ref()),
        params={"model": embedder.name, "revision": embedder.revision},
    )


def read_vectors(embeddings: Dataset) -> npt.NDArray[np.float16]:
    """The vectors of a bucket, (documents, dimensions)."""
    return np.concatenate([matrix(table).astype(np.float16) for table in embeddings.tables(["embedding"])])


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    embedder: Embedder,
    verdicts: Dataset,
    generations: Dataset,
    earlier: Earlier,
) -> None:
    done, flow = 0, verdicts.manifest.flow
    for table in documents_left(verdicts, generations, ["text"]):
        for start in range(0, max(table.num_rows, 1), CHUNK):
            rows = table.slice(start, CHUNK).to_pylist()
            before = earlier.rows([row["doc_id"] for row in rows])
            vector_of = dict(zip(before["doc_id"].to_pylist(), matrix(before).astype(np.float16), strict=True))
            writer.reused_rows += len(vector_of)
            new = [row for row in rows if row["doc_id"] not in vector_of]
            vectors = embedder.encode([row["text"] for row in new]).astype(np.float16)
            vector_of.update(zip((row["doc_id"] for row in new), vectors, strict=True))
            ids = pa.array([row["doc_id"] for row in rows], pa.string())
            embeddings = as_column([vector_of[row["doc_id"]] for row in rows])
            writer.write(pa.table({"doc_id": ids, "embedding": embeddings}, schema=TEXT_EMBEDDINGS))
            done += len(rows)
            workspace.progress(done, flow.rows_out, "documents")
    writer.flow("documents", flow.rows_out, done)
