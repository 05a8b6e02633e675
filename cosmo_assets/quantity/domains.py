"""What a corpus lacks of each domain, where trainings of small models say in which shares its domains are best.

Belongs here: the file of these shares, the arithmetic. Does not belong here: how shares are found
(`cosmo_assets.composition`), how many tokens are enough in all (`repetition`).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated

import pydantic

from cosmo_resources.errors import CosmoError

SUM_OFF = 0.001
"""By so much the shares may miss 1: they may be rounded."""
AGAIN = "write it again: cosmo weights RUNS --json > FILE"

Share = Annotated[float, pydantic.Field(ge=0, le=1 + SUM_OFF)]


class Weight(pydantic.BaseModel):
    """The best share of a domain in a training, with its 95 % interval."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    value: Share
    low: Share
    high: Share


class _Answer(pydantic.BaseModel):
    weights: dict[str, Weight] = pydantic.Field(min_length=1)


@dataclass(frozen=True)
class Lack:
    """What a domain has, and how many unique tokens more it should have by its share, and by the ends of the share's
    interval."""

    weight: Weight
    there: int
    tokens: int
    least: int
    most: int


def read_weights(path: Path) -> dict[str, Weight]:
    """The best share of each domain, as `cosmo weights --json` writes them.

    Raises:
        CosmoError: the file cannot be read, a field is missing or wrong, or the shares do not sum to 1.
    """
    try:
        found = _Answer.model_validate(json.loads(path.read_text(encoding="utf-8"))).weights
    except OSError as error:
        raise CosmoError(f"{path} cannot be read: {error}", remedy=AGAIN) from error
    except pydantic.ValidationError as error:
        wrong = error.errors()[0]
        raise CosmoError(f"{path}, {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", remedy=AGAIN) from error
    except ValueError as error:
        raise CosmoError(f"{path}: no JSON ({error})", remedy=AGAIN) from error
    if abs((total := sum(weight.value for weight in found.values())) - 1) > SUM_OFF:
        raise CosmoError(f"{path}: the weights sum to {total:g}, not to 1", remedy=AGAIN)
    return found


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
