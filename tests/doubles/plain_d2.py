"""D2 pruning as its paper has it, over all pairs: what the graph of neighbours is held to.

Belongs here: matrices of n x n numbers and loops over them. Does not belong here: anything fast.
"""

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


def plain_distances(points: Reals, neighbours: int) -> Reals:
    """The distances (n, n) of neighbours, infinite for all others: of equal ones the lower number is the nearer."""
    apart = np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    linked = np.zeros(apart.shape, np.bool_)
    for own, row in enumerate(apart):
        others = [other for other in np.argsort(row, kind="stable").tolist() if other != own]
        linked[own, others[:neighbours]] = True
    return np.where(linked | linked.T, apart, np.inf)


def plain_scores(distances: Reals, difficulty: Reals) -> Reals:
    """The forward messages, added one after the other."""
    weights = np.exp(-distances)
    scores = []
    for own, of_own in zip(weights, difficulty, strict=True):
        total = 0.0
        for weight, of_other in zip(own, difficulty, strict=True):
            total += weight * of_other
        scores.append(of_own + total)
    return np.array(scores, np.float64)


def plain_d2(points: Reals, difficulty: Reals, chosen: int, neighbours: int, gamma: float) -> list[int]:
    """The points in the order chosen; of equal scores the lower number."""
    distances = plain_distances(points, neighbours)
    scores, order = plain_scores(distances, difficulty), []
    for _ in range(chosen):
        best = int(np.argmax(scores))
        order.append(best)
        scores -= np.exp(-gamma * distances[best]) * scores[best]
        scores[best] = -np.inf
    return order
