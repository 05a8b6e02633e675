"""What filtering by a score costs: the corpus that would be left, for several fractions that are kept.

Belongs here: tokens, domains, repetition and mentions of identities by fraction. Does not belong here: keeping
(`keeping`), or whether a filter treats identities alike (`disparity`).

Gao 2021 filtered harder and harder by a shallow score and got worse models: a filter is judged by what it leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.quantity.repetition import effective_tokens
from cosmo_assets.selection.keeping import Ids, Kept, Reals, within_ranks
from cosmo_assets.words.alphabet import words_of

FRACTIONS = (1.0, 0.75, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class Left:
    """What is left where this fraction of the documents is kept, those of the highest scores."""

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


def sweep(
    scores: Reals,
    documents: Ids,
    tokens: npt.NDArray[np.int64],
    domains: Sequence[str],
    mentions: Mapping[str, Kept],
    *,
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
        budget: the tokens that are trained on, whatever is left; where it is not given, those of all documents.
        fractions: of the documents with a score, which are kept.

    Cost: sorting the scores for each fraction.
    """
    names, numbers = np.unique(np.asarray(domains, np.str_), return_inverse=True)
    whole = _shares(numbers, tokens, len(names))
    trained = int(tokens.sum()) if budget is None else budget
    rows = []
    for fraction in fractions:
        kept = within_ranks(scores, documents, 1 - fraction, 1)
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
            )
        )
    return rows


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
