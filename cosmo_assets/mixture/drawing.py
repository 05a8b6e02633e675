"""Drawing: how often each document stands in the corpus, so that its source gives the tokens that it shall.

Belongs here: copies of documents, as arrays. Does not belong here: how many tokens a source shall give (`allocation`).

A document has a draw v in [0, 1), a hash of its id, and a factor u. After t epochs it has floor(t u + v) copies: a
function of the document and of one number for its whole source, that only grows with t. t is set where the tokens of
all copies come nearest to what they shall be, so a source misses its target by at most half the tokens of one
document, and another document more or less moves t by about one document's worth: few others change. The stages of a
curriculum are cuts of the same line: the copies of a stage are those between its ends, and a document comes again only
when the others of its source had their turn. (A systematic sample with permanent random numbers: Ohlsson 1998.)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.ids import numbers_of, uniforms

Reals = npt.NDArray[np.float64]
Wholes = npt.NDArray[np.int64]

FEW = 4096
"""Documents whose copies are still open from which on their steps are sorted."""


def draws(documents: pa.Array | pa.ChunkedArray) -> Reals:
    """The draw of each document, by its id alone."""
    return uniforms(numbers_of(documents), "copies")


def copies(epochs: float, draw: Reals, factor: Reals) -> Wholes:
    """Copies of each document after so many epochs."""
    return np.floor(epochs * factor + draw).astype(np.int64)


def cuts(tokens: Wholes, draw: Reals, factor: Reals, targets: Sequence[int]) -> list[float]:
    """The epochs at which the tokens of all copies come nearest to the first target, to the first two together, ...

    Documents of factor 0 are never drawn. Cost: some passes over the documents whose copies are open, of which each
    pass settles about half.

    Raises:
        ValueError: there is a target, but no document of a factor above 0 with tokens.
    """
    able = (factor > 0) & (tokens > 0)
    if sum(targets) and not able.any():
        raise ValueError("no document can give these tokens")
    if not able.all():
        tokens, draw, factor = tokens[able], draw[able], factor[able]
    sums = np.cumsum(np.asarray(targets, np.int64)).tolist()
    return [_cut(tokens, draw, factor, total) if total else 0.0 for total in sums]


def _cut(tokens: Wholes, draw: Reals, factor: Reals, target: int) -> float:
    low, high, settled = 0.0, 1.0, 0
    while int(tokens @ copies(high, draw, factor)) < target:
        low, high = high, 2 * high
    while len(tokens) > FEW and (middle := (low + high) / 2) not in (low, high):
        if settled + int(tokens @ copies(middle, draw, factor)) < target:
            low = middle
        else:
            high = middle
        at_low = copies(low, draw, factor)
        still = at_low != copies(high, draw, factor)
        settled += int(tokens[~still] @ at_low[~still])
        tokens, draw, factor = tokens[still], draw[still], factor[still]
    at_low = copies(low, draw, factor)
    more = copies(high, draw, factor) - at_low
    each = np.repeat(np.arange(len(tokens)), more)
    first = np.repeat(np.cumsum(more) - more, more)
    number = at_low[each] + 1 + np.arange(len(each)) - first
    steps = (number - draw[each]) / factor[each]
    order = np.argsort(steps, kind="stable")
    sums = np.concatenate([[0], np.cumsum(tokens[each][order])]) + settled + int(tokens @ at_low)
    ends = np.concatenate([[low], steps[order], [high]])
    best = int(np.argmin(np.abs(sums - target)))
    return float((ends[best] + ends[best + 1]) / 2)
