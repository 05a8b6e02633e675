"""Documents that a training sees too often: averages hide them.

Belongs here: how often documents are seen, from their copies. Does not belong here: what repetition of the whole costs
(`repetition`), choosing copies (`cosmo_assets.mixture`).

Hernandez et al. 2022 trained a model of 800M parameters with 0.1 % of the data repeated 100 times: it was as bad as one
of 400M, though the mean was far below two epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TIMES = (4, 16, 64)
MOST_SHARE = 0.01
"""Of the tokens that are trained on may come from documents seen more than 64 times: a bound of this project's own, a
tenth of what Hernandez et al. found harmful."""


@dataclass(frozen=True)
class Multiplicity:
    """How often a training sees its documents."""

    mean: float
    """Tokens that are trained on by tokens of the documents."""
    most: float
    above: dict[int, float]
    """The share of the tokens trained on that comes from documents seen more than so many times."""

    @property
    def harmful(self) -> bool:
        return self.above[TIMES[-1]] > MOST_SHARE


def multiplicity(tokens: Sequence[int], copies: Sequence[int], epochs: float) -> Multiplicity:
    """How often documents are seen.

    Args:
        tokens: of one copy of each document; or of documents with the same copies, together.
        copies: of each in the corpus, of the same length.
        epochs: how often the whole corpus, copies and all, is passed; may be below 1.
    """
    sizes, seen = np.asarray(tokens, np.float64), np.asarray(copies, np.float64) * epochs
    trained = sizes * seen
    above = {times: float(trained[seen > times].sum() / trained.sum()) for times in TIMES}
    return Multiplicity(float(trained.sum() / sizes.sum()), float(seen.max()), above)
