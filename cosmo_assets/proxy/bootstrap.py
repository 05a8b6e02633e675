"""Whether one arm is better than another: the paired bootstrap of their difference over items and seeds.

Belongs here: the interval of a difference, and the decision. Does not belong here: what is compared (`scoring`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cosmo_resources.errors import CosmoError

Array = npt.NDArray[np.float64]
Decision = Literal["better", "worse", "undecided"]

RESAMPLES = 4000
LEAST_SEEDS = 3
"""With two there is hardly an estimate of how far trainings differ by chance."""
_CHUNK = 250


@dataclass(frozen=True)
class Difference:
    """Of the first arm from the second; 95 % lie between `low` and `high`."""

    value: float
    low: float
    high: float

    def decision(self, *, lower_is_better: bool = False) -> Decision:
        """Whether the first arm is better: `undecided` where the interval holds 0."""
        if self.low <= 0 <= self.high:
            return "undecided"
        return "better" if (self.value > 0) != lower_is_better else "worse"


def paired_difference(ours: Array, theirs: Array, *, sizes: Array | None = None, seed: int = 0) -> Difference:
    """The mean of ours minus theirs (both items x seeds, of the same items and seeds), and its 95 % interval.

    Items are resampled with replacement (paired percentile bootstrap; Efron 1979), each with its `sizes`, by which it
    counts. Seeds are too few for that: the best of three resampled stays within the three, and where only seeds differ,
    one comparison in four would be called decided. So each resample is moved by what the mean over n seeds misses by
    chance: a draw of Student's t with n - 1 degrees of freedom times its standard error.

    Raises:
        CosmoError: fewer than three seeds, no items, or arrays of different shapes.
    """
    if ours.shape != theirs.shape or ours.ndim != 2 or not len(ours) or ours.shape[1] < LEAST_SEEDS:
        raise CosmoError(
            f"scores of {ours.shape} and {theirs.shape} items and seeds cannot be compared",
            remedy=f"score both arms on the same items, with the same seeds, {LEAST_SEEDS} or more",
        )
    items, seeds = ours.shape
    weights = np.ones(items) if sizes is None else sizes
    differences = ours - theirs
    random = np.random.default_rng([seed, 5])
    by_item, by_seed = differences.mean(axis=1), weights @ differences / weights.sum()
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, _CHUNK):
        drawn = random.integers(items, size=(min(_CHUNK, RESAMPLES - start), items))
        means[start : start + len(drawn)] = (by_item * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    means += random.standard_t(seeds - 1, RESAMPLES) * by_seed.std(ddof=1) / np.sqrt(seeds)
    low, high = np.percentile(means, (2.5, 97.5))
    return Difference(float(by_seed.mean()), float(low), float(high))
