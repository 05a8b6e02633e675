"""The licence policy: which licences may become prompts, and why not.

Belongs here: the recipe's patterns applied to a licence. Does not belong here: where a licence comes from (`readers`),
or what is done with the seeds that are refused (`cosmo_assets.prompts`).
"""

import fnmatch
import re
from dataclasses import dataclass, field
from functools import lru_cache

from cosmo_assets.recipe.sources import LicencePolicy

DENIED = "licence_denied"
"""The reason by which a seed is dropped whose licence the policy does not allow."""

UNSTATED = frozenset({"", "none", "noassertion"})
"""No licence at all, and SPDX's two words for it: allowed by no policy."""

_TOKEN = re.compile(r"([()]|(?<![^\s()])(?:AND|OR)(?![^\s()]))")
_EXCEPTION = re.compile(r"\S+ with \S+")
_ENUMERATION = re.compile(r"\s+(?:and|or)\s+|\s*[,;&/|+]\s+|\s+[,;&/|+]\s*")
_WORD = re.compile(r"[^\s,;&/|+()\[\]\"']+")


class _NoExpressionError(Exception):
    """Names and operators that make no SPDX expression."""


@lru_cache(maxsize=10_000)
def refusal(licence: str, policy: LicencePolicy) -> str | None:
    """Why a licence is not allowed, or None where it is.

    Rules in order: no licence is stated; a pattern of `deny` matches; `allow` names patterns and none matches, in
    which case `unlisted` decides. Patterns are shell globs, case-insensitive. An SPDX expression is taken apart: of
    `A OR B` one must be allowed, of `A AND B` both; `A WITH B` is one name. Of a name in words, `deny` looks at each
    word too, and where it is an enumeration (with "and", "or", commas) each part must be allowed.

    A text that has operators or brackets and is no such expression is refused by every policy with a pattern, or with
    `unlisted: deny`, unless `allow` has it word for word. Cost: linear in the text.
    """
    tokens = [token.strip() for token in _TOKEN.split(licence) if token.strip()]
    try:
        return _evaluated(tokens, policy)
    except _NoExpressionError:
        return _unreadable(licence, tokens, policy)


@dataclass
class _Level:
    """What is known of an expression between two brackets: the refusal of each alternative, of the last one so far."""

    alternatives: list[str | None] = field(default_factory=lambda: [None])

    def take(self, found: str | None) -> None:
        self.alternatives[-1] = self.alternatives[-1] or found

    def result(self) -> str | None:
        return None if None in self.alternatives else self.alternatives[0]


def _evaluated(tokens: list[str], policy: LicencePolicy) -> str | None:
    """The refusal of an expression; without recursion, for brackets may be nested thousands deep.

    Raises:
        _NoExpressionError: the tokens make none.
    """
    levels = [_Level()]
    operand_next = True
    if not tokens:
        return _name("", policy)
    for part in tokens:
        if operand_next and part == "(":
            levels.append(_Level())
        elif operand_next and part not in (")", "AND", "OR"):
            levels[-1].take(_name(part, policy))
            operand_next = False
        elif not operand_next and part == ")" and len(levels) > 1:
            inner = levels.pop()
            levels[-1].take(inner.result())
        elif not operand_next and part in ("AND", "OR"):
            if part == "OR":
                levels[-1].alternatives.append(None)
            operand_next = True
        else:
            raise _NoExpressionError
    if operand_next or len(levels) > 1:
        raise _NoExpressionError
    return levels[0].result()


def _unreadable(licence: str, tokens: list[str], policy: LicencePolicy) -> str | None:
    """The refusal of a text whose operators or brackets make no expression."""
    whole = _folded(licence)
    if denied := _denied(whole, policy) or next(
        filter(None, (_denied(_folded(part), policy) for part in tokens)), None
    ):
        return denied
    if whole in map(_folded, policy.allow) or not (policy.deny or policy.allow or policy.unlisted == "deny"):
        return None
    return "no SPDX expression: what holds cannot be told"


def _name(licence: str, policy: LicencePolicy) -> str | None:
    name = _folded(licence)
    if name in UNSTATED:
        return "no licence is stated"
    if denied := _denied(name, policy):
        return denied
    if name in map(_folded, policy.allow):
        return None
    parts = [part for part in _ENUMERATION.split(name) if part]
    if all(any(fnmatch.fnmatchcase(part, pattern.casefold()) for pattern in policy.allow) for part in parts):
        return None
    return None if policy.unlisted == "allow" else "not listed"


def _denied(name: str, policy: LicencePolicy) -> str | None:
    """The pattern that denies a name, or a word of one that is more than an identifier."""
    words = [] if _EXCEPTION.fullmatch(name) else _WORD.findall(name)
    for pattern in policy.deny:
        if any(fnmatch.fnmatchcase(text, pattern.casefold()) for text in (name, *words)):
            return f"denied by {pattern}"
    return None


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
