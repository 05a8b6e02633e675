"""Licences as sources state them: by address, by short name, in words.

Belongs here: one name for one licence, the SPDX identifier. Does not belong here: which licences a corpus may use (the
recipe's policy), or where a format states one (its reader).
"""

import re
from collections.abc import Callable, Iterable

_VERSION = r"(?:v(?:ersion\s*)?)?(?P<version>\d\.\d)"
_ADDRESS = re.compile(
    r"(?:https?:)?(?://)?(?:www\.)?creativecommons\.org/(?:licenses/(?P<kind>[a-z-]+)|publicdomain/(?P<public>zero|mark))"
    r"/(?P<version>\d\.\d)[\w./-]*"
)
_CERTIFICATION = re.compile(r"(?:https?:)?(?://)?(?:www\.)?creativecommons\.org/licenses/publicdomain[\w./-]*")
_LISTED = re.compile(
    r"(?:https?:)?(?://)?(?:www\.)?(?:opensource\.org/licenses?|spdx\.org/licenses)/(?P<name>[a-z0-9.+-]+)"
)
_PORT = r"(?:[\s_-]+(?:international|intl|unported|universal))?"
_SHORT = re.compile(rf"cc[\s_-]*(?P<kind>by(?:[\s_-]+(?:nc|nd|sa))*)[\s_-]+{_VERSION}{_PORT}")
_ZERO = re.compile(rf"cc[\s_-]*0[\s_-]*{_VERSION}{_PORT}")
_PART = r"(?:non-?\s?commercial|no-?\s?deriv(?:ative)?s|share-?\s?alike)"
_WORDS = re.compile(
    rf"\b(?P<kind>(?:{_PART}[\s,-]{{1,3}}){{0,3}}attribution(?:[\s,-]{{1,3}}{_PART}){{0,3}})[\s,]{{1,3}}{_VERSION}"
)
_USUAL = re.compile(
    r"\b(?:except where|unless) otherwise (?:noted|stated|indicated|specified)\b|\bother than as noted\b"
)
"""Words that limit every licence, and so none."""
_DENIED = re.compile(
    r"\b(?:not?|non|never|neither|nor|except\w*|exclu\w*|unless|without|instead|formerly|previously|proprietary|nc|nd|sa"
    r"|attribution|all rights)\b|non-?\s?commercial|no-?\s?deriv|share-?\s?alike"
)
_SCOPED = re.compile(r"\b(?:some|parts?|portions?|images?|figures?|photos?|photographs?|code|other\w*)\b")
"""Words beside a licence that may turn what is said of it, or say that it is not that of everything."""
_PARTS = {"noncommercial": "NC", "noderivs": "ND", "noderivatives": "ND", "sharealike": "SA", "attribution": "BY"}
_PROPER = {
    name.lower(): name
    for name in (
        *("Apache-2.0", "MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0", "Unlicense", "ODbL-1.0", "PDDL-1.0"),
        *("ODC-By-1.0", "GFDL-1.2", "GFDL-1.3", "GPL-2.0", "GPL-3.0", "LGPL-3.0", "AGPL-3.0"),
    )
}
"""Identifiers of licences that texts and their data sets come under, by their lower-case form (as hubs write them)."""


def licence_name(stated: str) -> str | None:
    """The SPDX identifier of a licence ("CC-BY-NC-SA-4.0") that is stated by its address, its short name in any case
    ("cc-by-4.0", "CC BY 4.0"), or the words of its title ("Attribution 4.0 International"); None for what is none of
    these, what names several, or whose other words leave doubt ("not Attribution 4.0"). The jurisdiction of a ported
    licence is left out, as is the language of its deed."""
    names, doubtful = _named(stated)
    return names[0] if len(names) == 1 and not doubtful else None


def stated_licence(stated: str) -> str:
    """A licence by its SPDX identifier, several as an expression in which each must be kept to, or else as the source
    has it: what is not recognised is not taken for another. White space is collapsed."""
    return recognised(stated) or " ".join(stated.split())


def recognised(stated: str) -> str | None:
    """As `stated_licence`, but None for what is not recognised."""
    names, doubtful = _named(stated)
    return None if doubtful else all_of(names)


def _named(stated: str) -> tuple[list[str], bool]:
    """The identifiers of the licences that a text names, in order, and whether its other words leave in doubt what of
    that holds."""
    text = " ".join(stated.lower().split())
    if match := _SHORT.fullmatch(text):
        return [f"CC-{re.sub('[^a-z]+', '-', match['kind']).upper()}-{match['version']}"], False
    if match := _ZERO.fullmatch(text):
        return [f"CC0-{match['version']}"], False
    if text in _PROPER:
        return [_PROPER[text]], False
    found: dict[int, str] = {}
    for pattern, name_of in _PATTERNS:
        found |= {match.start(): name_of(match) for match in pattern.finditer(text)}
    rest = text
    for pattern, _ in _PATTERNS:
        rest = pattern.sub(" ", rest)
    names = list(dict.fromkeys(found[start] for start in sorted(found)))
    rest = _USUAL.sub(" ", rest)
    return names, bool(_DENIED.search(rest) or (len(names) == 1 and _SCOPED.search(rest)))


def _commons(match: re.Match[str]) -> str:
    if match["public"]:
        return f"{'CC0' if match['public'] == 'zero' else 'CC-PDM'}-{match['version']}"
    return f"CC-{match['kind'].upper()}-{match['version']}"


def _listed(match: re.Match[str]) -> str:
    name = match["name"].removesuffix(".html").removesuffix(".php").rstrip(".")
    return _PROPER.get(name, name.upper())


def _in_words(match: re.Match[str]) -> str:
    """The parts of a Creative Commons title in their usual order: BY, NC, then ND or SA."""
    bare = re.sub(r"[\s,-]+", "", match["kind"])
    found = {short for word, short in _PARTS.items() if word in bare}
    return f"CC-{'-'.join(part for part in ('BY', 'NC', 'ND', 'SA') if part in found)}-{match['version']}"


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_ADDRESS, _commons),
    (_CERTIFICATION, lambda match: "CC-PDDC"),
    (_LISTED, _listed),
    (_WORDS, _in_words),
)


def all_of(licences: Iterable[str]) -> str | None:
    """The SPDX expression of what comes under several licences at once, None of none: each of them must be kept to.
    Of one among several, brackets that do not pair become square, so that it stays one operand."""
    names = list(dict.fromkeys(licences))
    return " AND ".join(map(_operand, names) if len(names) > 1 else names) or None


def _operand(name: str) -> str:
    depth = 0
    for bracket in re.findall(r"[()]", name):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            break
    if depth:
        name = name.replace("(", "[").replace(")", "]")
    return f"({name})" if " OR " in name else name
