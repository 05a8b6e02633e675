"""How much a text says: three measures that rows of numbers, markup and endless repetition fail.

Belongs here: measuring one text. Does not belong here: bounds (the recipe's seed policy) and decisions (`rows`).
"""

import zlib
from dataclasses import dataclass

from cosmo_assets.recipe.sources import SeedPolicy
from cosmo_assets.seeds.cleaning import FORMULA

MEASURED_CHARS = 200
"""Shorter texts are not measured: in a title one year or one acronym would decide."""


@dataclass(frozen=True)
class Information:
    """`alphabetic_words`: share of the words (what stands between spaces) with at least one letter. `word_chars`: mean
    length of a word. Both are rules of Gopher (Rae et al. 2021, appendix A.1.1: at least 0.8, 3 to 10); formulas count
    for neither. `compression`: bytes of the text by bytes of it under zlib, a measure of repetition (Shaib et al.
    2024, arXiv:2403.00553); English prose has 1.5 to 3."""

    alphabetic_words: float
    word_chars: float
    compression: float


def information(text: str) -> Information:
    """The measures of a text. Cost: linear, about 20 MB a second."""
    words = FORMULA.sub(" ", text).split()
    raw = text.encode("utf-8")
    return Information(
        alphabetic_words=sum(any(map(str.isalpha, word)) for word in words) / len(words) if words else 0.0,
        word_chars=sum(map(len, words)) / len(words) if words else 0.0,
        compression=len(raw) / len(zlib.compress(raw, 6)),
    )


def too_little(text: str, policy: SeedPolicy) -> str | None:
    """Which measure of a text is out of the policy's bounds, and its value; None where all are within."""
    if len(text) < MEASURED_CHARS:
        return None
    found = information(text)
    shortest, longest = policy.word_chars
    if found.alphabetic_words < policy.min_alphabetic_words:
        return f"{found.alphabetic_words:.0%} of its words have a letter"
    if not shortest <= found.word_chars <= longest:
        return f"{found.word_chars:.1f} characters a word"
    if found.compression > policy.max_compression:
        return f"compresses {found.compression:.1f} times"
    return None
