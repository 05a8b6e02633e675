"""Grouping of features into a given number of clusters: communities of a neighbour graph, k-means, or HDBSCAN.

Belongs here: the methods, on arrays. Does not belong here: where features come from (`features`), or the stages that
build and apply a cluster model (`clustering`).

The graph method: nearest neighbours by cosine; features averaged over the graph for some steps (a random walk, as in
diffusion maps, Coifman and Lafon, 2006), so that what is connected moves together; merged along the graph's edges
by Ward's criterion (Ward, 1963) up to the number wanted, many points by way of small groups; at last every point joins
the majority of its neighbours. Measured beside its rivals in tests/benchmarks/clustering.py.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from operator import matmul

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from cosmo_assets.topics.features import PART, Vectors, unit

Labels = npt.NDArray[np.int64]
Neighbours = tuple[Vectors, npt.NDArray[np.int64]]
"""Similarities and positions (n, count), nearest first; position -1 where there are fewer."""

NEIGHBOURS = 12
STEPS = 8
PARTS = 64
"""Principal components of the averaged features that groups are merged in."""
VOTES = 5
MERGED = 20_000
"""Up to so many points are merged one by one."""
EXACT = 30_000
"""Up to so many points, neighbours are searched among all; beyond, in the nearest cells of an inverted file."""
BATCH = 65_536


def graph_communities(features: Vectors, nearest: Neighbours, clusters: int, seed: int) -> Labels:
    """Labels (n,) of at most `clusters` groups of unit features (n, d) and their nearest neighbours.

    Cost: linear in n, n log n merges up to 20,000 points and, beyond, those of 2,000 to 20,000 small groups.
    """
    if clusters >= len(features) or clusters == 1:
        return np.arange(len(features)) % clusters
    graph = _symmetric(*nearest)
    averaged = _principal(_averaged(graph, features), PARTS)
    if len(features) <= MERGED:
        return _majority(graph, merged(averaged, graph, clusters), clusters)
    groups = k_means(averaged, min(MERGED, max(2_000, 10 * clusters)), seed, iterations=4, points=16, spherical=False)
    groups = np.unique(groups, return_inverse=True)[1]
    member = sp.csr_matrix((np.ones(len(groups), np.float32), (groups, np.arange(len(groups)))))
    labels = merged(_means(averaged, groups).astype(np.float32), (member @ graph @ member.T).tocsr(), clusters)
    return _majority(graph, labels[groups], clusters)


def neighbourhood(points: int, clusters: int) -> int:
    """How many neighbours speak for a point: a quarter of a cluster, at most `NEIGHBOURS`. More would reach over the
    borders of small clusters, and so dissolve them."""
    return max(1, min(NEIGHBOURS, max(3, points // (4 * clusters)), points - 1))


def k_means(
    features: Vectors, clusters: int, seed: int, *, iterations: int = 40, points: int = 256, spherical: bool = True
) -> Labels:
    """Labels of (spherical) k-means (Dhillon and Modha, 2001) through faiss, fitted on at most `points` a cluster.
    Cost: points x clusters x iterations."""
    model = faiss.Kmeans(
        features.shape[1],
        clusters,
        niter=iterations,
        seed=seed,
        spherical=spherical,
        min_points_per_centroid=1,
        max_points_per_centroid=points,
        gpu=faiss.get_num_gpus() > 0,
    )
    model.train(features)
    index = _on_gpus(faiss.IndexFlatIP(features.shape[1]) if spherical else faiss.IndexFlatL2(features.shape[1]))
    index.add(model.centroids)
    labels = [index.search(features[at : at + BATCH], 1)[1][:, 0] for at in range(0, len(features), BATCH)]
    return np.concatenate(labels).astype(np.int64)


def density_clusters(features: Vectors, clusters: int) -> Labels:
    """Labels of HDBSCAN (Campello et al., 2013; scikit-learn's) on the first principal components, points of no
    cluster with the nearest one. The number of clusters is what the data gives, at most four times `clusters`: each has
    at least a quarter of the points of an average one. Cost: up to the square of n."""
    reduced = _principal(features, 10)
    least = max(5, len(features) // (4 * clusters))
    if len(features) < least:
        return np.zeros(len(features), np.int64)
    from sklearn.cluster import HDBSCAN  # a second that loading the definitions need not cost

    labels: Labels = HDBSCAN(min_cluster_size=least, min_samples=5, copy=True).fit_predict(reduced).astype(np.int64)
    if labels.max(initial=-1) < 0:
        return np.zeros(len(features), np.int64)
    centres = unit(_means(features, np.where(labels < 0, 0, labels), (labels >= 0).astype(np.float64)))
    stray = np.flatnonzero(labels < 0)
    labels[stray] = (features[stray] @ centres.T).argmax(axis=1)
    return labels


def nearest_neighbours(features: Vectors, count: int, seed: int) -> Neighbours:
    """The nearest other points by inner product. Cost: n squared up to 30,000 points, n to the 1.5 beyond."""
    index = neighbour_index(features, seed)
    similarity = np.empty((len(features), count), np.float32)
    neighbours = np.empty((len(features), count), np.int64)
    for at in range(0, len(features), BATCH):
        found, places = index.search(features[at : at + BATCH], count + 1)
        own = places == np.arange(at, at + len(places))[:, None]
        own[~own.any(axis=1), -1] = True  # among equal points, the point itself may not be found
        similarity[at : at + len(places)] = found[~own].reshape(len(places), count)
        neighbours[at : at + len(places)] = places[~own].reshape(len(places), count)
    return similarity, neighbours


def neighbour_index(features: Vectors, seed: int) -> faiss.Index:
    """An index by inner product: exact for few points, an inverted file of half floats for many."""
    dimensions = features.shape[1]
    flat = faiss.IndexFlatIP(dimensions)
    if len(features) <= EXACT:
        flat.add(features)
        return _on_gpus(flat)
    cells = int(2 * np.sqrt(len(features)))
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(flat, dimensions, cells, half, faiss.METRIC_INNER_PRODUCT, False)
    index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = seed, 5, 64
    index.train(features)
    index.add(features)
    index.nprobe = 6
    return _on_gpus(index)


def _on_gpus(index: faiss.Index) -> faiss.Index:
    """The index on all GPUs where faiss is built for them and finds some; itself elsewhere."""
    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index


def merged(points: Vectors, graph: sp.csr_matrix, clusters: int) -> Labels:
    """Labels of points (n, d) merged by Ward's criterion along the edges of a graph (n, n), and of links between parts
    of it, until `clusters` are left. Cost: n log n."""
    from sklearn.cluster import AgglomerativeClustering  # a second that loading the definitions need not cost

    method = AgglomerativeClustering(clusters, connectivity=linked(points, graph), linkage="ward")
    return np.asarray(method.fit_predict(points), np.int64)


def linked(points: Vectors, graph: sp.csr_matrix) -> sp.csr_matrix:
    """A graph (n, n) in which parts that hang together nowhere are linked, each with the nearest others by their means,
    until it is one. (scikit-learn would compare every part with every other, point by point.)"""
    while True:
        count, part = connected_components(graph, directed=False)
        if count == 1:
            return graph
        means = _means(points, part).astype(np.float32)
        index = _on_gpus(faiss.IndexFlatL2(means.shape[1]))
        index.add(means)
        near = index.search(means, min(NEIGHBOURS + 1, count))[1]
        order = np.lexsort((((points - means[part]) ** 2).sum(axis=1), part))
        middle = order[np.searchsorted(part[order], np.arange(count))]
        rows = np.repeat(np.arange(count), near.shape[1])
        other = rows != near.ravel()
        ends = middle[rows[other]], middle[near.ravel()[other]]
        links = sp.csr_matrix((np.ones(other.sum(), graph.dtype), ends), graph.shape)
        graph = (graph + links + links.T).tocsr()


def _symmetric(similarity: Vectors, neighbours: npt.NDArray[np.int64]) -> sp.csr_matrix:
    count, width = neighbours.shape
    rows = np.repeat(np.arange(count), width)
    known = neighbours.ravel() >= 0  # an inverted file may find fewer
    weights = np.maximum(similarity.ravel()[known], 1e-3)
    graph = sp.csr_matrix((weights, (rows[known], neighbours.ravel()[known])), (count, count))
    return graph.maximum(graph.T).tocsr()


def _averaged(graph: sp.csr_matrix, features: Vectors) -> Vectors:
    walk = sp.diags(1 / np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1e-9)).astype(np.float32) @ graph
    averaged = features
    parts = [walk[start : start + PART] for start in range(0, walk.shape[0], PART)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in range(STEPS):
            averaged = np.concatenate(list(pool.map(matmul, parts, repeat(averaged))))
    return unit(averaged - averaged.mean(axis=0))


def _principal(features: Vectors, parts: int) -> Vectors:
    centred = features - features.mean(axis=0)
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return np.ascontiguousarray(centred @ vectors[:, ::-1][:, :parts].astype(np.float32))


def _majority(graph: sp.csr_matrix, labels: Labels, clusters: int) -> Labels:
    """Labels after some rounds in which every point takes the label that weighs most among its neighbours."""
    for _ in range(VOTES):
        ones = np.ones(len(labels), np.float32)
        votes = (graph @ sp.csr_matrix((ones, (np.arange(len(labels)), labels)), (len(labels), clusters))).tocsr()
        found = np.where(np.diff(votes.indptr) > 0, _heaviest(votes), labels)
        if len(np.unique(found)) < len(np.unique(labels)):
            break  # a cluster would be voted away
        labels = found
    return labels


def _heaviest(weights: sp.csr_matrix) -> Labels:
    """The column of the largest value of each row, the first of equal ones; 0 for an empty row. (scipy's
    own argmax goes through the rows one by one.)"""
    weights.sort_indices()
    counts = np.diff(weights.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    largest = np.zeros(len(counts), weights.dtype)
    np.maximum.at(largest, rows, weights.data)
    hits = np.flatnonzero(weights.data == largest[rows])[::-1]
    columns = np.zeros(len(counts), np.int64)
    columns[rows[hits]] = weights.indices[hits]  # of several, the last one written is the first
    return columns


def _means(points: Vectors, groups: Labels, weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
    ones = np.ones(len(groups)) if weights is None else weights
    member = sp.csr_matrix((ones, (groups, np.arange(len(groups)))))
    sums: npt.NDArray[np.float64] = member @ points.astype(np.float64)
    means: npt.NDArray[np.float64] = sums / np.maximum(np.asarray(member.sum(axis=1)), 1e-12)
    return means
