"""Gradient-boosted trees that predict losses from weights, as RegMix does (Liu et al. 2024).

Belongs here: their settings and their fit. Does not belong here: which weights are best (`optimum`).

RegMix fits LightGBM; scikit-learn's histogram trees are the same method.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from cosmo_assets.composition.runs import Array

ROUNDS, RATE, LEAVES, LEAST_RUNS = 100, 0.08, 6, 3
"""Trees, what each corrects, its leaves and the runs in a leaf: small, as runs are few."""


class Trees:
    """The trees of one target."""

    def __init__(self, weights: Array, losses: Array, counts: Array, seed: int) -> None:
        """Fit to runs x domains and the losses by run, each counted `counts` times."""
        self._model = HistGradientBoostingRegressor(
            max_iter=ROUNDS,
            learning_rate=RATE,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=LEAST_RUNS,
            early_stopping=False,
            random_state=seed,
        ).fit(weights, losses, sample_weight=counts)

    def loss(self, weights: Array) -> Array:
        """Of points x domains, the loss by point."""
        return np.asarray(self._model.predict(weights), dtype=np.float64)
