"""The gate: what is measured of a sample of documents, with intervals, and whether it is worse than what was accepted.

Belongs here: sampling errors, the comparison of two samples. Does not belong here: the measures (`measures`), which
documents are sampled, or which version was accepted (`stage`).

Documents are taken for independent; the caller samples one for each seed. Two kinds of measure:

- Those that depend on how many documents there are (`MEANS`) are taken in disjoint blocks of the same number of
  documents each: their mean is the measure at that size (rarefaction: Hurlbert 1971), whatever the size of the sample,
  and the blocks' spread gives its standard error (batch means). Resampling with replacement would not do: it repeats
  documents, and every one of these measures falls by that alone. Compared by Welch's t test (1947).
- Openers and phrases (`PHRASES`) are counts of documents, each compared by Fisher's exact test (1935), the commonest
  ones of the sample. Corrected for the number of phrases that could have come out at all (Tarone 1990): one of few
  documents cannot, so the many rare ones cost nothing.

Both are one-sided. Holm's correction (1979) over all measures gives the whole gate the rate of a false alarm that is
asked for.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.diversity.measures import (
    Commonest,
    Hashes,
    Labels,
    Matrix,
    coverage,
    distinct,
    evenness,
    hashes_of,
    openers,
    phrases,
    vendi,
    words_in,
)
from cosmo_resources.errors import CosmoError

MEANS = ("vendi", "distinct_1", "distinct_2", "distinct_3", "coverage", "evenness")
PHRASES = ("opener", "phrase")
LISTED = 256
"""Openers and phrases that are kept, the commonest ones."""
CONFIDENCE = 0.95
BITS = 1 << 16
"""Places of the filter of unlisted openers: with a sample of 4,000 one unknown opener in 75 is taken for known."""
_SPREAD = np.array([[0x9E3779B97F4A7C15], [0xC2B2AE3D27D4EB4F]], np.uint64)

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mean:
    """A measure in blocks: the mean over them and its standard error. Means of another `basis` (size of a block, number
    of clusters, embedding model) are of another thing."""

    value: float
    error: float
    blocks: int
    basis: str

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the measure at this size of a block, by Student's t."""
        from scipy.stats import t  # not where datasets are built without a gate: it is slow to import

        half = float(t.ppf((1 + CONFIDENCE) / 2, self.blocks - 1)) * self.error
        return self.value - half, self.value + half


@dataclass(frozen=True)
class Tally:
    """How many of `documents` hold each of the commonest phrases (`parts`); any other is held by at most `unlisted`.
    `kinds` is the number of different ones. `others` is a filter of the unlisted ones: what is not in it no document
    holds. It is empty where that is not known."""

    documents: int
    parts: Mapping[str, int]
    unlisted: int
    kinds: int
    others: str = ""

    @classmethod
    def of(cls, documents: int, found: Commonest, *, keep_others: bool) -> "Tally":
        others = _filter(found.others) if keep_others else ""
        return cls(documents, found.listed, found.unlisted, found.kinds, others)

    def held(self, phrases: Sequence[str]) -> Numbers:
        """How many documents hold each phrase, at most."""
        there = _passes(self.others, hashes_of(phrases)) if self.others else np.ones(len(phrases), np.bool_)
        rest = np.where(there, self.unlisted, 0).tolist()
        return np.array([self.parts.get(one, most) for one, most in zip(phrases, rest, strict=True)], np.int64)

    @property
    def commonest(self) -> tuple[str, int]:
        return max(self.parts.items(), key=lambda item: item[1], default=("", self.unlisted))

    @property
    def value(self) -> float:
        return self.commonest[1] / self.documents

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share of this phrase (Clopper and Pearson 1934)."""
        from scipy.stats import binomtest

        found = binomtest(self.commonest[1], self.documents).proportion_ci(CONFIDENCE)
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class Measured:
    """What was measured of a sample."""

    means: Mapping[str, Mean]
    tallies: Mapping[str, Tally]

    def plain(self) -> dict[str, Any]:
        return {
            "means": {name: vars(mean) for name, mean in self.means.items()},
            "tallies": {name: vars(tally) for name, tally in self.tallies.items()},
        }

    @classmethod
    def of_plain(cls, fields: Mapping[str, Any]) -> "Measured":
        return cls(
            {name: Mean(**mean) for name, mean in fields["means"].items()},
            {name: Tally(**tally) for name, tally in fields["tallies"].items()},
        )


@dataclass(frozen=True)
class Verdict:
    """Whether a measure is worse than before by more than chance. `chance` bounds the probability of such a change
    where nothing has changed; it is 1 where nothing can be compared, and `before` is None. `phrase` is the one that has
    risen."""

    measure: str
    now: float
    before: float | None
    chance: float
    worse: bool
    phrase: str = ""


def measured(texts: pa.Array, vectors: Matrix, labels: Labels, *, clusters: int, model: str, block: int) -> Measured:
    """Measure documents in the order given, which must be a random one: texts, unit vectors (n, d) by the `model`, the
    number of each one's cluster out of `clusters`. Documents that fill no block count for openers and phrases alone.

    Cost: n d min(block, d), and sorting all words and phrases.

    Raises:
        CosmoError: they do not fill two blocks.
    """
    blocks = [slice(start, start + block) for start in range(0, len(texts) - block + 1, block)]
    if len(blocks) < 2:
        raise CosmoError(
            f"corpus_diversity: {len(texts)} documents of different seeds do not fill two blocks of {block}",
            remedy="lower diversity.block in the recipe, or leave the section out until there are more documents",
        )
    words = words_in(texts)
    size = f"{block} documents"
    values = {
        "vendi": ([vendi(vectors[part]) for part in blocks], f"{size}, {model}"),
        **{f"distinct_{n}": ([distinct(words, part, n) for part in blocks], size) for n in (1, 2, 3)},
        "coverage": ([coverage(labels[part], clusters) for part in blocks], f"{size}, {clusters} clusters"),
        "evenness": ([evenness(labels[part], clusters) for part in blocks], f"{size}, {clusters} clusters"),
    }
    return Measured(
        {name: _mean(found, basis) for name, (found, basis) in values.items()},
        {
            "opener": Tally.of(len(texts), openers(words, texts, LISTED), keep_others=True),
            "phrase": Tally.of(len(texts), phrases(words, texts, LISTED), keep_others=False),  # too many
        },
    )


def decide(current: Measured, accepted: Measured, rate: float) -> list[Verdict]:
    """A verdict for each measure of `current`. Where both samples are of the same kind of documents, the probability
    that any is worse is at most `rate`."""
    found = [_of_mean(name, mean, accepted.means.get(name)) for name, mean in current.means.items()]
    found += [_of_tally(name, tally, accepted.tallies[name]) for name, tally in current.tallies.items()]
    return _holm(found, rate)


def _mean(values: Sequence[float], basis: str) -> Mean:
    """Rounded, for the last digits of eigenvalues differ between machines."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return Mean(round(float(np.mean(values)), 9), round(error, 9), len(values), basis)


def _of_mean(name: str, now: Mean, before: Mean | None) -> Verdict:
    from scipy.stats import t

    if before is None or before.basis != now.basis:
        return Verdict(name, now.value, None, 1.0, worse=False)
    loss, variances = before.value - now.value, (now.error**2, before.error**2)
    if not any(variances):
        return Verdict(name, now.value, before.value, float(loss <= 0), worse=False)
    degrees = sum(variances) ** 2 / sum(
        variance**2 / (mean.blocks - 1) for variance, mean in zip(variances, (now, before), strict=True)
    )
    return Verdict(name, now.value, before.value, float(t.sf(loss / np.sqrt(sum(variances)), degrees)), worse=False)


def _of_tally(name: str, now: Tally, before: Tally) -> Verdict:
    """The phrase whose rise is the least likely by chance. What one side does not list is taken for as frequent there
    as it can be: a rise is less surprising then, and more phrases count as able to surprise."""
    from scipy.stats import hypergeom

    def chances(counts: Numbers, both: Numbers) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = hypergeom.sf(counts - 1, now.documents + before.documents, both, now.documents)
        return found

    if not now.parts:
        return Verdict(name, now.value, before.value, 1.0, worse=False)
    names = sorted(now.parts.keys() | before.parts.keys())
    here, there = now.held(names), before.held(names)
    listed = [at for at, part in enumerate(names) if part in now.parts]
    chance = chances(here[listed], (here + there)[listed])
    best = listed[int(np.argmin(chance))]
    # how many could have had as small a chance: with all of their documents on this side
    both = np.append(here + there, now.unlisted + before.unlisted)
    able = chances(np.minimum(both, now.documents), both) <= chance.min()
    number = now.kinds + before.kinds if able[-1] else int(able[:-1].sum())
    corrected = min(1.0, float(chance.min()) * number)
    return Verdict(
        name,
        float(here[best] / now.documents),
        float(there[best] / before.documents),
        corrected,
        worse=False,
        phrase=names[best],
    )


def _filter(hashes: Hashes) -> str:
    """The places out of `BITS` that hashes fall on, two for each: a Bloom filter (Bloom 1970), in base 64."""
    bits = np.zeros(BITS, np.bool_)
    bits[_places(hashes)] = True
    return b64encode(np.packbits(bits).tobytes()).decode()


def _passes(filter_: str, hashes: Hashes) -> npt.NDArray[np.bool_]:
    """Which may have been in it: all that were, and few others."""
    bits = np.unpackbits(np.frombuffer(b64decode(filter_), np.uint8)).astype(np.bool_)
    return np.asarray(bits[_places(hashes)].all(axis=0))


def _places(hashes: Hashes) -> Numbers:
    return ((hashes * _SPREAD) >> np.uint64(64 - BITS.bit_length() + 1)).astype(np.int64)


def _holm(found: Sequence[Verdict], rate: float) -> list[Verdict]:
    """The verdicts, in their order, the least likely ones `worse` as long as their chance is below their part of the
    rate."""
    order = sorted((verdict for verdict in found if verdict.before is not None), key=lambda verdict: verdict.chance)
    worse: set[str] = set()
    for place, verdict in enumerate(order):
        if verdict.chance * (len(order) - place) > rate:
            break
        worse.add(verdict.measure)
    return [Verdict(**{**vars(verdict), "worse": verdict.measure in worse}) for verdict in found]
