"""How varied a few hundred answers to one prompt template are, and how often they copy, refuse or open alike.

Belongs here: figures told from the answers of one pilot alone. Does not belong here: generating the answers, setting
pilots side by side (`page`), or the rules by which a corpus drops texts (`cosmo_assets.quality.rules`).

Words are those of the quality rules, runs of letters and digits in lower case: the openers here are the openers of the
corpus report. A text without spaces (Chinese, Japanese, Thai) is few words; its figures mean little.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

OPENERS = range(3, 9)
MOST_COMMON = 5
COMPARED_WORDS = 200
"""Distinct-n and self-BLEU read this many words of each answer: both depend on the amount of text."""
SELF_BLEU_ANSWERS = 200
"""Self-BLEU takes at most so many answers, evenly spread: it depends on how many there are to be alike."""
HISTOGRAM_WORDS = 10
COPY_GRAM = 5
COPIED = 0.25
"""An answer that takes more than this share of its 5-grams from its extract is counted as copied."""
STOCK_OPENERS = (
    "Once upon a time",
    "In a world",
    "In the world of",
    "In the realm of",
    "In today's",
    "Have you ever",
    "Imagine",
    "Welcome to",
    "As we",
    "Let's",
    "Sure",
    "Certainly",
    "Of course",
    "Here is",
    "Here's",
)
"""Beginnings that instruction-tuned models fall back on: for a tale, for an article, for an audience, and, from `Sure`
on, for a reply instead of the text that was asked for. None is the beginning of another."""

_WORD = re.compile(r"\w+", re.UNICODE)
_REFUSAL = re.compile(  # the phrases of `quality.rules` by which a model speaks of itself: what is counted is dropped
    r"as an ai\b|as a language model|i cannot (?:fulfil|assist|help)|i['’]m sorry, (?:but )?i can(?:no|['’])t",
    re.IGNORECASE,
)
_BLEU_GRAMS = 4
_EPSILON = 0.1
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """One answer: its text, the whole prompt, the part of the seed that the prompt shows (may be empty), the engine's
    reason to stop or None, and its length in tokens."""

    text: str
    prompt: str
    extract: str
    finish_reason: str | None
    tokens: int


@dataclass(frozen=True)
class Spread:
    """How lengths are spread: percentiles interpolated linearly."""

    min: float
    p10: float
    p50: float
    p90: float
    max: float
    mean: float


@dataclass(frozen=True)
class Openers:
    """The first `words` words of the answers that have any. `entropy` is Shannon's, in bits; `most_common` are the five
    most frequent with their share, equal ones in alphabetical order. A shorter answer is its own opener."""

    words: int
    distinct: int
    entropy: float
    most_common: tuple[tuple[str, float], ...]

    @property
    def effective(self) -> float:
        """How many equally common openers have this entropy: 1 where all answers begin alike."""
        return float(2**self.entropy)


@dataclass(frozen=True)
class PilotStatistics:
    """What is measured of a pilot's answers; shares lie between 0 and 1, None is what could not be measured.

    answers, empty: how many there are, and how many of them hold no word.
    openers: by number of words, 3 to 8.
    words, tokens: lengths over all answers, empty ones included.
    histogram: (left edge, answers) of the lengths in words, bins of 10 words, empty bins left out.
    finish_reasons: (reason, share of all answers), the most common first; `unknown` where the engine told none.
    distinct: distinct-1 to distinct-4, distinct n-grams over all n-grams (after Li et al. 2016, who divide by words).
        It falls as text grows, so only the first 200 words of each answer are read; `distinct_words` says how many
        words those were, and figures over unlike amounts are not comparable.
    self_bleu: mean BLEU-4 of each answer against all the others (Zhu et al. 2018, Texygen), of the first 200 words of
        at most 200 answers, evenly spread; missing n-gram orders smoothed by method 1 of Chen and Cherry (2014).
        0: nothing in common, 1: all the same. None below two answers with words.
    compression: bytes of all answers over their bytes after zlib (level 9; after Shaib et al. 2024). Higher is more
        redundant. zlib looks back 32 KiB, some seven answers of 800 words: it sees what neighbours share.
    copied_mean, copied_share: share of an answer's distinct word 5-grams that stand in its extract, as a mean, and the
        share of answers above .25; over the `copied_of` answers that have words and an extract.
    refusals: share of all answers with a phrase by which a model refuses or speaks of itself.
    stock_openers: (phrase, share) of `STOCK_OPENERS` that answers with words begin with, the most common first.
    """

    answers: int
    empty: int
    openers: tuple[Openers, ...]
    words: Spread | None
    tokens: Spread | None
    histogram: tuple[tuple[int, int], ...]
    finish_reasons: tuple[tuple[str, float], ...]
    distinct: tuple[float | None, ...]
    distinct_words: int
    self_bleu: float | None
    compression: float | None
    copied_of: int
    copied_mean: float | None
    copied_share: float | None
    refusals: float | None
    stock_openers: tuple[tuple[str, float], ...]

    @property
    def stock_share(self) -> float | None:
        """Share of the answers with words that begin with any stock phrase."""
        return sum(share for _, share in self.stock_openers) if self.answers > self.empty else None

    def as_json(self) -> dict[str, Any]:
        """The figures as JSON types, under the names of the fields."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def measure_pilot(answers: Sequence[Answer]) -> PilotStatistics:
    """Measure the answers of one pilot.

    Cost: linear in the words of answers and extracts, but for sorting the n-grams of the first 200 words of each
    answer (n log n). Self-BLEU is exact and does not compare pairs of answers. 200 answers of 600 words take 0.5 s.
    """
    words = [words_of(answer.text) for answer in answers]
    spoken = [found for found in words if found]
    lengths = Counter(HISTOGRAM_WORDS * (len(found) // HISTOGRAM_WORDS) for found in words)
    overlaps = [
        _overlap(found, extract)
        for found, answer in zip(words, answers, strict=True)
        if found and (extract := words_of(answer.extract))
    ]
    heads = [found[:COMPARED_WORDS] for found in spoken]
    return PilotStatistics(
        answers=len(answers),
        empty=len(words) - len(spoken),
        openers=tuple(_openers(spoken, number) for number in OPENERS),
        words=_spread([len(found) for found in words]),
        tokens=_spread([answer.tokens for answer in answers]),
        histogram=tuple(sorted(lengths.items())),
        finish_reasons=_shares(answer.finish_reason or "unknown" for answer in answers),
        distinct=_distinct(heads),
        distinct_words=sum(map(len, heads)),
        self_bleu=_self_bleu(heads),
        compression=_compression([answer.text for answer, found in zip(answers, words, strict=True) if found]),
        copied_of=len(overlaps),
        copied_mean=_mean(overlaps),
        copied_share=_mean([overlap > COPIED for overlap in overlaps]),
        refusals=_mean([_REFUSAL.search(answer.text) is not None for answer in answers]),
        stock_openers=_stock_openers(spoken),
    )


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation."""
    return _WORD.findall(text.lower())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _shares(names: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Names with their shares, the most common first, equal ones in alphabetical order."""
    counts = Counter(names)
    whole = counts.total()
    return tuple((name, count / whole) for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _spread(lengths: Sequence[int]) -> Spread | None:
    if not lengths:
        return None
    return Spread(*map(float, [*np.percentile(lengths, (0, 10, 50, 90, 100)), np.mean(lengths)]))


def _openers(texts: Sequence[Sequence[str]], number: int) -> Openers:
    shares = _shares(" ".join(words[:number]) for words in texts)
    of_each = np.array([share for _, share in shares])
    entropy = float(0.0 - (of_each * np.log2(of_each)).sum())  # a plain minus gives -0.0 where all are the same
    return Openers(number, len(shares), entropy, shares[:MOST_COMMON])


def _stock_openers(texts: Sequence[Sequence[str]]) -> tuple[tuple[str, float], ...]:
    phrases = [(phrase, words_of(phrase)) for phrase in STOCK_OPENERS]
    counts = Counter(phrase for words in texts for phrase, stock in phrases if words[: len(stock)] == stock)
    return tuple((phrase, count / len(texts)) for phrase, count in counts.most_common())


def _overlap(words: Sequence[str], extract: Sequence[str]) -> float:
    """Share of distinct 5-grams that stand in the extract; 0 where a text has none, as in the quality rules."""
    grams = _five_grams(words)
    return len(grams & _five_grams(extract)) / len(grams) if grams else 0.0


def _five_grams(words: Sequence[str]) -> set[tuple[str, ...]]:
    return set(zip(*(words[start:] for start in range(COPY_GRAM)), strict=False))


def _compression(texts: Sequence[str]) -> float | None:
    joined = "\n".join(texts).encode("utf-8", errors="surrogatepass")
    return len(joined) / len(zlib.compress(joined, 9)) if joined else None


@dataclass(frozen=True)
class _Grams:
    """The n-grams of several texts in order: the text of each, and a number that equal n-grams share."""

    texts: _Ints
    numbers: _Ints


def _grams(texts: Sequence[Sequence[str]], orders: int) -> list[_Grams]:
    """The n-grams of every order up to `orders`. An n-gram is an (n-1)-gram and a word, numbered anew each time, so
    that numbers stay below the count of words and their products fit 64 bits."""
    vocabulary: dict[str, int] = {}
    flat = [vocabulary.setdefault(word, len(vocabulary)) for words in texts for word in words]
    words = np.array(flat, dtype=np.int64)
    owner = np.repeat(np.arange(len(texts)), [len(words) for words in texts]).astype(np.int64)
    numbers, found = words, [_Grams(owner, words)]
    for order in range(2, orders + 1):
        joined = numbers[:-1] * len(vocabulary) + words[order - 1 :]
        numbers = np.unique(joined, return_inverse=True)[1].astype(np.int64) if len(joined) else joined
        inside = owner[: len(numbers)] == owner[order - 1 :]
        found.append(_Grams(owner[: len(numbers)][inside], numbers[inside]))
    return found


def _distinct(texts: Sequence[Sequence[str]]) -> tuple[float | None, ...]:
    return tuple(
        len(np.unique(grams.numbers)) / len(grams.numbers) if len(grams.numbers) else None
        for grams in _grams(texts, _BLEU_GRAMS)
    )


def _self_bleu(texts: Sequence[Sequence[str]]) -> float | None:
    """Mean BLEU-4 of each text against the others: modified precisions, closest reference length, brevity penalty
    (Papineni et al. 2002), as `nltk.translate.bleu_score.sentence_bleu` has them with smoothing method 1."""
    count = min(len(texts), SELF_BLEU_ANSWERS)
    if count < 2:
        return None
    texts = [texts[number * len(texts) // count] for number in range(count)]
    lengths = np.array([len(words) for words in texts])
    logs = np.zeros(count)
    nothing_shared = np.zeros(count, dtype=bool)
    for order, grams in enumerate(_grams(texts, _BLEU_GRAMS), start=1):
        matched = _matches(grams, count)
        nothing_shared |= (matched == 0) & (order == 1)
        logs += np.log(np.where(matched > 0, matched, _EPSILON) / np.maximum(lengths - order + 1, 1)) / _BLEU_GRAMS
    gaps = np.abs(lengths[:, None] - lengths[None, :]) * (int(lengths.max()) + 1) + lengths[None, :]
    np.fill_diagonal(gaps, np.iinfo(gaps.dtype).max)
    closest = lengths[gaps.argmin(axis=1)]  # of two that are as close, the shorter
    penalty = np.minimum(1 - closest / lengths, 0)
    return float(np.where(nothing_shared, 0.0, np.exp(logs + penalty)).mean())


def _matches(grams: _Grams, count: int) -> npt.NDArray[np.float64]:
    """For each text, how many of its n-grams the others hold, each counted at most as often as the one of them that
    holds it most often does. That is the largest count of all texts, or the second largest for the text that has the
    largest: no pair of texts is compared."""
    size = int(grams.numbers.max(initial=0)) + 1
    pairs, times = np.unique(grams.texts * size + grams.numbers, return_counts=True)
    owner, number = pairs // size, pairs % size
    order = np.lexsort((-times, number))
    owner, number, times = owner[order], number[order], times[order]
    first = np.ones(len(number), dtype=bool)
    first[1:] = number[1:] != number[:-1]
    start = np.flatnonzero(first)
    largest = times[start][np.cumsum(first) - 1]
    second = np.zeros_like(times)
    second[:-1] = np.where(first[1:], 0, times[1:])
    most = np.where(first, second, largest)
    return np.bincount(owner, weights=np.minimum(times, most), minlength=count).astype(np.float64)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
