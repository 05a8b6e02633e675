"""Marks of an answer: what is wrong with it on its face. A marked answer is stored like any other.

Belongs here: what can be told from the answer alone, cheaply, on the machine that got it. Does not belong here: whether
it is kept (`cosmo_assets.quality`), or counting (`worker`, `checks`).
"""

import re
from collections.abc import Sequence

GRAM = 5
REPETITIVE = 0.35
"""Share of repeated word 5-grams above which an answer is marked; the default of the recipe's `quality.max_repetition`,
which decides."""
OPENING = 300
"""Characters from the start in which a refusal is looked for: further on, the words are those of a text."""

MARKS = ("truncated", "empty", "refusal", "repetitive")

_WORD = re.compile(r"\w+", re.UNICODE)
_REFUSAL = re.compile(
    r"\bi(?:['’]m| am) (?:sorry|unable|not able|afraid)\b|\bi (?:can(?:no|['’])t|cannot|won['’]t|will not) "
    r"(?:assist|help|provide|create|generate|write|fulfil|comply|answer|complete)"
    r"|\bas an ai\b|\bas a (?:large )?language model\b",
    re.IGNORECASE,
)


def marks_of(text: str, finish_reason: str | None) -> list[str]:
    """The marks of an answered text, in the order of `MARKS`: `truncated` (cut off by the token limit), `empty` (no
    word), `refusal` (the model says that it will not), `repetitive` (see `repetition`). Cost: linear in the text."""
    words = words_of(text)
    found = {
        "truncated": finish_reason == "length",
        "empty": not words,
        "refusal": _REFUSAL.search(text, 0, OPENING) is not None,
        "repetitive": repetition(grams_of(words)) > REPETITIVE,
    }
    return [name for name in MARKS if found[name]]


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def grams_of(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(GRAM)), strict=False))


def repetition(grams: Sequence[tuple[str, ...]]) -> float:
    """Share of a text's word 5-grams that stood in it before (after Gopher, Rae et al. 2021, appendix A1.1)."""
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
