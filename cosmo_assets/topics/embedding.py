"""Seed embeddings: one unit vector per seed, taken over from the version before where the seed is unchanged.

Belongs here: the stage. Does not belong here: the embedding model (`cosmo_resources.embedding`).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.schemas.columns import EMBEDDING_DIMENSION
from cosmo_assets.schemas.topics import SEED_EMBEDDINGS
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
CHUNK = 4096
"""Seeds embedded and written at a time."""


class Embedder(Protocol):
    """A sentence embedding model: texts to float32 (n, 384), each row of unit length."""

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str: ...

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]: ...


def build(workspace: Workspace, embedder: Embedder) -> Manifest:
    """Build `seed_embeddings`. Cost: the model's, once per new seed or changed title; memory for the vectors of the
    earlier version and one part of the seeds."""
    seeds = workspace.store.open("seed_documents")
    return workspace.build_rows(
        "seed_embeddings",
        lambda writer, earlier: _produce(writer, workspace, embedder, seeds, earlier),
        key="seed_id",
        sources=[RowSource(seeds, ("title", "text"))],
        stage_version=STAGE_VERSION,
        inputs=(seeds.ref(),),
        params={"model": embedder.name, "revision": embedder.revision},
    )


def matrix(table: pa.Table) -> npt.NDArray[np.float32]:
    """The embeddings of a table as float32 (n, 384)."""
    column = table["embedding"].combine_chunks()
    values = column.values if isinstance(column, pa.FixedSizeListArray) else column.flatten()
    flat: npt.NDArray[np.float32] = values.to_numpy(zero_copy_only=False).astype(np.float32)
    return flat.reshape(-1, EMBEDDING_DIMENSION)


def as_column(vectors: Sequence[npt.NDArray[np.float16]]) -> pa.Array:
    """Vectors as a column of a table."""
    stacked = np.array(vectors, np.float16).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(stacked, pa.float16()), EMBEDDING_DIMENSION)


def _produce(writer: DatasetWriter, workspace: Workspace, embedder: Embedder, seeds: Dataset, earlier: Earlier) -> None:
    total, done = seeds.manifest.rows, 0
    for table in seeds.tables(["seed_id", "title", "text"]):
        for start in range(0, max(table.num_rows, 1), CHUNK):
            rows = table.slice(start, CHUNK).to_pylist()
            before = earlier.rows([row["seed_id"] for row in rows])
            vector_of = dict(zip(before["seed_id"].to_pylist(), matrix(before).astype(np.float16), strict=True))
            writer.reused_rows += len(vector_of)
            new = [row for row in rows if row["seed_id"] not in vector_of]
            vectors = embedder.encode([embedded_text(row["title"], row["text"]) for row in new]).astype(np.float16)
            vector_of.update(zip((row["seed_id"] for row in new), vectors, strict=True))
            embeddings = as_column([vector_of[row["seed_id"]] for row in rows])
            ids = pa.array([row["seed_id"] for row in rows], pa.string())
            writer.write(pa.table({"seed_id": ids, "embedding": embeddings}, schema=SEED_EMBEDDINGS))
            done += len(rows)
            workspace.progress(done, total, "seeds")
    writer.flow("seeds", total, done)


def embedded_text(title: str | None, text: str) -> str:
    """What is embedded of a seed: its title, where it has one that its text does not begin with, then its text."""
    return text if not title or text.startswith(title) else f"{title}\n{text}"
