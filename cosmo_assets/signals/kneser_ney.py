"""Training of a language model: interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998).

Belongs here: counts of n-grams, discounts, probabilities and back-off weights. Does not belong here: scores of texts
(`language_model`).

Counts of lower orders are adjusted as kenlm does (Heafield et al. 2013): how many different words precede an n-gram,
but for those that begin with <s>, which nothing precedes. Single words are interpolated with the uniform distribution
over the vocabulary, <s> left out. N-grams that are pruned leave their mass to the shorter ones, so that the
probabilities after every context sum to 1.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from cosmo_assets.signals.language_model import BEGIN, END, NEVER, SPECIAL, UNKNOWN, LanguageModel, Reals, ngram_keys
from cosmo_assets.words.alphabet import words_of
from cosmo_assets.words.compiled import Ints, Offsets
from cosmo_resources.errors import CosmoError

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where counts of counts give none: the texts are few, or made by hand."""


@dataclass(frozen=True)
class _Grams:
    """The n-grams of one order, sorted by context and last word. Contexts and suffixes are numbers of n-grams of one
    word less: all but the last word, all but the first. A word's are 0, the empty n-gram."""

    contexts: Offsets
    last: Offsets
    suffixes: Offsets
    counts: Offsets
    begin: npt.NDArray[np.bool_]
    """Whether it begins with <s>, which itself counts 0."""


def train(texts: Iterable[str], order: int = 3, least_counts: Sequence[int] = ()) -> LanguageModel:
    """A model of texts, which must not be those that it judges. It does not depend on their order.

    Args:
        texts: one sentence each; read once.
        order: the longest n-grams, in words.
        least_counts: by order, how often an n-gram must occur to be kept; what is not given is as the one before, or 1.
            Words that are left out become <unk>.

    Raises:
        CosmoError: least_counts do not fit, or the texts have no words.

    Cost: sorting the n-grams of each order; memory about 250 bytes for each word of the texts.
    """
    least = [*least_counts, *[least_counts[-1] if least_counts else 1] * (order - len(least_counts))]
    if order < 1 or len(least) > order or least != sorted(least) or least[0] < 1:
        raise CosmoError(
            f"least_counts: {tuple(least_counts)} does not fit order {order}",
            remedy="give at most one whole number for each order, 1 or more, none below the one before",
        )
    words, tokens = _numbered(texts, least[0])
    orders = _counted(tokens, len(words), order)
    sizes: list[int] = []
    columns: list[tuple[Offsets, Offsets, Reals]] = []
    weights: list[Reals] = []
    # Of the order before: which n-grams are kept, their numbers in the model, their probabilities. First the empty one.
    kept, numbers = np.ones(1, np.bool_), np.full(1, -1, np.int64)
    shares = np.full(1, 1 / (len(words) - 1))  # <s> is never predicted
    for size, (grams, longer) in enumerate(zip_longest(orders, orders[1:])):
        counts = _adjusted(grams, longer)
        keep = grams.counts >= least[size] if size else np.ones(len(words), np.bool_)
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        totals = np.bincount(grams.contexts, counts, len(kept))
        left = np.bincount(grams.contexts, np.where(keep, discounts, counts), len(kept))
        backoffs = np.divide(left, totals, out=np.ones(len(kept)), where=totals > 0)
        shares = (counts - discounts) / totals[grams.contexts] + backoffs[grams.contexts] * shares[grams.suffixes]
        weights.append(backoffs[kept])
        columns.append((numbers[grams.contexts[keep]], grams.last[keep], shares[keep]))
        kept, numbers = keep, sum(sizes) + np.cumsum(keep) - 1
        sizes.append(int(keep.sum()))
    weights.append(np.ones(sizes[-1]))
    contexts, last, probabilities = (np.concatenate(column) for column in zip(*columns, strict=True))
    logs = np.log10(probabilities).astype(np.float32)
    logs[BEGIN] = NEVER
    backed = np.log10(np.concatenate(weights[1:])).astype(np.float32)
    return LanguageModel(words, tuple(sizes), contexts.astype(np.int32), last.astype(np.int32), logs, backed)


def _numbered(texts: Iterable[str], least: int) -> tuple[tuple[str, ...], Ints]:
    """The vocabulary, and the numbers of all words with <s> and </s> around each text."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = lambda: len(numbers) + len(SPECIAL)
    found = array("i")
    for text in texts:
        found.extend([BEGIN, *map(numbers.__getitem__, words_of(text, "folded")), END])
    if not numbers:
        raise CosmoError("a language model: the texts that it is trained on have no words", remedy="give it texts")
    tokens = np.frombuffer(found, np.int32)
    counts = np.bincount(tokens, minlength=len(numbers) + len(SPECIAL))
    words = sorted(word for word, number in numbers.items() if counts[number] >= least)
    places = np.full(len(counts), UNKNOWN, np.int32)
    places[[BEGIN, END, *(numbers[word] for word in words)]] = np.arange(1, len(words) + len(SPECIAL))
    return (*SPECIAL, *words), places[tokens]


def _counted(tokens: Ints, words: int, order: int) -> list[_Grams]:
    counts = np.bincount(tokens, minlength=words)
    counts[BEGIN] = 0
    nothing = np.zeros(words, np.int64)
    found = [_Grams(nothing, np.arange(words), nothing, counts, np.arange(words) == BEGIN)]
    ending = tokens.astype(np.int64)  # at each place, the number of the n-gram that ends there; -1 where there is none
    for _ in range(order - 1):
        places = 1 + np.flatnonzero((ending[:-1] >= 0) & (tokens[1:] != BEGIN))
        keys, first, inverse, counts = np.unique(
            ngram_keys(ending[places - 1], tokens[places]), return_index=True, return_inverse=True, return_counts=True
        )
        contexts, last = (keys >> np.uint64(32)).astype(np.int64), (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
        found.append(_Grams(contexts, last, ending[places[first]], counts, found[-1].begin[contexts]))
        ending = np.full(len(tokens), -1, np.int64)
        ending[places] = inverse
    return found


def _adjusted(grams: _Grams, longer: _Grams | None) -> Offsets:
    """Counts in the highest order and of what begins with <s>, otherwise how many different words precede."""
    if longer is None:
        return grams.counts
    return np.where(grams.begin, grams.counts, np.bincount(longer.suffixes, minlength=len(grams.counts)))


def _discounts(counts: Offsets) -> Reals:
    """What is taken off a count of 0, 1, 2, and 3 or more (Chen and Goodman 1998)."""
    seen = np.array([np.count_nonzero(counts == number) for number in range(1, 5)], np.float64)
    if seen.all():
        one = seen[0] / (seen[0] + 2 * seen[1])
        number = np.arange(1, 4)
        found = number - (number + 1) * one * seen[1:] / seen[:3]
        if ((found > 0) & (found < number)).all():
            return np.concatenate([[0.0], found])
    return np.array([0.0, *FALLBACK])
