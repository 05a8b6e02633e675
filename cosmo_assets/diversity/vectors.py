"""Embeddings of documents, all or a sample: read where there are some, else computed.

Belongs here: finding the rows of documents among many datasets, in their order; embedding as `text_embeddings` does.
Does not belong here: drawing samples, measuring them or choosing among them (the stages).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from cosmo_assets.schemas.columns import EMBEDDING_DIMENSION
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import CHUNK, Embedder, matrix
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import Dataset


def rows_of(datasets: Iterable[Dataset], column: str, wanted: pl.DataFrame) -> pl.DataFrame:
    """doc_id and a column of the wanted documents (`doc_id`), in their order, read a part file at a time; null where no
    dataset has one."""
    found = [
        pl.DataFrame(pl.from_arrow(table)).join(wanted, on="doc_id", how="semi")
        for dataset in datasets
        for table in dataset.tables(["doc_id", column])
    ]
    return wanted.join(pl.concat(found), on="doc_id", how="left", maintain_order="left")


def vectors_of(embeddings: Iterable[Dataset], documents: pl.Series) -> npt.NDArray[np.float32]:
    """The unit vectors (n, 384) of documents, in their order, read a part file at a time.

    Raises:
        CosmoError: some have none: they are of other generations.
    """
    place_of = pl.DataFrame({"doc_id": documents}).with_row_index("place")
    unit, found = np.empty((len(documents), EMBEDDING_DIMENSION), np.float32), 0
    for dataset in embeddings:
        for table in dataset.tables(["doc_id", "embedding"]):
            rows = pl.DataFrame(pl.from_arrow(table.select(["doc_id"]))).with_row_index("row")
            rows = rows.join(place_of, on="doc_id")
            unit[rows["place"].to_numpy()] = matrix(table)[rows["row"].to_numpy()]
            found += rows.height
    if lost := len(documents) - found:
        raise CosmoError(
            f"{lost} documents have no row in text_embeddings",
            remedy="it is of other generations: run `cosmo run` to the end",
        )
    return unit


def embedded(workspace: Workspace, embedder: Embedder, texts: list[str]) -> npt.NDArray[np.float32]:
    """Unit vectors of texts (n, d), rounded as `text_embeddings` has them."""
    found = []
    for start in range(0, len(texts), CHUNK):
        found.append(embedder.encode(texts[start : start + CHUNK]).astype(np.float16).astype(np.float32))
        workspace.progress(min(start + CHUNK, len(texts)), len(texts), "documents")
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)
