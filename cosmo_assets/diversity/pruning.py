"""Pruning: which documents of a set are kept, from their embeddings alone or with a difficulty.

Belongs here: the published policies as functions of arrays. Does not belong here: embedding, or what becomes of the
documents that are left out (`cosmo_assets.mixture`).
"""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

import faiss
import numpy as np
import numpy.typing as npt

from cosmo_assets.topics.grouping import k_means

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Points = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

EARLIER = -2.0
"""The similarity to an earlier member of a document that has none: below any cosine."""

BLOCK = 1024
"""Documents that are compared with all earlier ones of their cluster at a time."""

SPARE = 8
"""So many points more than are wanted are looked at, as single precision may put them in another order."""
ROUNDING = 1e-4
"""How far off a squared distance in single precision may be, relative to the longest vector's square: twice what 384
dimensions can add up to."""
NUMBERS = 1 << 22
"""Numbers that are held at a time while distances are computed anew."""


@dataclass(frozen=True)
class Diversified:
    """What D4 says of each of n documents: whether it is a duplicate, whether it is a prototype (both go); the cluster
    it was in, and its distance to the centroid, 1 - cosine: of the second clustering where it is no duplicate."""

    duplicate: Flags
    prototype: Flags
    cluster: Labels
    distance: Reals

    @property
    def kept(self) -> Flags:
        return ~(self.duplicate | self.prototype)


def semdedup(vectors: Vectors, clusters: Labels, epsilon: float, *, keep_hard: bool = True) -> Flags:
    """SemDeDup (Abbas et al. 2023): which of the unit vectors (n, d) go as duplicates.

    Within a cluster documents are sorted by distance to the centroid, the farthest first (or, without `keep_hard`, the
    nearest); one goes if its cosine with an earlier one, whether that went or not, is above 1 - `epsilon`. Cost: the
    sum of d times half the square of the clusters' sizes; memory for the vectors and a block of similarities.
    """
    nearest = _nearest_earlier(vectors, clusters, keep_hard=keep_hard)
    removed: Flags = nearest > 1 - epsilon
    return removed


def d4(vectors: Vectors, *, clusters: int, keep_different: float, keep_atypical: float, seed: int) -> Diversified:
    """D4 (Tirumala et al. 2023): deduplicate, then diversify unit vectors (n, d).

    Of all documents the share `keep_different` stays that is least similar to an earlier member of its cluster
    (SemDeDup with the epsilon that gives this share); these are clustered again, and of them the share `keep_atypical`
    stays that is farthest from its centroid: prototypes go (Sorscher et al. 2022). Their product is the share of all
    that stays. Cost: k-means twice, and that of `semdedup`.
    """
    cluster = _clustered(vectors, clusters, seed)
    duplicate = _lowest(-_nearest_earlier(vectors, cluster, keep_hard=True), 1 - keep_different)
    left = np.flatnonzero(~duplicate)
    distance = _distances(vectors, cluster)
    cluster[left] = _clustered(vectors[left], clusters, seed)
    distance[left] = _distances(vectors[left], cluster[left])
    prototype = np.zeros(len(vectors), np.bool_)
    prototype[left] = _lowest(distance[left], 1 - keep_atypical)
    return Diversified(duplicate, prototype, cluster, distance)


@dataclass(frozen=True)
class Graph:
    """Neighbours of n points, each of which is one of its neighbours as well. Those of point i are `neighbours` from
    `starts[i]` to `starts[i + 1]`, ascending, with their Euclidean `distances`."""

    starts: Labels
    neighbours: Labels
    distances: Reals


def neighbour_graph(points: Points, neighbours: int) -> Graph:
    """Of n points (n, d): i is one of j where either is among the nearest `neighbours` of the other; of those at equal
    distances, the ones with lower numbers are nearer.

    Nothing in it depends on rounding in single precision, or on threads. Cost: n squared times d; again for points with
    hundreds of others at nearly the same distance. Memory: the points in single precision, and n times `neighbours`.
    """
    count = len(points)
    near, apart = _nearest(points, max(min(neighbours, count - 1), 0))
    one, other = np.repeat(np.arange(count), near.shape[1]), near.ravel()
    pairs, first = np.unique(np.concatenate([one * count + other, other * count + one]), return_index=True)
    starts = np.searchsorted(pairs, np.arange(count + 1) * count)
    return Graph(starts, pairs % max(count, 1), np.concatenate([apart.ravel(), apart.ravel()])[first])


def message_scores(graph: Graph, difficulty: Reals) -> Reals:
    """The forward messages of D2 pruning (Maharana et al. 2023): the difficulty of each of n points, with that of its
    neighbours, weighted exp(-distance). Cost: the edges."""
    one = np.repeat(np.arange(len(difficulty)), np.diff(graph.starts))
    weighted = np.exp(-graph.distances) * difficulty[graph.neighbours]
    return np.asarray(difficulty + np.bincount(one, weighted, len(difficulty)))


def d2(points: Points, difficulty: Reals, chosen: int, *, neighbours: int = 5, gamma: float = 1.0) -> Labels:
    """D2 pruning (Maharana et al. 2023): `chosen` of n points (n, d), hard ones from everywhere, in the order chosen.

    Reverse messages: the point with the highest score is taken, of equal ones the first, and each of its neighbours
    loses exp(-`gamma` distance) of that score, so that the next one is likely to be of another place. Difficulties are
    not negative, else neighbours gain. Cost and memory: those of `neighbour_graph`; n log n and the edges for choosing.
    """
    graph = neighbour_graph(points, neighbours)
    scores = message_scores(graph, difficulty).tolist()
    starts, others = graph.starts.tolist(), graph.neighbours.tolist()
    taken = np.exp(-gamma * graph.distances).tolist()
    queue = [(-score, place) for place, score in enumerate(scores)]
    heapify(queue)  # of each point a score at least as high as its own
    left, order = [True] * len(scores), np.empty(chosen, np.int64)
    for place in range(chosen):
        while not left[best := queue[0][1]] or scores[best] < -queue[0][0]:
            if left[best]:
                heapreplace(queue, (-scores[best], best))
            else:
                heappop(queue)
        order[place] = best
        left[best] = False
        for at in range(starts[best], starts[best + 1]):
            other = others[at]
            scores[other] -= taken[at] * scores[best]
            if scores[best] < 0:
                heappush(queue, (-scores[other], other))
    return order


def _nearest(points: Points, count: int) -> tuple[Labels, Reals]:
    """The nearest `count` others of each of n points, nearest first: numbers and distances (n, count)."""
    size, dimensions = points.shape
    near, apart = np.empty((size, count), np.int64), np.empty((size, count))
    if not count:
        return near, apart
    index = faiss.IndexFlatL2(dimensions)
    index.add(np.ascontiguousarray(points, np.float32))
    doubt = ROUNDING * float(np.einsum("ij,ij->i", points, points).max())
    left, width = np.arange(size), count + SPARE
    while len(left):
        width = min(width, size)
        step, unsettled = max(1, NUMBERS // (width * dimensions)), [left[:0]]
        for at in range(0, len(left), step):
            rows = left[at : at + step]
            found, places = index.search(points[rows].astype(np.float32), width)
            distances = np.sqrt(((points[places].astype(np.float64) - points[rows, None]) ** 2).sum(axis=2))
            distances[places == rows[:, None]] = np.inf
            order = np.lexsort((places, distances))[:, :count]
            near[rows] = np.take_along_axis(places, order, axis=1)
            apart[rows] = np.take_along_axis(distances, order, axis=1)
            if width < size:  # one that was not found could be as near
                unsettled.append(rows[found[:, -1] <= apart[rows, -1] ** 2 + doubt])
        left, width = np.concatenate(unsettled), 4 * width
    return near, apart


def _clustered(vectors: Vectors, clusters: int, seed: int) -> Labels:
    """k-means, of few vectors with fewer clusters."""
    count = min(clusters, len(vectors))
    return k_means(vectors, count, seed) if count > 1 else np.zeros(len(vectors), np.int64)


def _nearest_earlier(vectors: Vectors, clusters: Labels, *, keep_hard: bool) -> Reals:
    """For each document the largest cosine with an earlier member of its cluster, `EARLIER` for the first."""
    distances = _distances(vectors, clusters)
    found = np.full(len(vectors), EARLIER)
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        members = members[np.argsort(-distances[members] if keep_hard else distances[members], kind="stable")]
        ordered, places = vectors[members], np.arange(len(members))
        for start in range(0, len(members), BLOCK):
            part = slice(start, start + BLOCK)
            similarity = ordered[part] @ ordered[: start + BLOCK].T
            similarity[places[: start + BLOCK] >= places[part, None]] = EARLIER
            found[members[part]] = similarity.max(axis=1)
    return found


def _distances(vectors: Vectors, clusters: Labels) -> Reals:
    """1 - cosine of each vector with the mean of its cluster."""
    found = np.empty(len(vectors))
    for cluster in np.unique(clusters):
        members = clusters == cluster
        centroid = vectors[members].mean(axis=0)
        found[members] = 1 - vectors[members] @ (centroid / (np.linalg.norm(centroid) or 1.0))
    return found


def _lowest(values: Reals, share: float) -> Flags:
    """The share of lowest values, to the nearest number of them; of equal ones the later."""
    count = round(share * len(values))
    order = np.lexsort((-np.arange(len(values)), values))
    flags = np.zeros(len(values), np.bool_)
    flags[order[:count]] = True
    return flags
