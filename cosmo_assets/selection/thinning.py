"""Thinning: of the documents within all limits, those that a rule over all of them keeps.

Belongs here: a recipe's rule as a choice among documents. Does not belong here: the rules themselves (`keeping`, and
`cosmo_assets.diversity.pruning`), the rule that reads texts (`likeness`), or limits (`verdicts`).
"""

from math import isqrt

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.diversity.pruning import d2, d4
from cosmo_assets.recipe.selection import Keep, KeepD2, KeepD4, KeepDsir, KeepGumbel, KeepPareto, KeepRanks
from cosmo_assets.selection import likeness
from cosmo_assets.selection.keeping import Kept, Reals, gumbel, midranks, pareto, standardized, within_ranks
from cosmo_assets.topics.features import Vectors

WithoutTexts = KeepRanks | KeepPareto | KeepGumbel | KeepD4 | KeepD2
"""Rules that need no text: a score, vectors, or both."""

STAYS = -1
"""What stands for the reason of a document that stays."""


def reasons_of(rule: Keep) -> tuple[str, ...]:
    """What is said of documents that do not stay."""
    match rule:
        case KeepD4():
            return ("d4 duplicate", "d4 prototype")
        case KeepDsir():
            return likeness.REASONS
        case _:
            return (f"{rule.rule} by {rule.signal}",)


def thinned(rule: WithoutTexts, documents: pa.Array, scores: Reals, vectors: Vectors) -> npt.NDArray[np.int64]:
    """For each document the number of the reason, of `reasons_of`, for which it goes; `STAYS` for those that stay.

    `scores` has the rule's signal of each; one without it, NaN, stays, as with limits. `vectors` has the unit vectors
    (n, d) of rules that compare them, which go by the order of documents: equal ones in the order of ids give equal
    choices.

    Cost: a sort, but for Pareto's rule; for D4 k-means twice, by default with the square root of n clusters; for D2 n
    squared times d.

    Raises:
        CosmoError: Pareto's rule is given scores that are not between 0 and 1.
    """
    if isinstance(rule, KeepD4):
        clusters = rule.clusters or max(isqrt(len(vectors)), 1)
        different, atypical = rule.keep_different, rule.keep_atypical
        found = d4(vectors, clusters=clusters, keep_different=different, keep_atypical=atypical, seed=rule.seed)
        return np.select([found.duplicate, found.prototype], [0, 1], STAYS)
    return np.where(_chosen(rule, documents, scores, vectors) | np.isnan(scores), STAYS, 0)


def _chosen(
    rule: KeepRanks | KeepPareto | KeepGumbel | KeepD2, documents: pa.Array, scores: Reals, vectors: Vectors
) -> Kept:
    match rule:
        case KeepRanks():
            return within_ranks(scores, documents, rule.low, rule.high)
        case KeepPareto():
            return pareto(scores if rule.prefer == "high" else 1 - scores, documents, alpha=rule.alpha)
        case KeepGumbel():
            wanted = scores if rule.prefer == "high" else -scores
            return gumbel(standardized(wanted), documents, rule.fraction, temperature=rule.temperature)
        case KeepD2():
            scored = np.flatnonzero(~np.isnan(scores))
            difficulty = midranks(scores[scored] if rule.prefer == "high" else -scores[scored])
            count = round(rule.fraction * len(scored))
            order = d2(vectors[scored], difficulty, count, neighbours=rule.neighbours, gamma=rule.gamma)
            chosen = np.zeros(len(scores), np.bool_)
            chosen[scored[order]] = True
            return chosen
