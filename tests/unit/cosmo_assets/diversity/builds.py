"""Made-up builds of a corpus: documents about topics, in real words, of one kind at every seed; and their collapse."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cosmo_assets.diversity.gate import Measured, measured
from tests.doubles.replay_server import WORDS

TOPICS, DIMENSIONS, LENGTH = 24, 48, 60
VOCABULARY = np.array(sorted(set(WORDS)))
BOILERPLATE = "in this lesson we are going to explore together the fascinating world of many things "
_FIXED = np.random.default_rng(0)
_ORDERS = np.array([_FIXED.permutation(len(VOCABULARY)) for _ in range(TOPICS)])
_ZIPF = np.cumsum(1 / np.arange(2, len(VOCABULARY) + 2)) / np.sum(1 / np.arange(2, len(VOCABULARY) + 2))
_PLACES = _FIXED.normal(size=(len(VOCABULARY), DIMENSIONS))


@dataclass(frozen=True)
class Build:
    texts: list[str]
    vectors: np.ndarray
    labels: np.ndarray

    def measured(self, block: int = 100) -> Measured:
        return measured(
            pa.array(self.texts), self.vectors, self.labels, clusters=TOPICS, model="word vectors", block=block
        )

    def beginning_alike(self, share: float) -> "Build":
        """A share of the documents begins with the same words."""
        count = round(share * len(self.texts))
        texts = [BOILERPLATE + text for text in self.texts[:count]] + self.texts[count:]
        return Build(texts, self.vectors, self.labels)._shuffled()

    def of_common_beginnings(self, seed: int) -> "Build":
        """Half of the documents begin with one of twenty phrases of ten words: 30 % with the first, .1 % with the last,
        by Zipf's law."""
        shares = 0.3 / np.arange(1, 21) ** (np.log(300) / np.log(20))
        drawn = np.random.default_rng([seed, 20]).choice(21, len(self.texts), p=[*shares, 1 - shares.sum()])
        starts = [f"here is way number {place} to begin what follows below " for place in range(20)] + [""]
        texts = [starts[place] + text for place, text in zip(drawn, self.texts, strict=True)]
        return Build(texts, self.vectors, self.labels)

    def of_one_pattern(self, share: float) -> "Build":
        """A share of the documents is one text of one topic in which a word in ten is another one."""
        count, pattern = round(share * len(self.texts)), self.texts[-1].split()
        texts = [" ".join(_filled(pattern, text.split(), number)) for number, text in enumerate(self.texts[:count])]
        vectors, labels = self.vectors.copy(), self.labels.copy()
        vectors[:count], labels[:count] = vectors[-1], labels[-1]
        return Build(texts + self.texts[count:], vectors, labels)._shuffled()

    def _shuffled(self) -> "Build":
        order = np.random.default_rng(0).permutation(len(self.texts))
        return Build([self.texts[at] for at in order], self.vectors[order], self.labels[order])


def _filled(pattern: list[str], words: list[str], number: int) -> list[str]:
    return [new if (at + number) % 10 == 0 else old for at, (old, new) in enumerate(zip(pattern, words, strict=True))]


def build(seed: int, documents: int) -> Build:
    """Documents of `LENGTH` words by their topic's own frequencies (Zipf's law), each with its words' mean vector."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, TOPICS, documents)
    ranks = np.searchsorted(_ZIPF, random.random((documents, LENGTH)))
    words = _ORDERS[labels[:, None], ranks]
    vectors = _PLACES[words].sum(axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Build([" ".join(row) for row in VOCABULARY[words].tolist()], vectors, labels)
