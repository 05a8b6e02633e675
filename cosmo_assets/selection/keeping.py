"""Rules that keep documents by a score: a threshold, a range of ranks, and two that draw.

Belongs here: which documents a rule keeps, as arrays. Does not belong here: scores (`cosmo_assets.signals`), or what
keeping fewer costs (`sweep`).

A draw is a hash of the document's id: it depends neither on other documents nor on their order. NaN is a document
without a score; no rule keeps it.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.ids import Numbers, gumbels, numbers_of, uniforms
from cosmo_resources.errors import CosmoError

Reals = npt.NDArray[np.float64]
Kept = npt.NDArray[np.bool_]
Ids: TypeAlias = pa.Array | pa.ChunkedArray
"""Ids of documents, 32 hexadecimal digits each."""

ALPHA = 9.0
"""GPT-3's (Brown et al. 2020)."""


def at_least(scores: Reals, threshold: float) -> Kept:
    """Those of this score or a higher one."""
    return np.asarray(scores >= threshold)


def within_ranks(scores: Reals, documents: Ids, low: float, high: float) -> Kept:
    """Those whose rank by score, ties by id, lies between two shares of the documents with a score: the best tenth from
    .9 to 1, the middle half from .25 to .75 (Marion et al. 2023 compare bottom, middle and top)."""
    return _ranked(scores, numbers_of(documents), low, high)


def pareto(scores: Reals, documents: Ids, *, alpha: float = ALPHA, seed: int = 0) -> Kept:
    """Those for which a draw from the Pareto distribution is above 1 - score, as GPT-3's data were filtered (Brown et
    al. 2020): P(keep) = (2 - score)^-alpha, so some of low scores are left.

    Raises:
        CosmoError: a score is not within 0 and 1.
    """
    if ((scores < 0) | (scores > 1)).any():
        raise CosmoError(
            f"scores: they go from {np.nanmin(scores):g} to {np.nanmax(scores):g}, the Pareto rule needs 0 to 1",
            remedy="give probabilities, or ranks as shares",
        )
    return np.asarray(uniforms(numbers_of(documents), "pareto", str(seed)) < (2 - scores) ** -alpha)


def gumbel(scores: Reals, documents: Ids, fraction: float, *, temperature: float, seed: int = 0) -> Kept:
    """The best by score / temperature + Gumbel noise: so many of those with a score, drawn without replacement with
    chances by exp(score / temperature). Near 0 these are the best, far above the range of scores a draw of all
    (QuRating, Wettig et al. 2024, with standardized scores and temperatures of 1 and 2)."""
    numbers = numbers_of(documents)
    return _ranked(scores / temperature + gumbels(numbers, "gumbel", str(seed)), numbers, 1 - fraction, 1)


def standardized(scores: Reals) -> Reals:
    """Scores with mean 0 and standard deviation 1, as `gumbel` takes them; equal ones are all 0."""
    return np.asarray((scores - np.nanmean(scores)) / (float(np.nanstd(scores)) or 1.0))


def ranks(scores: Reals, documents: Ids) -> Reals:
    """The rank of each document by score, ties by id, as a share of those with a score: (place + 1/2) / count."""
    found = np.full(len(scores), np.nan)
    count = int(np.count_nonzero(~np.isnan(scores)))
    found[np.lexsort((numbers_of(documents), scores))[:count]] = (np.arange(count) + 0.5) / max(count, 1)
    return found


def midranks(scores: Reals) -> Reals:
    """The rank of each score as a share of all, 0 to 1 exclusive, equal scores with the mean of theirs; none is NaN."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray(((np.cumsum(counts) - counts / 2) / max(len(scores), 1))[place])


def _ranked(scores: Reals, numbers: Numbers, low: float, high: float) -> Kept:
    order = np.lexsort((numbers, scores))  # NaN comes last
    count = int(np.count_nonzero(~np.isnan(scores)))
    kept = np.zeros(len(scores), np.bool_)
    kept[order[round(low * count) : round(high * count)]] = True
    return kept
