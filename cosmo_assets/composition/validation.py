"""How well the methods predict runs that they were not fitted to, by repeated cross-validation.

Belongs here: the folds, the errors, and whether a difference of errors is a finding. Does not belong here: the best
weights (`optimum`), which method gives them (`advice`).

Trainings of the same mixture stay together, in folds and in resamples: one of them would give the other away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from cosmo_assets.composition.law import fit_law
from cosmo_assets.composition.runs import Array, Runs
from cosmo_assets.composition.trees import Trees

METHODS = ("law", "trees")
MEAN = "mean"
"""The reference: the mean loss of the runs, whatever the weights."""
FOLDS, REPEATS = 5, 5
RESAMPLES = 2000


class Predictor(Protocol):
    def loss(self, weights: Array) -> Array: ...


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float
    """95 % lie between the two."""


@dataclass(frozen=True)
class Score:
    errors: Array
    """Mean absolute error by target."""
    spearman: Array
    """Rank correlation with the losses by target, the mean over the repeats; NaN where all predictions are equal."""
    by_run: Array
    """The error of each run: over the repeats the mean, over the targets weighted."""

    @property
    def error(self) -> float:
        return float(self.by_run.mean())


class Mean:
    """What predicts the mean of the losses for all weights."""

    def __init__(self, losses: Array) -> None:
        self._mean = losses.mean()

    def loss(self, weights: Array) -> Array:
        """Of points x domains, the loss by point."""
        return np.full(len(weights), self._mean)


def fitted(method: str, weights: Array, losses: Array, seed: int) -> list[Predictor]:
    """A predictor for each target, of runs x domains and runs x targets."""
    once = np.ones(len(weights))
    if method == "law":
        return [fit_law(weights, column, once) for column in losses.T]
    if method == "trees":
        return [Trees(weights, column, once, seed) for column in losses.T]
    return [Mean(column) for column in losses.T]


def scores(runs: Runs, shares: Array, seed: int) -> dict[str, Score]:
    """The scores of the mean and of the methods; `shares` weigh the targets.

    Five folds, dealt five times; where they would leave fewer than domains + 2 mixtures to fit to, one mixture each.
    """
    mixtures, domains = runs.mixtures, len(runs.domains)
    count = int(mixtures.max()) + 1
    single = count - -(-count // FOLDS) < domains + 2
    random = np.random.default_rng([seed, 2])
    dealt = [np.arange(count)] if single else [random.permutation(count) % FOLDS for _ in range(REPEATS)]
    found = {}
    for method in (MEAN, *METHODS):
        repeats = [_left_out(runs, folds[mixtures], method, seed) for folds in dealt]
        off = np.mean([np.abs(predicted - runs.losses) for predicted in repeats], axis=0)
        ranks = [_ranks(predicted, runs.losses) for predicted in repeats]
        nothing = np.full(len(runs.targets), np.nan)
        spearman = nothing if method == MEAN else np.mean(ranks, axis=0)
        found[method] = Score(off.mean(axis=0), spearman, off @ shares)
    return found


def resamples(runs: Runs, seed: int, count: int) -> Array:
    """How often each run counts, in resamples x runs, on average once: the Bayesian bootstrap (Rubin 1981) over
    mixtures, which leaves none out, so that a law is determined in every resample."""
    mixtures = runs.mixtures
    drawn = np.random.default_rng([seed, 3]).standard_exponential((count, int(mixtures.max()) + 1))[:, mixtures]
    counts: Array = drawn / drawn.mean(axis=1, keepdims=True)
    return counts


def gap(worse: Score, better: Score, counts: Array) -> Interval:
    """By how much the error of the one is above that of the other, run by run."""
    differences = worse.by_run - better.by_run
    low, high = np.percentile(counts @ differences / len(differences), (2.5, 97.5))
    return Interval(float(differences.mean()), float(low), float(high))


def _left_out(runs: Runs, folds: npt.NDArray[np.intp], method: str, seed: int) -> Array:
    """Predictions of each run by what was fitted to the other folds: runs x targets."""
    predicted = np.empty_like(runs.losses)
    for fold in np.unique(folds):
        out = folds == fold
        models = fitted(method, runs.weights[~out], runs.losses[~out], seed)
        predicted[out] = _losses(models, runs.weights[out])
    return predicted


def _losses(models: Sequence[Predictor], weights: Array) -> Array:
    return np.stack([model.loss(weights) for model in models], axis=1)


def _ranks(predicted: Array, losses: Array) -> list[float]:
    return [
        float(spearmanr(ours, theirs).statistic) if np.ptp(ours) and np.ptp(theirs) else float("nan")
        for ours, theirs in zip(predicted.T, losses.T, strict=True)
    ]
