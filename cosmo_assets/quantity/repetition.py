"""Training on fewer unique tokens than are trained on: the data-constrained law of Muennighoff et al. (2023).

Belongs here: what repeated tokens are worth, the best model for a compute where tokens are short, how many of them
would be enough. Does not belong here: laws without repetition (`laws`), single documents that are repeated more than
others (`multiplicity`).

Throughout: U unique tokens; the other letters are those of `laws`. The constants R* were fitted together with the
preset `muennighoff2023`; with another preset they are taken over, which nobody has verified.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf, log

from scipy.optimize import brentq

from cosmo_assets.quantity.laws import OPERATIONS, ScalingLaw

REPEATED, EXCESS = 15.387756, 5.309743
"""R*_D and R*_N of Muennighoff et al. 2023: how soon repeated tokens and excess parameters lose their worth."""

FITTED_PARAMETERS, FITTED_EPOCHS = (7e6, 16e9), 500
"""About where the points lie that the laws were fitted to (Muennighoff et al. 2023; Hoffmann et al. 2022)."""


@dataclass(frozen=True)
class Training:
    """A model and what it is trained on."""

    parameters: float
    tokens: float
    unique: float
    """The unique tokens there are; a training that is shorter does not see all of them."""
    loss: float

    @property
    def flops(self) -> float:
        return OPERATIONS * self.parameters * self.tokens

    @property
    def epochs(self) -> float:
        """How often each unique token is seen; below 1, the part of them that is."""
        return self.tokens / self.unique

    @property
    def fitted(self) -> bool:
        """Whether the laws were fitted to anything like it."""
        low, high = FITTED_PARAMETERS
        return low <= self.parameters <= high and self.epochs <= FITTED_EPOCHS

    @property
    def effective(self) -> float:
        """The new tokens that are worth as much as these."""
        return effective_tokens(self.tokens, self.unique)


def effective_tokens(tokens: float, unique: float) -> float:
    """D' = U + U R*_D (1 - exp(-R_D / R*_D)) with R_D = D / U - 1; D itself where there are D unique tokens."""
    used = min(tokens, unique)
    return _effective(used, tokens / used - 1, REPEATED)


def worth(epochs: float) -> float:
    """What a token is worth on average where each is seen `epochs` >= 1 times; a new one is worth 1."""
    return effective_tokens(epochs, 1.0) / epochs


def next_worth(epochs: float) -> float:
    """What the next token is worth after `epochs` >= 1."""
    return exp(-(epochs - 1) / REPEATED)


def loss(law: ScalingLaw, parameters: float, tokens: float, unique: float) -> float:
    """L(N, D, U): the law with D' for D, and N' for N, where parameters beyond the best number for U are excess."""
    used = min(tokens, unique)
    needed = min(parameters, law.parameters_for(used))
    fewer = _effective(needed, parameters / needed - 1, EXCESS)
    return law.loss(fewer, _effective(used, tokens / used - 1, REPEATED))


def held(law: ScalingLaw, parameters: float, tokens: float, unique: float) -> Training:
    """A training whose model and length are given."""
    return Training(parameters, tokens, unique, loss(law, parameters, tokens, unique))


def best(law: ScalingLaw, flops: float, unique: float) -> Training:
    """The training of least loss with 6 N D = `flops`; of as many unique tokens as it needs, the law's own optimum.

    With fewer it sees all of them. From there on the derivative of the loss by log D grows strictly along 6 N D = C:
    its two terms have logarithmic derivatives of one sign each, for f(R) + (1 + R) / R* >= 1 at all R >= 0, where f(R)
    = (1 + R) exp(-R / R*) / (1 + R* (1 - exp(-R / R*))). So it has one root, which is the only minimum.
    """
    parameters, tokens = law.optimum(flops)
    if tokens <= unique:
        return held(law, parameters, tokens, unique)
    budget, needed = flops / OPERATIONS, law.parameters_for(unique)

    def slope(log_tokens: float) -> float:
        tokens = exp(log_tokens)
        of_parameters = _slope(law.a, law.alpha, min(budget / tokens, needed), budget / tokens, EXCESS)
        return of_parameters - _slope(law.b, law.beta, unique, tokens, REPEATED)

    tokens = exp(_root(slope, log(unique)))
    return held(law, budget / tokens, tokens, unique)


def enough_unique(trained: Callable[[float], Training], share: float) -> float:
    """The fewest unique tokens with which a training is at most `share` > 0 of the loss worse than with as many as it
    needs.

    Args:
        trained: the training with so many unique tokens; its loss falls with them.
        share: of the loss without repetition.
    """
    new = trained(inf)
    return exp(_root(lambda unique: new.loss * (1 + share) - trained(exp(unique)).loss, log(new.tokens)))


def _effective(unique: float, repeats: float, decay: float) -> float:
    return unique + unique * decay * (1 - exp(-1 * repeats / decay))


def _slope(factor: float, exponent: float, unique: float, used: float, decay: float) -> float:
    """How fast factor / x^exponent falls with log `used`, where x is the effective number."""
    repeats = used / unique - 1
    effective = _effective(unique, repeats, decay)
    return float(factor * exponent * used * exp(-repeats / decay) / effective ** (exponent + 1))


def _root(rising: Callable[[float], float], start: float) -> float:
    """Where a rising function is zero; looked for in steps from `start`."""
    low = high = start
    while rising(low) > 0:
        low -= 1
    while rising(high) < 0:
        high += 1
    return start if low == high else float(brentq(rising, low, high, xtol=1e-14, rtol=1e-14))
