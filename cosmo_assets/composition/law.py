"""Data Mixing Law (Ye et al. 2024): the loss on a target as an exponential of the weights of the domains.

Belongs here: the law of one target, and its fit. Does not belong here: which weights are best (`optimum`).

The paper writes L(r) = c + k exp(sum_j t_j r_j). As the weights r sum to 1, a constant added to every t_j is the same
as a factor of k: only c, t_j - mean t and log k + mean t follow from losses. Here the exponents are b_j = log k + t_j.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from cosmo_assets.composition.runs import Array

STARTS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
"""How far below the least loss the fits begin with c, in ranges of the losses."""
_LARGEST = 60.0


@dataclass(frozen=True)
class MixingLaw:
    """L(r) = c + exp(sum_j b_j r_j)."""

    floor: float
    """c: what no mixture goes below."""
    exponents: Array
    """b_j, by domain."""

    @property
    def centred(self) -> Array:
        """t_j - mean t, by domain: the lower, the better is the domain for the target."""
        return np.asarray(self.exponents - self.exponents.mean())

    @property
    def scale(self) -> float:
        """Log k + mean t."""
        return float(self.exponents.mean())

    def loss(self, weights: Array) -> Array:
        """Of points x domains, the loss by point."""
        return np.asarray(self.floor + _exponential(weights @ self.exponents))


def fit_law(weights: Array, losses: Array, counts: Array, near: MixingLaw | None = None) -> MixingLaw:
    """The law of least squares: of runs x domains and the losses by run, each counted `counts` times.

    Levenberg-Marquardt with the analytic Jacobian, from several c, for each of which the exponents are those of the
    linear regression of log(L - c); or from a law that is near.
    """
    least, spread = float(losses.min()), float(np.ptp(losses)) or 1.0
    scaled, root = (losses - least) / spread, np.sqrt(counts)

    def residuals(parameters: Array) -> Array:
        return np.asarray(root * (parameters[0] + _exponential(weights @ parameters[1:]) - scaled))

    def jacobian(parameters: Array) -> Array:
        slope = _exponential(weights @ parameters[1:])[:, None] * weights
        return np.asarray(root[:, None] * np.hstack([np.ones((len(weights), 1)), slope]))

    if near is not None:
        starts = [np.append((near.floor - least) / spread, near.exponents - np.log(spread))]
    else:
        logs = [(-below, np.linalg.lstsq(weights, np.log(scaled + below), rcond=None)[0]) for below in STARTS]
        starts = [np.append(floor, exponents) for floor, exponents in logs]
    close = {"method": "lm", "xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 300}
    fits = [least_squares(residuals, start, jacobian, **close) for start in starts]
    best = min(fits, key=lambda found: found.cost).x
    return MixingLaw(least + spread * float(best[0]), best[1:] + np.log(spread))


def _exponential(exponents: Array) -> Array:
    return np.asarray(np.exp(np.clip(exponents, -_LARGEST, _LARGEST)))
