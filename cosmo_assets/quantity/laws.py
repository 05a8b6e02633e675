"""Scaling laws of models whose tokens are all new: Kaplan et al. (2020) and Hoffmann et al. (2022, "Chinchilla").

Belongs here: loss as a function of parameters and tokens, and the best of both for a compute. Does not belong here:
tokens that are repeated (`repetition`), what a corpus has (`stock`).

Throughout: N parameters, D tokens trained on, C floating-point operations with C = 6 N D, loss in nats per token.
"""

from dataclasses import dataclass
from math import exp

OPERATIONS = 6.0
"""Floating-point operations of training per parameter and token (Kaplan et al. 2020)."""


@dataclass(frozen=True)
class ScalingLaw:
    """L(N, D) = e + a / N^alpha + b / D^beta (Hoffmann et al. 2022)."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float
    origin: str
    """Who fitted the constants, and to what."""

    def loss(self, parameters: float, tokens: float) -> float:
        return float(self.e + self.a / parameters**self.alpha + self.b / tokens**self.beta)

    @property
    def growth(self) -> tuple[float, float]:
        """The exponents with which N and D grow with C at the optimum; they sum to 1."""
        total = self.alpha + self.beta
        return self.beta / total, self.alpha / total

    @property
    def _scale(self) -> float:
        return float((self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta)))

    def optimum(self, flops: float) -> tuple[float, float]:
        """N and D of least loss with 6 N D = `flops`, in closed form."""
        of_parameters, of_tokens = self.growth
        return self._scale * (flops / OPERATIONS) ** of_parameters, (flops / OPERATIONS) ** of_tokens / self._scale

    def parameters_for(self, tokens: float) -> float:
        """The N whose best D is `tokens`."""
        return float((tokens * self._scale) ** (self.beta / self.alpha) * self._scale)

    def tokens_for(self, parameters: float) -> float:
        """The D that is best for N `parameters`."""
        return float((parameters / self._scale) ** (self.alpha / self.beta) / self._scale)


PRESETS = {
    "hoffmann2022": ScalingLaw(
        1.69, 406.4, 410.7, 0.34, 0.28, "Hoffmann et al. 2022, rounded as their paper prints them"
    ),
    "hoffmann2022-exact": ScalingLaw(
        exp(0.5267228),
        exp(6.0073404),
        exp(6.0179186),
        0.33917084,
        0.2849083,
        "Hoffmann et al. 2022, unrounded as in the TeX source of their paper",
    ),
    "epoch2024": ScalingLaw(
        1.8172, 482.01, 2085.43, 0.3478, 0.3658, "Besiroglu et al. 2024, fitted anew to points of Hoffmann et al. 2022"
    ),
    "muennighoff2023": ScalingLaw(
        exp(0.6254804),
        exp(6.255414),
        exp(7.3049974),
        0.3526596,
        0.3526596,
        "Muennighoff et al. 2023, fitted to models trained on C4",
    ),
}
DEFAULT = "epoch2024"

KAPLAN_GROWTH = (0.73, 0.27)
"""The exponents with which N and D grow with C at the optimum, by Kaplan et al. 2020."""


def kaplan_loss(parameters: float, tokens: float) -> float:
    """L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D (Kaplan et al. 2020); N without embeddings."""
    of_parameters, of_tokens = 0.076, 0.103
    return float(((6.4e13 / parameters) ** (of_parameters / of_tokens) + 1.8e13 / tokens) ** of_tokens)


def kaplan_least_tokens(parameters: float) -> float:
    """The D from which on a model of N parameters hardly overfits: 5000 N^0.74 (Kaplan et al. 2020)."""
    return float(5e3 * parameters**0.74)
