"""Perplexity by an n-gram language model: how surprising a text is to who has read the reference texts.

Belongs here: the model as arrays, and scores of texts. Does not belong here: its training (`kneser_ney`), its file
format (`arpa`), or which texts are kept for their score (`cosmo_assets.selection`).

Words are those of the `folded` alphabet: without case and punctuation. A text is one sentence: <s>, its words, </s>.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.words.compiled import Hashes, Ints, Offsets, compiled
from cosmo_assets.words.hashing import hash_of, hashed

Reals = npt.NDArray[np.float64]
Logs = npt.NDArray[np.float32]

UNKNOWN, BEGIN, END = 0, 1, 2
"""The numbers of <unk>, <s> and </s> in every model."""
SPECIAL = ("<unk>", "<s>", "</s>")
NEVER = -99.0
"""The logarithm that ARPA files have where a probability is 0."""
_MIXER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Scores:
    """Of each text: minus the natural logarithm of its probability, its words with </s>, and how many the model does
    not know."""

    nll: Reals
    words: Offsets
    unknown: Offsets

    @property
    def per_word(self) -> Reals:
        """Nats per word, </s> being one."""
        return np.asarray(self.nll / self.words)

    @property
    def perplexity(self) -> Reals:
        """exp(nats per word), as kenlm counts it. Marion et al. 2023 prune by perplexity."""
        return np.asarray(np.exp(self.per_word))


@dataclass(frozen=True)
class LanguageModel:
    """N-grams with back-off. They are numbered through all orders: words first, then pairs, and so on; n-gram i is what
    `contexts[i]`, an n-gram of one word less, is followed by, the word `last[i]`."""

    words: tuple[str, ...]
    """By number; the first three are `SPECIAL`."""
    sizes: tuple[int, ...]
    """The n-grams of each order."""
    contexts: Ints
    """-1 for single words."""
    last: Ints
    logs: Logs
    """log10 p(last | context)."""
    backoffs: Logs
    """log10 of what the probability of a word by the shorter context is multiplied with where the n-gram is the context
    and there is no longer n-gram; 0 in the highest order."""

    @property
    def order(self) -> int:
        return len(self.sizes)

    def score(self, texts: pa.Array) -> Scores:
        """Scores of texts. Cost: linear in their words, each looked up once by order; memory as `hashed`."""
        found = hashed(texts, "folded")
        numbers = np.empty(len(found.hashes), np.int32)
        _look_up(found.hashes, *self._vocabulary, numbers)
        logs = np.empty(len(found), np.float64)
        _score(numbers, found.bounds, *self._ngrams, self.logs, self.backoffs, self.order, logs)
        unknown = np.concatenate([[0], np.cumsum(numbers == UNKNOWN)])[found.bounds]
        return Scores(-logs * np.log(10), np.diff(found.bounds) + 1, np.diff(unknown))

    @cached_property
    def _vocabulary(self) -> tuple[Hashes, Ints]:
        known = self.words[len(SPECIAL) :]
        hashes = np.array([hash_of(word) for word in known], np.uint64)
        return _table(hashes, np.arange(len(SPECIAL), len(self.words), dtype=np.int32), UNKNOWN)

    @cached_property
    def _ngrams(self) -> tuple[Hashes, Ints]:
        longer = slice(len(self.words), None)
        keys = ngram_keys(self.contexts[longer], self.last[longer])
        return _table(keys, np.arange(len(self.words), len(self.last), dtype=np.int32), -1)


def ngram_keys(contexts: Sequence[int] | Ints | Offsets, last: Sequence[int] | Ints | Offsets) -> Hashes:
    """What n-grams are looked up by: their context's number and their last word's, in one."""
    return np.asarray(contexts, np.uint64) << np.uint64(32) | np.asarray(last, np.uint64)


def _table(keys: Hashes, numbers: Ints, missing: int) -> tuple[Hashes, Ints]:
    """A hash table, at most half full, with linear probing; `missing` marks its empty places."""
    size = 1 << int(2 * len(keys) + 1).bit_length()
    places, values = np.zeros(size, np.uint64), np.full(size, missing, np.int32)
    _fill(keys, numbers, places, values, missing)
    return places, values


@compiled
def _fill(keys: Hashes, numbers: Ints, places: Hashes, values: Ints, missing: int) -> None:
    mask = np.uint64(len(places) - 1)
    for number in range(len(keys)):
        place = _first_place(keys[number], mask)
        while values[place] != missing:
            place = (place + np.uint64(1)) & mask
        places[place], values[place] = keys[number], numbers[number]


@compiled
def _first_place(key: np.uint64, mask: np.uint64) -> np.uint64:
    mixed = (key ^ (key >> np.uint64(32))) * _MIXER
    return (mixed ^ (mixed >> np.uint64(29))) & mask


@compiled
def _found(key: np.uint64, places: Hashes, values: Ints, missing: int) -> int:
    mask = np.uint64(len(places) - 1)
    place = _first_place(key, mask)
    while values[place] != missing and places[place] != key:
        place = (place + np.uint64(1)) & mask
    return values[place]  # type: ignore[no-any-return]


@compiled
def _look_up(keys: Hashes, places: Hashes, values: Ints, numbers: Ints) -> None:
    for number in range(len(keys)):
        numbers[number] = _found(keys[number], places, values, UNKNOWN)


@compiled
def _score(
    words: Ints, bounds: Offsets, places: Hashes, values: Ints, logs: Logs, backoffs: Logs, order: int, sums: Reals
) -> None:
    """Add up log10 p of each text. `before` has the number of the n-gram of each order that ends before the word, -1
    where there is none: the longest that the word continues gives its probability, those longer are backed off from."""
    before, now = np.empty(order, np.int32), np.empty(order, np.int32)
    for text in range(len(bounds) - 1):
        before[:] = -1
        before[0] = BEGIN
        total = 0.0
        for at in range(bounds[text], bounds[text + 1] + 1):
            word = words[at] if at < bounds[text + 1] else np.int32(END)
            log = np.float64(logs[word])
            now[0] = word
            for size in range(1, order):
                now[size] = -1
                context = before[size - 1]
                if context >= 0:
                    key = np.uint64(context) << np.uint64(32) | np.uint64(word)
                    now[size] = _found(key, places, values, -1)
                    log = np.float64(logs[now[size]]) if now[size] >= 0 else log + backoffs[context]
            total += log
            before, now = now, before
        sums[text] = total
