"""DSIR (Xie et al. 2023): the documents that look like a target, by importance resampling over hashed n-grams.

Belongs here: features of texts, importance weights, and the choice of documents. Does not belong here: in which shares
domains are mixed (`law`, `trees`); weights over a mixed target do not recover its shares, quotas do.

Features are the words and pairs of neighbouring words of the lower-cased text in hashed buckets, as in the authors'
package. The noise of a document is drawn from its id, so that neither the order of rows nor the number of processes
changes what is chosen.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.composition.runs import Array
from cosmo_assets.ids import Numbers, gumbels, numbers_of
from cosmo_resources.errors import CosmoError

Counts = npt.NDArray[np.int64]

BUCKETS = 10_000
LEAST_WORDS = 100
"""Shorter documents are not chosen by default, as in the package."""
EPSILON = 1e-8
"""What is added to a share before its logarithm is taken."""
_WORD = re.compile(r"\w+|[^\w\s]+")
_BLOCK = 1 << 22
"""N-grams that are counted at a time, about."""


@dataclass(frozen=True)
class Features:
    """The n-grams of texts as buckets: those of text i stand from `bounds[i]` to `bounds[i + 1]`. They may lie in a
    file (`spooled`): whatever is counted is read in blocks."""

    buckets: npt.NDArray[np.int32]
    bounds: Counts
    size: int
    """The number of buckets there are."""

    @property
    def words(self) -> Counts:
        """The words of each text; n of them have n - 1 pairs."""
        words: Counts = (np.diff(self.bounds) + 1) // 2
        return words

    def shares(self, chosen: npt.NDArray[np.bool_] | None = None, smoothing: float = 0.0) -> Array:
        """The share of each bucket in the n-grams of all texts, or of the chosen; `smoothing` (Laplace) is added to the
        count of every bucket. All are 0 where there is no n-gram."""
        counts = np.full(self.size, smoothing)
        for first, last, buckets, lengths in self._blocks():
            kept = buckets if chosen is None else buckets[np.repeat(chosen[first:last], lengths)]
            counts += np.bincount(kept, minlength=self.size)
        return np.asarray(counts / max(counts.sum(), EPSILON))

    def sums(self, values: Array) -> Array:
        """For each text, the sum of a value by bucket over its n-grams."""
        sums = np.zeros(len(self.bounds) - 1)
        for first, last, buckets, lengths in self._blocks():
            owners = np.repeat(np.arange(last - first), lengths)
            sums[first:last] = np.bincount(owners, values[buckets], minlength=last - first)
        return sums

    def _blocks(self) -> Iterator[tuple[int, int, npt.NDArray[np.int32], Counts]]:
        """Texts from a number to a number, with their buckets and how many each has."""
        full = np.searchsorted(self.bounds, np.arange(_BLOCK, self.bounds[-1], _BLOCK))
        for first, last in pairwise(np.unique([0, *full, len(self.bounds) - 1]).tolist()):
            start, *_, end = bounds = self.bounds[first : last + 1]
            yield first, last, self.buckets[start:end], np.diff(bounds)


@dataclass(frozen=True)
class Choice:
    """What was chosen for one target."""

    target: str
    documents: int
    effective: float
    """The effective sample size of the weights of those that could be chosen: (sum w)^2 / sum w^2 (Kish 1965)."""
    before: float
    """KL divergence of the target from as many documents drawn at random, in nats."""
    after: float
    """The same from those that were chosen. The authors' measure of success, the KL reduction, is the difference."""


@dataclass(frozen=True)
class Chosen:
    """The number of the target that each document was chosen for, in the order of `choices`, or -1; and the logarithms
    of the importance weights, documents x targets."""

    numbers: Counts
    log_weights: Array
    choices: tuple[Choice, ...]


def features_of(texts: Iterable[str], size: int = BUCKETS) -> Features:
    """Words and pairs of words of texts. Cost: linear in the words; memory 4 bytes for each and each pair."""
    found = [np.empty(0, np.int32), *(_hashes(text, size) for text in texts)]
    return Features(np.concatenate(found), np.cumsum([len(one) for one in found]), size)


def spooled(texts: Iterable[str], path: Path, size: int = BUCKETS) -> Features:
    """The same in a new file, 4 bytes for each word and each pair; memory 8 bytes for each text. The file must be there
    as long as the features are used."""
    ends = [0]
    with path.open("wb") as file:
        for text in texts:
            hashes = _hashes(text, size)
            file.write(hashes.tobytes())
            ends.append(ends[-1] + len(hashes))
    buckets = np.memmap(path, np.int32, "r") if ends[-1] else np.empty(0, np.int32)
    return Features(buckets, np.array(ends, np.int64), size)


def log_ratio(target: Array, raw: Array) -> Array:
    """Of each bucket the logarithm of its share in the target against that in the raw texts."""
    return np.asarray(np.log(target + EPSILON) - np.log(raw + EPSILON))


def divergence(target: Array, other: Array) -> float:
    """KL(target || other) of the shares of buckets, in nats."""
    return float(target @ log_ratio(target, other))


def quotas_of(proportions: Mapping[str, float], total: int) -> dict[str, int]:
    """Documents for each target in these proportions, `total` in all: by largest remainders, ties by name."""
    whole = sum(proportions.values())
    exact = {name: total * part / whole for name, part in proportions.items()}
    quotas = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (quotas[name] - exact[name], name))
    for name in by_remainder[: total - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def choose(
    documents: pa.Array | pa.ChunkedArray,
    raw: Features,
    targets: Mapping[str, Features],
    quotas: Mapping[str, int],
    *,
    seed: int = 0,
    least_words: int = LEAST_WORDS,
    smoothing: float = 0.0,
) -> Chosen:
    """For each target, in order, the documents of largest log weight + Gumbel noise: a sample without replacement by
    importance weights. What one target has taken, the next cannot.

    Args:
        documents: their ids, 32 hexadecimal digits each; noise is drawn from them, the target's name and `seed`.
        raw: the features of the documents.
        targets: features of the target texts, by name.
        quotas: how many documents to choose for each target, exactly.
        least_words: documents of fewer words are not chosen.
        smoothing: Laplace smoothing of the targets' counts.

    Raises:
        CosmoError: there are fewer documents than the quotas ask for.
    """
    free = raw.words >= least_words
    if sum(quotas.values()) > free.sum():
        raise CosmoError(
            f"quotas: {sum(quotas.values())} documents are asked for, {free.sum()} have {least_words} words",
            remedy="ask for fewer, or lower least_words",
        )
    numbers, shares = numbers_of(documents), raw.shares()
    taken, log_weights, choices = np.full(len(numbers), -1, np.int64), [], []
    for number, (name, target) in enumerate(targets.items()):
        wanted = target.shares(smoothing=smoothing)
        weights = raw.sums(log_ratio(wanted, shares))
        noise = np.where(free, gumbels(numbers, "dsir", name, str(seed)), -np.inf)
        best = _largest(weights + noise, numbers, quotas[name])
        random = _largest(noise, numbers, quotas[name])
        relative = np.exp(np.sort(weights[free] - weights[free].max(initial=-np.inf)))
        effective = float(relative.sum() ** 2 / (relative**2).sum()) if free.any() else 0.0
        before, after = (divergence(wanted, raw.shares(chosen)) for chosen in (random, best))
        choices.append(Choice(name, quotas[name], effective, before, after))
        log_weights.append(weights)
        taken[best] = number
        free &= ~best
    return Chosen(taken, np.stack(log_weights, axis=1), tuple(choices))


def _largest(values: Array, numbers: Numbers, count: int) -> npt.NDArray[np.bool_]:
    """Which are the so many largest; ties by the document's number."""
    chosen = np.zeros(len(values), bool)
    chosen[np.lexsort((numbers, -values))[:count]] = True
    return chosen


def _hashes(text: str, size: int) -> npt.NDArray[np.int32]:
    """The buckets of a text's words, then those of its pairs."""
    words = _WORD.findall(text.lower())
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    return np.array([_bucket(gram, size) for gram in words + pairs], np.int32)


def _bucket(gram: str, size: int) -> int:
    return int.from_bytes(hashlib.sha256(gram.encode()).digest(), "big") % size
