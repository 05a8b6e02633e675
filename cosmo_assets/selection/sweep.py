"""What filtering by a score costs: the corpus that would be left, for several fractions that are kept.

Belongs here: tokens, domains, repetition and mentions of identities by rule and fraction. Does not belong here: keeping
(`keeping`), reading and writing (`costs`), or whether a filter treats identities alike (`disparity`).

Gao 2021 filtered harder and harder by a shallow score and got worse models: a filter is judged by what it leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import expm1, log
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.optimize import brentq

from cosmo_assets.quantity.repetition import effective_tokens
from cosmo_assets.selection.keeping import Ids, Kept, Reals, gumbel, pareto, ranks, standardized, within_ranks
from cosmo_assets.words.alphabet import words_of

FRACTIONS = (1.0, 0.75, 0.5, 0.25, 0.1)
Rule = Literal["ranks", "pareto", "gumbel"]
RULES: tuple[Rule, ...] = get_args(Rule)
"""The best by score; or drawn, the better the likelier."""


@dataclass(frozen=True)
class Left:
    """What is left where a rule keeps this fraction of the documents, rather those of high scores."""

    fraction: float
    documents: int
    tokens: int
    effective: float
    """New tokens that a training on what is left is worth, by the tokens it is long (Muennighoff et al. 2023)."""
    shares: dict[str, float]
    """Of the tokens, by domain; those of all documents sum to 1."""
    divergence: float
    """KL(shares || shares without filter), in nats."""
    mentions: dict[str, float]
    """By group of terms, the share of the documents that mention one of them and are left."""
    kept: Kept = field(repr=False, compare=False)
    """Which documents these are."""


def sweep(
    scores: Reals,
    documents: Ids,
    tokens: npt.NDArray[np.int64],
    domains: Sequence[str],
    mentions: Mapping[str, Kept],
    *,
    rule: Rule = "ranks",
    budget: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> list[Left]:
    """A row for each fraction.

    Args:
        scores: by document; one without a score, NaN, is not kept.
        documents: their ids.
        tokens: by document.
        domains: by document.
        mentions: by group of terms, which documents mention one (`mentions_of`).
        rule: by which they are kept (`keeping`).
        budget: the tokens that are trained on, whatever is left; where it is not given, those of all documents.
        fractions: of the documents with a score, which are kept.

    Cost: sorting the scores for each fraction.
    """
    names, numbers = np.unique(np.asarray(domains, np.str_), return_inverse=True)
    whole = _shares(numbers, tokens, len(names))
    trained = int(tokens.sum()) if budget is None else budget
    rows = []
    for fraction in fractions:
        kept = keeping(rule, scores, documents, fraction)
        left = int(tokens[kept].sum())
        shares = _shares(numbers[kept], tokens[kept], len(names))
        there = shares > 0
        rows.append(
            Left(
                fraction,
                int(kept.sum()),
                left,
                effective_tokens(trained, left) / trained if left else 0.0,
                dict(zip(names.tolist(), shares.tolist(), strict=True)),
                float(shares[there] @ np.log(shares[there] / whole[there])),
                {group: float(kept[mask].mean()) for group, mask in mentions.items() if mask.any()},
                kept,
            )
        )
    return rows


def keeping(rule: Rule, scores: Reals, documents: Ids, fraction: float) -> Kept:
    """Which documents a rule keeps: of those with a score exactly this fraction by `ranks` and `gumbel` (of
    standardized scores, at temperature 1), about as many by `pareto` (of ranks as shares)."""
    match rule:
        case "ranks":
            return within_ranks(scores, documents, 1 - fraction, 1)
        case "pareto":
            return pareto(ranks(scores, documents), documents, alpha=alpha_of(fraction))
        case "gumbel":
            return gumbel(standardized(scores), documents, fraction, temperature=1.0)


def alpha_of(fraction: float) -> float:
    """The alpha at which Pareto's rule is expected to keep a fraction of documents whose scores are evenly spread from
    0 to 1: the mean of (2 - s)^-alpha is (1 - 2^(1 - alpha)) / (alpha - 1); GPT-3's 9 keeps an eighth."""

    def mean(alpha: float) -> float:
        return -expm1((1 - alpha) * log(2)) / (alpha - 1) if alpha != 1 else log(2)

    return float(brentq(lambda alpha: mean(alpha) - fraction, 0, 1 + 1 / fraction, xtol=1e-12))


def mentions_of(texts: pa.Array | pa.ChunkedArray, groups: Mapping[str, Sequence[str]]) -> dict[str, Kept]:
    """By group, which texts have one of its terms among their words, whatever its case."""
    wanted = {group: {word for term in terms for word in words_of(term, "folded")} for group, terms in groups.items()}
    words = [set(words_of(text, "folded")) for text in texts.to_pylist()]
    return {
        group: np.array([not terms.isdisjoint(found) for found in words], np.bool_) for group, terms in wanted.items()
    }


def _shares(domains: npt.NDArray[np.intp], tokens: npt.NDArray[np.int64], count: int) -> Reals:
    sums = np.bincount(domains, tokens, count)
    return np.asarray(sums / max(sums.sum(), 1))
