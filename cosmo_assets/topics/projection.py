"""The projection of embeddings onto a plane: laying out a bounded number of them, and placing any others among these.

Belongs here: the method, on arrays. Does not belong here: which seeds are laid out, and what is shown (`map`).

Method: t-SNE (van der Maaten and Hinton, 2008) on the graph of nearest neighbours with equal weights, from the first
two principal components, with the repulsion interpolated on a grid (FIt-SNE; Linderman et al., 2019), by openTSNE. It
was chosen by `tests/benchmarks/projection.py`.
"""

import faiss
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

METHOD_VERSION = "1"
NEIGHBOURS = 15
ITERATIONS, EXAGGERATIONS, MOMENTA = (100, 200), (12.0, 1.0), (0.5, 0.8)
"""Of the two phases. To the end without exaggeration: with it groups stand further apart (silhouette of labels .33
against .27 on Stack Overflow titles), but as many points again lie upon one another, and fewer neighbours are kept."""
FEWEST = 12
"""Below so many points there is no neighbourhood to keep: the principal components are the map."""
PLACED_AT = 10
SURROUNDINGS = 0.1
"""Radius, in the layout's units, in which the nearest points must lie to have a say in where a new one goes."""
CHUNK = 16_384

Vectors = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float64]


def lay_out(vectors: Vectors) -> Plane:
    """Unit vectors (n, d) on a plane, as (n, 2) between -1 and 1.

    The same on any number of threads: similarities are rounded before they are compared, the start is rounded, and
    the rest runs on one thread. Cost: n x n x d for the neighbours, n for the rest (10,000 in about 5 s).
    """
    if len(vectors) < FEWEST:
        return _fitted(principal_plane(vectors))
    import openTSNE
    from openTSNE.affinity import PrecomputedAffinities

    neighbours, _ = nearest(vectors, vectors, min(NEIGHBOURS, len(vectors) - 1) + 1)
    rows = np.repeat(np.arange(len(vectors)), neighbours.shape[1])
    graph = csr_array((np.ones(rows.size), (rows, neighbours.ravel())), shape=(len(vectors), len(vectors)))
    graph.setdiag(0)
    graph.eliminate_zeros()
    graph = (graph + graph.T).tocsr()
    start = principal_plane(vectors)
    start = (start / max(float(start[:, 0].std()), 1e-9) * 1e-4 + 1e-6 * _spiral(len(start))).round(12)
    embedding = openTSNE.TSNEEmbedding(
        start,
        PrecomputedAffinities(graph, normalize=True),
        negative_gradient_method="fft",
        n_jobs=1,
        random_state=0,
    )
    for iterations, exaggeration, momentum in zip(ITERATIONS, EXAGGERATIONS, MOMENTA, strict=True):
        embedding.optimize(n_iter=iterations, exaggeration=exaggeration, momentum=momentum, inplace=True)
    return _fitted(np.asarray(embedding, np.float64))


def place(vectors: Vectors, laid_out: Vectors, plane: Plane) -> Plane:
    """Places for further vectors (n, d) in a layout, as (n, 2).

    A vector goes to the mean of its nearest points in the layout, weighted by similarity - of those of them that lie
    together. The plain mean of neighbours on two islands is open sea: on Stack Overflow titles it kept .66 of the
    neighbours' labels where this keeps .75, as many as the layout itself. Cost: n x laid out x d.
    """
    placed = np.zeros((len(vectors), 2))
    for start in range(0, len(vectors) if len(plane) else 0, CHUNK):
        near, similarity = nearest(vectors[start : start + CHUNK], laid_out, min(PLACED_AT, len(plane)))
        points, weights = plane[near], np.maximum(similarity, 1e-3)
        apart = np.linalg.norm(points[:, :, None] - points[:, None, :], axis=-1)
        middle = (apart * weights[:, None, :]).sum(axis=-1).round(6).argmin(axis=1)
        together = np.take_along_axis(apart, middle[:, None, None], axis=1)[:, 0] <= SURROUNDINGS
        weights = weights * together
        placed[start : start + CHUNK] = (points * weights[..., None]).sum(axis=1) / weights.sum(axis=1)[:, None]
    return placed


def nearest(queries: Vectors, vectors: Vectors, wanted: int) -> tuple[npt.NDArray[np.int64], Plane]:
    """For each query its nearest vectors, the most similar first, and their cosine similarities, as (n, wanted); equal
    ones, to four decimals, in the order of the vectors."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    spare = min(wanted + 4, len(vectors))  # so that which of two equal ones is found does not depend on the processor
    similarity, found = index.search(np.ascontiguousarray(queries, np.float32), spare)
    rounded = similarity.astype(np.float64).round(4)
    order = np.lexsort((found, -rounded), axis=1)[:, :wanted]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(rounded, order, axis=1)


def nearest_on_plane(plane: Plane, wanted: int) -> npt.NDArray[np.int64]:
    """For each point of a layout its nearest others, as (n, wanted)."""
    _, found = cKDTree(plane).query(plane, k=wanted + 1)
    return np.asarray(found[:, 1:], np.int64)


def principal_plane(vectors: Vectors) -> Plane:
    """Vectors (n, d) on their first two principal components, as (n, 2); signs such that the largest loading is
    positive."""
    if not len(vectors):
        return np.zeros((0, 2))
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, components = np.linalg.eigh(centred.T @ centred)
    axes = components[:, :-3:-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return np.asarray(centred @ axes)


def _spiral(count: int) -> Plane:
    """So many points apart from one another, in the unit disc: equal vectors must not start at one place, from which
    no force would ever part them (nor does the grid stand a map without extent)."""
    turns = np.arange(count) * (np.pi * (3 - np.sqrt(5)))
    return np.asarray(np.sqrt((np.arange(count) + 0.5) / count)[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1))


def _fitted(plane: Plane) -> Plane:
    """The plane moved and scaled into -1 to 1."""
    if not len(plane):
        return plane
    low, high = plane.min(axis=0), plane.max(axis=0)
    return np.asarray((plane - (low + high) / 2) / (float((high - low).max()) / 2 or 1.0))
