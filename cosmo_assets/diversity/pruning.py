"""Pruning: which documents of a set are kept, from their embeddings alone or with a difficulty.

Belongs here: the published policies as functions of arrays. Does not belong here: embedding, or what becomes of the
documents that are left out (`cosmo_assets.mixture`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cosmo_assets.topics.grouping import k_means

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

EARLIER = -2.0
"""The similarity to an earlier member of a document that has none: below any cosine."""


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
    sum of d times the square of the clusters' sizes; memory for the largest cluster's similarities.
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
    cluster = k_means(vectors, clusters, seed)
    duplicate = _lowest(-_nearest_earlier(vectors, cluster, keep_hard=True), 1 - keep_different)
    left = np.flatnonzero(~duplicate)
    distance = _distances(vectors, cluster)
    cluster[left] = k_means(vectors[left], min(clusters, len(left)), seed)
    distance[left] = _distances(vectors[left], cluster[left])
    prototype = np.zeros(len(vectors), np.bool_)
    prototype[left] = _lowest(distance[left], 1 - keep_atypical)
    return Diversified(duplicate, prototype, cluster, distance)


def message_scores(vectors: Reals, difficulty: Reals, neighbours: int = 5) -> tuple[Reals, Reals]:
    """The forward messages of D2 pruning (Maharana et al. 2023): the difficulty of each of n points, with that of its
    neighbours, weighted exp(-distance); and the Euclidean distances (n, n) of neighbours, infinite for all others.

    Neighbours are symmetric: i is one of j where either is among the nearest `neighbours` of the other. Cost: n squared
    times d; memory for n squared numbers.
    """
    squares = (vectors**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0.0))
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :neighbours]
    linked = np.zeros(apart.shape, np.bool_)
    np.put_along_axis(linked, nearest, True, axis=1)
    distances = np.where(linked | linked.T, apart, np.inf)
    return difficulty + np.exp(-distances) @ difficulty, distances


def d2(vectors: Reals, difficulty: Reals, chosen: int, *, neighbours: int = 5, gamma: float = 1.0) -> Labels:
    """D2 pruning (Maharana et al. 2023): `chosen` of n points (n, d), hard ones from everywhere, in the order chosen.

    Reverse messages: the point with the highest score is taken, and each of its neighbours loses exp(-`gamma` distance)
    of that score, so that the next one is likely to be of another place. Cost: that of `message_scores`, and n for each
    choice.
    """
    scores, distances = message_scores(vectors, difficulty, neighbours)
    order = np.empty(chosen, np.int64)
    for place in range(chosen):
        order[place] = best = int(np.argmax(scores))
        scores -= np.exp(-gamma * distances[best]) * scores[best]
        scores[best] = -np.inf
    return order


def _nearest_earlier(vectors: Vectors, clusters: Labels, *, keep_hard: bool) -> Reals:
    """For each document the largest cosine with an earlier member of its cluster, `EARLIER` for the first."""
    distances = _distances(vectors, clusters)
    found = np.full(len(vectors), EARLIER)
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        members = members[np.argsort(-distances[members] if keep_hard else distances[members], kind="stable")]
        similarity = np.tril(vectors[members] @ vectors[members].T, -1)
        similarity[np.triu_indices(len(members))] = EARLIER
        found[members] = similarity.max(axis=1)
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
