"""Licences as sources state them: by address, by short name, in words.

Belongs here: one name for one licence, the SPDX identifier. Does not belong here: which licences a corpus may use (the
recipe's policy), or where a format states one (its reader).
"""

import re
from collections.abc import Iterable

_VERSION = r"(?:v(?:ersion\s*)?)?(?P<version>\d\.\d)"
_CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>[a-z-]+)|publicdomain/(?P<public>zero|mark))/(?P<version>\d\.\d)"
)
_LISTED = re.compile(r"(?:opensource\.org/licenses?|spdx\.org/licenses)/(?P<name>[a-z0-9.+-]+)")
_PORT = r"(?:[\s_-]+(?:international|intl|unported|universal))?"
_SHORT = re.compile(rf"cc[\s_-]*(?P<kind>by(?:[\s_-]+(?:nc|nd|sa))*)[\s_-]+{_VERSION}{_PORT}")
_ZERO = re.compile(rf"cc[\s_-]*0[\s_-]*{_VERSION}{_PORT}")
_WORDS = re.compile(
    rf"\b(?P<kind>attribution(?:[\s-]+(?:non-?\s?commercial|no-?\s?deriv(?:ative)?s|share-?\s?alike))*)[\s,]+{_VERSION}"
)
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
    these. The jurisdiction of a ported licence is left out, as is the language of its deed."""
    text = " ".join(stated.lower().split())
    if match := _CREATIVE_COMMONS.search(text):
        if match["public"]:
            return f"{'CC0' if match['public'] == 'zero' else 'CC-PDM'}-{match['version']}"
        return f"CC-{match['kind'].upper()}-{match['version']}"
    if "creativecommons.org/licenses/publicdomain" in text:
        return "CC-PDDC"
    if match := _LISTED.search(text):
        name = match["name"].removesuffix(".html").removesuffix(".php").rstrip(".")
        return _PROPER.get(name, name.upper())
    if match := _SHORT.fullmatch(text):
        return f"CC-{re.sub('[^a-z]+', '-', match['kind']).upper()}-{match['version']}"
    if match := _ZERO.fullmatch(text):
        return f"CC0-{match['version']}"
    if match := _WORDS.search(text):
        return f"CC-{_in_words(match['kind'])}-{match['version']}"
    return _PROPER.get(text)


def stated_licence(stated: str) -> str:
    """A licence by its SPDX identifier, or else as its source has it: what is not recognised is not taken for another.
    White space is collapsed."""
    return licence_name(stated) or " ".join(stated.split())


def all_of(licences: Iterable[str]) -> str | None:
    """The SPDX expression of what comes under several licences at once, None of none: each of them must be kept to."""
    names = list(dict.fromkeys(licences))
    return " AND ".join(f"({name})" if len(names) > 1 and " OR " in name else name for name in names) or None


def _in_words(title: str) -> str:
    """The parts of a Creative Commons title in their usual order: BY, NC, then ND or SA."""
    bare = re.sub(r"[\s,-]+", "", title)
    found = {short for word, short in _PARTS.items() if word in bare}
    return "-".join(part for part in ("BY", "NC", "ND", "SA") if part in found)
