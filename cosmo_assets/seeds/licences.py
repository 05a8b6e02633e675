"""The licence policy: which licences may become prompts, and why not.

Belongs here: the recipe's patterns applied to a licence. Does not belong here: where a licence comes from (`readers`),
or what is done with the seeds that are refused (`cosmo_assets.prompts`).
"""

import fnmatch
import re
from functools import cache

from cosmo_assets.recipe import LicencePolicy

DENIED = "licence_denied"
"""The reason by which a seed is dropped whose licence the policy does not allow."""

UNSTATED = frozenset({"", "none", "noassertion"})
"""No licence at all, and SPDX's two words for it: allowed by no policy."""

_TOKEN = re.compile(r"\s*(\(|\)|\b(?:AND|OR)\b)\s*")


@cache
def refusal(licence: str, policy: LicencePolicy) -> str | None:
    """Why a licence is not allowed, or None where it is.

    Rules in order: no licence is stated; a pattern of `deny` matches; `allow` names patterns and none matches, in
    which case `unlisted` decides. Patterns are shell globs, case-insensitive. An SPDX expression is taken apart: of
    `A OR B` one must be allowed, of `A AND B` both; `A WITH B` is one name. A text that is no such expression is one
    name.
    """
    try:
        tokens = [token.strip() for token in _TOKEN.split(licence) if token.strip()]
        found, rest = _alternatives(tokens, policy)
        if not rest:
            return found
    except IndexError:
        pass
    return _name(licence, policy)


def _alternatives(tokens: list[str], policy: LicencePolicy) -> tuple[str | None, list[str]]:
    found, rest = _conjunction(tokens, policy)
    while rest and rest[0] == "OR":
        other, rest = _conjunction(rest[1:], policy)
        found = None if found is None or other is None else found
    return found, rest


def _conjunction(tokens: list[str], policy: LicencePolicy) -> tuple[str | None, list[str]]:
    found, rest = _operand(tokens, policy)
    while rest and rest[0] == "AND":
        other, rest = _operand(rest[1:], policy)
        found = found or other
    return found, rest


def _operand(tokens: list[str], policy: LicencePolicy) -> tuple[str | None, list[str]]:
    """One name, or an expression in brackets. Tokens that make no expression raise IndexError, or leave a rest."""
    if tokens[0] == "(":
        found, rest = _alternatives(tokens[1:], policy)
        if rest[0] != ")":
            raise IndexError
        return found, rest[1:]
    if tokens[0] in (")", "AND", "OR"):
        raise IndexError
    return _name(tokens[0], policy), tokens[1:]


def _name(licence: str, policy: LicencePolicy) -> str | None:
    name = " ".join(licence.split()).casefold()
    if name in UNSTATED:
        return "no licence is stated"
    for pattern in policy.deny:
        if fnmatch.fnmatchcase(name, pattern.casefold()):
            return f"denied by {pattern}"
    if any(fnmatch.fnmatchcase(name, pattern.casefold()) for pattern in policy.allow):
        return None
    return None if policy.unlisted == "allow" else "not listed"
