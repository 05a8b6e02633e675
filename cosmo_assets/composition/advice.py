"""From runs to the weights of least loss, or to the answer that the runs say nothing about weights.

Belongs here: what is asked, which method answers, and how certain the answer is. Does not belong here: the methods
(`law`, `trees`), their comparison (`validation`), the search (`optimum`), what is shown (`show`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from threadpoolctl import threadpool_limits

from cosmo_assets.composition.law import MixingLaw, fit_law
from cosmo_assets.composition.optimum import beyond_runs, draws, least_by_law, least_by_trees
from cosmo_assets.composition.runs import WEIGHT, Array, Runs
from cosmo_assets.composition.trees import Trees
from cosmo_assets.composition.validation import (
    MEAN,
    METHODS,
    RESAMPLES,
    Interval,
    Predictor,
    Score,
    gap,
    resamples,
    scores,
)
from cosmo_resources.errors import CosmoError

REFITS = {"law": 400, "trees": 100}
"""Resamples that a method is fitted to for the intervals."""
ENOUGH_RUNS = 4
"""For each domain: below it, predictions of the published runs were clearly worse."""
COVERED = 0.01
"""What share of the tokens of the optimum may lie beyond the mixtures of the runs without a warning."""


@dataclass(frozen=True)
class Best:
    weights: tuple[Interval, ...]
    """By domain."""
    loss: Interval
    """Predicted at the weights, over the targets weighted."""
    gain: Interval
    """By how much that is below what is predicted at the mean weights of the runs."""
    beyond: float
    """The share of the tokens that would have to move until the weights are a mixture of the runs' mixtures."""
    laws: tuple[MixingLaw, ...]
    """By target; none with trees."""


@dataclass(frozen=True)
class Advice:
    runs: Runs
    shares: Array
    """What each target counts; they sum to 1."""
    bounds: Array
    """The largest weight of each domain."""
    scores: dict[str, Score]
    gaps: dict[tuple[str, str], Interval]
    """By how much the error of the first is above that of the second."""
    method: str | None
    """None: nothing predicts better than the mean, beyond chance."""
    best: Best | None

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before the weights are used."""
        runs, said = self.runs, []
        if runs.bad:
            listed = "; ".join(runs.bad[:10]) + ("; ..." if len(runs.bad) > 10 else "")
            said.append(f"{len(runs.bad)} rows were left out: {listed}")
        if len(runs.weights) < ENOUGH_RUNS * len(runs.domains):
            said.append(
                f"{len(runs.weights)} runs for {len(runs.domains)} domains: below {ENOUGH_RUNS} for each, expect little"
            )
        if self.best and self.best.beyond > COVERED:
            said.append(
                f"the optimum lies outside of what the runs covered, with {self.best.beyond:.1%} of its tokens: "
                "it is an extrapolation; train a run there before it is used"
            )
        if self.best and self.best.gain.low <= 0:
            said.append("the gain over the mean weights of the runs may be chance: its interval holds 0")
        return said


def numbers_said(option: str, texts: Iterable[str]) -> dict[str, float]:
    """What `NAME=NUMBER` says, of every use of an option.

    Raises:
        CosmoError: not of that form, a name twice, or no number from 0 on.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not name or not isfinite(value) or value < 0:
            raise CosmoError(
                f"{option}: {text!r} is no name and number from 0 on", remedy=f"write it as {option} NAME=0.3"
            )
        if name in found:
            raise CosmoError(f"{option}: {name} stands there twice", remedy="say it once")
        found[name] = value
    return found


def shares_of(runs: Runs, asked: dict[str, float]) -> Array:
    """What each target counts: as asked, else all the same."""
    shares = np.array([asked[target] if asked else 1.0 for target in runs.targets])
    if (shares == 0).any():
        raise CosmoError(
            f"--target: {runs.targets[int(shares.argmin())]} has the weight 0", remedy="leave it out, or give it more"
        )
    of_all: Array = shares / shares.sum()
    return of_all


def bounds_of(runs: Runs, asked: dict[str, float]) -> Array:
    """The largest weight of each domain: as asked, else 1.

    Raises:
        CosmoError: no such domain, a share above 1, or bounds that no mixture meets.
    """
    if unknown := sorted(set(asked) - set(runs.domains)):
        raise CosmoError(
            f"--at-most: the runs have no {WEIGHT}{unknown[0]}", remedy=f"it is one of {', '.join(runs.domains)}"
        )
    for domain, share in asked.items():
        if share > 1:
            raise CosmoError(f"--at-most: {domain}={share:g} is above 1", remedy="give a share of the tokens: 0.3")
    bounds = np.array([asked.get(domain, 1.0) for domain in runs.domains])
    if bounds.sum() < 1:
        raise CosmoError(
            f"--at-most: the domains have at most {bounds.sum():g} together, and weights sum to 1",
            remedy="raise a share or leave one out",
        )
    return bounds


def advise(runs: Runs, shares: Array, bounds: Array, *, method: str = "auto", seed: int = 0) -> Advice:
    """The weights of least loss within the bounds, by the method that predicts best, or by the one that is named.

    `shares` weigh the targets. A method that does not predict better than the mean of the losses, beyond chance,
    gives no weights. One thread: for so few runs, more are slower.
    """
    with threadpool_limits(1):
        found = scores(runs, shares, seed)
        counts = resamples(runs, seed, RESAMPLES)
        pairs = [*((MEAN, name) for name in METHODS), ("trees", "law")]
        gaps = {pair: gap(found[pair[0]], found[pair[1]], counts) for pair in pairs}
        asked = METHODS if method == "auto" else (method,)
        able = [name for name in asked if gaps[MEAN, name].low > 0]
        chosen = min(able, key=lambda name: found[name].error, default=None)
        best = _best(chosen, runs, shares, bounds, seed) if chosen else None
    return Advice(runs, shares, bounds, found, gaps, chosen, best)


def _best(method: str, runs: Runs, shares: Array, bounds: Array, seed: int) -> Best:
    weights, points = runs.weights, draws(runs, bounds, seed)
    once = np.ones(len(weights))
    laws: list[MixingLaw] = []
    models: Sequence[Predictor]
    if method == "law":
        models = laws = [fit_law(weights, column, once) for column in runs.losses.T]
        first = points[int(np.argmin(_weighted(laws, shares, points)))]
        point = least_by_law(laws, shares, first, bounds)
    else:
        models = trees = [Trees(weights, column, once, seed) for column in runs.losses.T]
        point = least_by_trees(trees, shares, points, bounds)
    places = np.array([point, runs.mean])
    loss, usual = _weighted(models, shares, places)
    ends, losses = [], []
    for counts in resamples(runs, seed, REFITS[method]):
        if method == "law":
            pairs = zip(laws, runs.losses.T, strict=True)
            models = again = [fit_law(weights, column, counts, near=law) for law, column in pairs]
            ends.append(least_by_law(again, shares, point, bounds))
        else:
            models = trees = [Trees(weights, column, counts, seed) for column in runs.losses.T]
            ends.append(least_by_trees(trees, shares, points, bounds))
        losses.append(_weighted(models, shares, places))
    low, high = np.percentile(ends, (2.5, 97.5), axis=0)
    there = np.array(losses)
    return Best(
        tuple(Interval(*map(float, of_domain)) for of_domain in zip(point, low, high, strict=True)),
        _interval(float(loss), there[:, 0]),
        _interval(float(usual - loss), there[:, 1] - there[:, 0]),
        beyond_runs(point, runs),
        tuple(laws),
    )


def _weighted(models: Sequence[Predictor], shares: Array, points: Array) -> Array:
    """The predicted loss by point, over the targets weighted."""
    losses: Array = np.stack([model.loss(points) for model in models], axis=1) @ shares
    return losses


def _interval(value: float, resampled: Array) -> Interval:
    low, high = np.percentile(resampled, (2.5, 97.5))
    return Interval(value, float(low), float(high))
