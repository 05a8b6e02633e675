"""Embeddings of a sample of documents: read where there are some, else computed.

Belongs here: finding the rows of a sample among many datasets, in its order; embedding as `text_embeddings` does. Does
not belong here: drawing samples or measuring them (the stages).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import CHUNK, Embedder
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


def embedded(workspace: Workspace, embedder: Embedder, texts: list[str]) -> npt.NDArray[np.float32]:
    """Unit vectors of texts (n, d), rounded as `text_embeddings` has them."""
    found = []
    for start in range(0, len(texts), CHUNK):
        found.append(embedder.encode(texts[start : start + CHUNK]).astype(np.float16).astype(np.float32))
        workspace.progress(min(start + CHUNK, len(texts)), len(texts), "documents")
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)
