"""Quality of a generated text: measurements, and the rules that they are held against.

Belongs here: what can be told from one text and its prompt. Does not belong here: comparing documents with one another
(`deduplication`) or with benchmarks (`decontamination`).
"""

import re
from dataclasses import dataclass

from cosmo_assets.generation.marks import GRAM, grams_of, repetition, words_of
from cosmo_assets.prompts.templates import OutputChecks
from cosmo_assets.recipe.generation import QualityPolicy
from cosmo_assets.seeds.cleaning import language_of

_BOILERPLATE = re.compile(
    r"as an ai\b|as a language model|i cannot (?:fulfil|assist|help)|i['’]m sorry, (?:but )?i can(?:no|['’])t"
    r"|here(?:['’]s| is) (?:a|an|the|your) (?:\w+ ){0,6}(?:based on|that meets|as requested|you requested|you asked)"
    r"|\bextract (?:above|below|provided)|\[(?:your|insert)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Measures:
    """What is measured of a text. `repetition`: share of word 5-grams that stood in it before (after Gopher, Rae et al.
    2021, appendix A1.1); `seed_overlap`: share of its 5-grams that stand in its prompt; `boilerplate`: the first
    phrase of a model speaking of itself or its task; `opener`: its first five words."""

    words: int
    repetition: float
    seed_overlap: float
    language: str
    boilerplate: str | None
    opener: str


def measure(text: str, prompt: str) -> Measures:
    """Measure one text. Cost: linear in its length and its prompt's."""
    words = words_of(text)
    grams = grams_of(words)
    distinct = set(grams)
    shared = len(distinct & set(grams_of(words_of(prompt))))
    found = _BOILERPLATE.search(text)
    return Measures(
        words=len(words),
        repetition=round(repetition(grams), 4),
        seed_overlap=round(shared / len(distinct), 4) if distinct else 0.0,
        language=language_of(text)[0],
        boilerplate=found.group(0) if found else None,
        opener=" ".join(words[:GRAM]),
    )


def broken_rules(measures: Measures, finish_reason: str | None, policy: QualityPolicy) -> list[str]:
    """The rules that a text breaks, in a fixed order; the first one is the one that is counted."""
    rules = {
        "empty": measures.words == 0,
        "too_short": measures.words < policy.min_words,
        "language": measures.words > 0 and measures.language not in policy.languages,
        "repetitive": measures.repetition > policy.max_repetition,
        "boilerplate": measures.boilerplate is not None,
        "copies_seed": measures.seed_overlap > policy.max_seed_overlap,
        "truncated": policy.drop_truncated and finish_reason == "length",
    }
    return [name for name, broken in rules.items() if broken]


def broken_checks(text: str, words: int, checks: OutputChecks) -> list[str]:
    """The checks of its template that a text breaks, in a fixed order."""

    def stands(pattern: str) -> bool:
        return re.search(pattern, text, re.IGNORECASE | re.MULTILINE) is not None

    found = {
        "template_too_short": words < checks.min_words,
        "template_too_long": checks.max_words is not None and words > checks.max_words,
        "template_form": not all(map(stands, checks.matches)),
        "template_forbidden": any(map(stands, checks.lacks)),
    }
    return [name for name, broken in found.items() if broken]
