"""Trainings with known losses.

Belongs here: tables of runs whose truth is known. Does not belong here: tests.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cosmo_assets.composition.runs import Array, Runs

TRUE = (1.7, 1.2, np.array([-2.0, -0.5, 0.3]))
"""c, k and t of a law."""


def law(weights: Array) -> Array:
    floor, factor, exponents = TRUE
    return np.asarray(floor + factor * np.exp(weights @ exponents))


def simplex(count: int, domains: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).dirichlet(np.ones(domains), count)


def runs_of(weights: Array, *losses: Array) -> Runs:
    domains = tuple(f"d{number}" for number in range(weights.shape[1]))
    targets = tuple(f"t{number}" for number in range(len(losses)))
    return Runs(domains, targets, weights, np.stack(losses, axis=1), ())


def noisy(true: Callable[[Array], Array], weights: Array, deviation: float, seed: int = 0) -> Array:
    return np.asarray(true(weights) + np.random.default_rng(seed).normal(scale=deviation, size=len(weights)))


def write_csv(path: Path, runs: Runs, *, rows: list[int] | None = None, backwards: bool = False) -> Path:
    """As a file, in another order of rows or with the columns backwards."""
    header = [*(f"weight.{name}" for name in runs.domains), *(f"loss.{name}" for name in runs.targets)]
    table = np.hstack([runs.weights, runs.losses]).tolist()
    lines = [header, *(table[row] for row in rows or range(len(table)))]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(line[::-1] if backwards else line for line in lines)
    return path
