"""Semantic duplicates: documents whose embeddings are almost the same.

Belongs here: which documents are compared, and which of them are duplicates. Does not belong here: embedding them
(`embeddings`).

Method: SemDeDup (Abbas et al., 2023, section 3): documents are divided by k-means, compared by cosine within a cell,
and of those that are more similar than a threshold one is kept. Here that is the best one: a document goes if it is
similar to a better one that stays. Two documents that k-means puts in different cells are not compared.
"""

import numpy as np
import numpy.typing as npt

from cosmo_assets.recipe.deduplication import SemanticMethod
from cosmo_assets.topics.features import Vectors
from cosmo_assets.topics.grouping import k_means
from cosmo_assets.words.compiled import compiled

Ranks = npt.NDArray[np.int64]
BLOCK = 1024
"""Documents that are compared with all of their cell at a time."""


def similar(vectors: Vectors, method: SemanticMethod) -> Ranks:
    """For each of the unit vectors (n, d), from the best document's on, the number of the one that it is a duplicate
    of, its own if of none: the most similar of those that stay.

    Cost: n x d times the size of a cell, and k-means. Memory: the vectors, and a block's similarities.
    """
    cells = -(-len(vectors) // method.cell)
    labels = k_means(vectors, cells, method.seed) if cells > 1 else np.zeros(len(vectors), np.int64)
    twin = np.arange(len(vectors))
    by_cell = np.argsort(labels, kind="stable")
    for members in np.split(by_cell, np.searchsorted(labels[by_cell], np.arange(1, cells))):
        twin[members] = members[_within(vectors[members], method.similarity)]
    return twin


def _within(vectors: Vectors, threshold: float) -> Ranks:
    twin = np.arange(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        similarity = block @ vectors[: start + len(block)].T
        rows, columns = np.nonzero(similarity >= threshold)
        _settle(rows + start, columns, similarity[rows, columns], twin)
    return twin


@compiled
def _settle(rows: Ranks, columns: Ranks, similarity: Vectors, twin: Ranks) -> None:
    """Settle which documents are duplicates, from pairs in the order of their rows, the better of a pair as column."""
    best = np.float32(0.0)
    for pair in range(len(rows)):
        row, column = rows[pair], columns[pair]
        if pair == 0 or row != rows[pair - 1]:
            best = np.float32(0.0)
        if column < row and twin[column] == column and similarity[pair] > best:
            best = similarity[pair]
            twin[row] = column
