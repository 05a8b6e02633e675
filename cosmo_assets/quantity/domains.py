"""What a corpus lacks of each domain, where trainings of small models say in which shares its domains are best.

Belongs here: the file of these shares, the arithmetic. Does not belong here: how shares are found
(`cosmo_assets.composition`), how many tokens are enough in all (`repetition`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import pydantic

from cosmo_resources.errors import CosmoError

_FORM = 'write {"domains": [{"name": "web", "optimum": 0.6, "low": 0.5, "high": 0.7}, ...]}, with optima that sum to 1'
SUM_OFF = 0.001
"""By so much the optima may miss 1: they may be rounded."""


class Domain(pydantic.BaseModel):
    """A domain of the corpus, a topic or a source, and its best share of a training with a 95 % interval."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    name: str
    optimum: float = pydantic.Field(ge=0, le=1)
    low: float = pydantic.Field(ge=0, le=1)
    high: float = pydantic.Field(ge=0, le=1)


class _Optimum(pydantic.BaseModel):
    domains: tuple[Domain, ...] = pydantic.Field(min_length=1)


@dataclass(frozen=True)
class Lack:
    """What a domain has, and how many unique tokens more it should have by its share, and by the ends of the share's
    interval."""

    domain: Domain
    there: int
    tokens: int
    least: int
    most: int


def read_domains(path: Path) -> tuple[Domain, ...]:
    """The domains of a file, in its order.

    Raises:
        CosmoError: it cannot be read, a field is missing or wrong, a name stands there twice, or the optima do not sum
            to 1.
    """
    try:
        found = _Optimum.model_validate(json.loads(path.read_text(encoding="utf-8"))).domains
    except OSError as error:
        raise CosmoError(f"{path} cannot be read: {error}", remedy="name a file of weights of domains") from error
    except pydantic.ValidationError as error:
        wrong = error.errors()[0]
        raise CosmoError(f"{path}, {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", remedy=_FORM) from error
    except ValueError as error:
        raise CosmoError(f"{path}: no JSON ({error})", remedy=_FORM) from error
    names = [domain.name for domain in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CosmoError(f"{path}: {twice[0]} stands there twice", remedy=_FORM)
    if abs((total := sum(domain.optimum for domain in found)) - 1) > SUM_OFF:
        raise CosmoError(f"{path}: the optima sum to {total:g}", remedy=_FORM)
    return found


def tokens_of(domains: Sequence[Domain], *facets: Mapping[str, int]) -> dict[str, int]:
    """The unique tokens of the domains, by the first facet (topics, sources) that has all of them.

    Raises:
        CosmoError: none has all.
    """
    names = [domain.name for domain in domains]
    for facet in facets:
        if all(name in facet for name in names):
            return {name: facet[name] for name in names}
    known = max(facets, key=lambda facet: sum(name in facet for name in names))
    unknown = next(name for name in names if name not in known)
    there = ", ".join(sorted(known)[:12]) or "none known"
    raise CosmoError(
        f"--weights: {unknown!r} is not among the domains of the corpus: {there}",
        remedy="name domains as the topics of the corpus, or as its sources; they are known once there is a token "
        "index (cosmo run), and without --tokens-available",
    )


def lacks(domains: Sequence[Domain], there: Mapping[str, int], enough: float) -> list[Lack]:
    """What each domain lacks, those that lack most first.

    A training that repeats `enough` unique tokens in all, drawn in the best shares, repeats each domain as often where
    each has its share of them. What a domain has beyond that serves no other: the sum may be more than the corpus
    lacks in all.
    """

    def missing(domain: Domain, share: float) -> int:
        return max(0, ceil(share * enough) - there[domain.name])

    found = [
        Lack(
            domain, there[domain.name], *(missing(domain, share) for share in (domain.optimum, domain.low, domain.high))
        )
        for domain in domains
    ]
    return sorted(found, key=lambda lack: (-lack.tokens, lack.domain.name))
