"""How weights of domains follow from a proxy's losses or gradients: the updates of DoReMi and DoGE.

Belongs here: one update each, as arithmetic on arrays. Does not belong here: what gives losses and gradients (`train`).

Both keep weights of domains that sum to 1, are multiplicative, and take the mean of the weights over all steps as their
answer.
"""

import numpy as np
import numpy.typing as npt

from cosmo_resources.errors import CosmoError

Array = npt.NDArray[np.float64]

ETA, SMOOTHING = 1.0, 1e-3
"""Of DoReMi: the size of a step, and how much of the uniform weights is mixed in."""
MU = 0.01
"""Of DoGE: the strength of its regularization; the larger, the smaller the steps."""


def excess_losses(losses: Array, reference: Array, domains: npt.NDArray[np.int64], last: Array) -> Array:
    """By how much the proxy's loss is above the reference model's, by domain (DoReMi; Xie et al. 2023).

    `losses` and `reference` are nats, sequences x tokens; `domains` has the domain of each sequence; `last` is what was
    answered before: a domain without a sequence keeps it. The mean over a domain's tokens, each counted 0 at least.
    """
    found = last.copy()
    above = np.maximum(losses - reference, 0)
    for domain in np.unique(domains):
        found[domain] = above[domains == domain].mean()
    return found


def doremi_update(weights: Array, excess: Array, *, eta: float = ETA, smoothing: float = SMOOTHING) -> Array:
    """The weights after a step of DoReMi (Xie et al. 2023): w' ~ w exp(eta excess), mixed with the uniform
    weights. Domains below the reference count as equal to it. All arrays are by domain."""
    return (1 - smoothing) * _multiplied(weights, eta * np.maximum(excess, 0)) + smoothing / len(weights)


def doge_scores(gradients: Array, rate: float, target: Array | None = None) -> Array:
    """What a step on each domain is worth to the others, or to a target (DoGE; Fan et al. 2024): by first order, how
    much their loss falls.

    `gradients` are domains x parameters, `target` is by parameter, `rate` the learning rate of the step.
    """
    if target is not None:
        return np.asarray(rate * gradients @ target)
    products = gradients @ gradients.T
    return np.asarray(rate * (products.sum(axis=1) - np.diag(products)))


def doge_update(weights: Array, scores: Array, *, mu: float = MU) -> Array:
    """The weights after a step of DoGE (Fan et al. 2024): w' ~ w exp(scores / mu). All arrays are by domain."""
    return _multiplied(weights, scores / mu)


def _multiplied(weights: Array, exponents: Array) -> Array:
    """The weights times the exponentials, as shares; a constant added to all exponents changes nothing."""
    if not (np.isfinite(exponents).all() and (weights >= 0).all() and weights.sum() > 0):
        raise CosmoError(
            f"weights {weights.tolist()} cannot be updated by {exponents.tolist()}",
            remedy="weights are 0 or more and not all 0; losses and gradients are finite: lower the learning rate",
        )
    raised = weights * np.exp(exponents - exponents.max())
    return np.asarray(raised / raised.sum())
