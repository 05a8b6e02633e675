"""The diversity coefficient: how far batches of documents are from one another, as tasks for a language model.

Belongs here: the distance of two embeddings, the mean over pairs and its error. Does not belong here: what embeds
batches (`fisher`), starting it (`probing`). It is imported where there is neither pyarrow nor Dagster.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

EPSILON = 1e-8


def task2vec_distance(one: Array, other: Array) -> float:
    """The distance of two batches by the diagonals of their Fisher information, 0 or more (Task2Vec; Achille et al.
    2019): 1 - the cosine of both, each parameter divided by the sum of both, so that all parameters count alike."""
    total = one + other + EPSILON
    left, right = one / total, other / total
    return max(0.0, 1 - float(left @ right / np.sqrt((left @ left) * (right @ right))))


def expected_distance(distances: Array) -> tuple[float, float]:
    """The diversity coefficient (Lee et al. 2023), the mean over all pairs of batches of their symmetric table of
    distances, and its standard error. Pairs that share a batch are not independent, so the error is that of the
    jackknife over batches (Arvesen 1969): there must be three or more."""
    batches = len(distances)
    total, of_each = distances.sum() / 2, distances.sum(axis=1)
    value = total / (batches * (batches - 1) / 2)
    without = (total - of_each) / ((batches - 1) * (batches - 2) / 2)
    return float(value), float(np.sqrt((batches - 1) / batches * ((without - without.mean()) ** 2).sum()))
