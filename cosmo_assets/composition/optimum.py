"""The weights of least predicted loss, where no domain gets more than its bound.

Belongs here: points of the bounded simplex, and the search among them. Does not belong here: what predicts (`law`,
`trees`), how certain the answer is (`advice`).

Throughout: a point is a weight for each domain, none below 0 or above its bound, which sum to 1.
"""

from collections.abc import Sequence
from math import log

import numpy as np
from scipy.optimize import minimize, nnls

from cosmo_assets.composition.law import MixingLaw
from cosmo_assets.composition.runs import Array, Runs
from cosmo_assets.composition.trees import Trees

DRAWS, BEST = 10_000, 64
"""Points that are tried with trees, and how many of the best are averaged (RegMix: 100,000 and 128)."""
CLOSENESS = (4.0, 400.0)
"""Sum of the Dirichlet parameters of a draw around a run; the larger, the nearer."""
EVEN = 0.02
"""What part of those parameters is the same for all domains, so that one that a run lacks is tried as well."""


def inside(points: Array, bounds: Array) -> Array:
    """The nearest points within the bounds, of points x domains: max(0, min(bound, x - tau)), with the tau of sum 1."""
    low, high = (points - bounds).min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2
        enough = np.clip(points - middle, 0, bounds).sum(axis=1, keepdims=True) >= 1
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    nearest: Array = np.clip(points - low, 0, bounds)
    return nearest


def draws(runs: Runs, bounds: Array, seed: int) -> Array:
    """Points around the runs, from Dirichlet distributions of different closeness, brought within the bounds."""
    random = np.random.default_rng([seed, 1])
    centres = runs.weights[random.integers(len(runs.weights), size=DRAWS)]
    closeness = np.exp(random.uniform(log(CLOSENESS[0]), log(CLOSENESS[1]), (DRAWS, 1)))
    points: Array = random.standard_gamma(closeness * ((1 - EVEN) * centres + EVEN / centres.shape[1]))
    points /= points.sum(axis=1, keepdims=True)
    beyond = (points > bounds).any(axis=1)
    points[beyond] = inside(points[beyond], bounds)
    return points


def least_by_trees(trees: Sequence[Trees], shares: Array, points: Array, bounds: Array) -> Array:
    """The mean of the points of least loss; `shares` weigh the targets."""
    losses = sum(share * tree.loss(points) for share, tree in zip(shares, trees, strict=True))
    best = points[np.argsort(losses, kind="stable")[:BEST]].mean(axis=0)
    nearest: Array = inside(best[None], bounds)[0]
    return nearest


def corner(slope: Array, bounds: Array) -> Array:
    """The point of least sum(slope * point): the domains of least slope, each up to its bound."""
    order = np.argsort(slope, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(bounds[order])[:-1]])
    point = np.zeros_like(slope)
    point[order] = np.clip(1 - before, 0, bounds[order])
    return point


def least_by_law(laws: Sequence[MixingLaw], shares: Array, start: Array, bounds: Array) -> Array:
    """The point of least loss; `shares` weigh the targets.

    A sum of exponentials of linear functions is convex, so a local minimum is the minimum; with one target it is a
    corner of the bounded simplex.
    """
    exponents = np.array([law.exponents for law in laws])
    if len(laws) == 1:
        return corner(exponents[0], bounds)
    logs = np.log(shares)
    top = float((exponents @ start + logs).max())

    def loss(point: Array) -> tuple[float, Array]:
        parts = np.exp(np.clip(exponents @ point + logs - top, None, 60.0))
        return float(parts.sum()), parts @ exponents

    whole = {"type": "eq", "fun": lambda point: point.sum() - 1, "jac": np.ones_like}
    limits, close = list(zip(np.zeros_like(bounds), bounds, strict=True)), {"ftol": 1e-15, "maxiter": 500}
    ends = [start, corner(loss(start)[1], bounds)]
    found = [
        minimize(loss, end, jac=True, method="SLSQP", bounds=limits, constraints=whole, options=close).x for end in ends
    ]
    points = inside(np.array([*found, *ends]), bounds)
    return min(points, key=lambda point: loss(point)[0])


def beyond_runs(point: Array, runs: Runs) -> float:
    """The share of the tokens that would have to move until the point is a mixture of the runs' mixtures."""
    heavy = np.full(len(runs.weights), 1e3)  # the parts sum to 1
    parts, _ = nnls(np.vstack([runs.weights.T, heavy]), np.append(point, heavy[0]))
    return float(np.abs(runs.weights.T @ parts - point).sum() / 2)
