"""Thinning: of the documents within all limits, those that a rule over all of them keeps.

Belongs here: a recipe's rule as a choice among scored documents. Does not belong here: the rules themselves
(`keeping`), or limits (`verdicts`).
"""

import numpy as np
import pyarrow as pa

from cosmo_assets.recipe.selection import Keep, KeepGumbel, KeepPareto, KeepRanks
from cosmo_assets.selection.keeping import Kept, Reals, gumbel, pareto, standardized, within_ranks


def kept(rule: Keep, documents: pa.Array, scores: Reals) -> Kept:
    """Which documents stay. `scores` has the rule's signal of each; one without it, NaN, stays, as with limits.

    Cost: a sort, but for Pareto's rule.

    Raises:
        CosmoError: Pareto's rule is given scores that are not between 0 and 1.
    """
    return np.asarray(_chosen(rule, documents, scores) | np.isnan(scores))


def reason_of(rule: Keep) -> str:
    """What is said of a document that does not stay."""
    return f"{rule.rule} by {rule.signal}"


def _chosen(rule: Keep, documents: pa.Array, scores: Reals) -> Kept:
    match rule:
        case KeepRanks():
            return within_ranks(scores, documents, rule.low, rule.high)
        case KeepPareto():
            return pareto(scores if rule.prefer == "high" else 1 - scores, documents, alpha=rule.alpha)
        case KeepGumbel():
            wanted = scores if rule.prefer == "high" else -scores
            return gumbel(standardized(wanted), documents, rule.fraction, temperature=rule.temperature)
