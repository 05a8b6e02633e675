"""What a corpus lacks of each domain, where trainings of small models say in which shares its domains are best.

Belongs here: the arithmetic. Does not belong here: the shares and their file (`cosmo_assets.composition`), how many
tokens are enough in all (`repetition`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil

from cosmo_assets.composition.answer import Weight
from cosmo_resources.errors import CosmoError


@dataclass(frozen=True)
class Lack:
    """What a domain has, and how many unique tokens more it should have by its share, and by the ends of the share's
    interval."""

    weight: Weight
    there: int
    tokens: int
    least: int
    most: int


def tokens_of(domains: Collection[str], *facets: Mapping[str, int]) -> dict[str, int]:
    """The unique tokens of the domains, by the first facet (topics, sources) that has all of them.

    Raises:
        CosmoError: none has all.
    """
    for facet in facets:
        if all(name in facet for name in domains):
            return {name: facet[name] for name in domains}
    known = max(facets, key=lambda facet: sum(name in facet for name in domains))
    unknown = next(name for name in domains if name not in known)
    there = ", ".join(sorted(known)[:12]) or "none known"
    raise CosmoError(
        f"--weights: {unknown!r} is not among the domains of the corpus: {there}",
        remedy="name domains as the topics of the corpus, or as its sources; they are known once there is a token "
        "index (cosmo run), and without --tokens-available",
    )


def lacks(weights: Mapping[str, Weight], there: Mapping[str, int], enough: float) -> dict[str, Lack]:
    """What each domain lacks, those that lack most first.

    A training that repeats `enough` unique tokens in all, drawn in the best shares, repeats each domain as often where
    each has its share of them. What a domain has beyond that serves no other: the sum may be more than the corpus
    lacks in all.
    """

    def missing(name: str, share: float) -> int:
        return max(0, ceil(share * enough) - there[name])

    found = {
        name: Lack(weight, there[name], *(missing(name, share) for share in (weight.value, weight.low, weight.high)))
        for name, weight in weights.items()
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1].tokens, item[0])))
