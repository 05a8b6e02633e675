"""What `cosmo weights --json` has written, read back: the weights of least predicted loss with their intervals.

Belongs here: the file, and what may be wrong with it. Does not belong here: finding the weights (`advice`), writing
them (`show`), what they are compared with (`cosmo_assets.mixture`).
"""

import json
from math import fsum
from pathlib import Path
from typing import Annotated, Self

import pydantic
from pydantic import ConfigDict, Field

from cosmo_resources.errors import CosmoError

SUM_OFF = 0.001
"""By how much the weights may miss 1: they may be rounded."""

_Share = Annotated[float, Field(ge=0, le=1 + 1e-9)]


class Weight(pydantic.BaseModel):
    """A domain's share of the tokens, with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: _Share
    low: _Share
    high: _Share

    @pydantic.model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class Answer(pydantic.BaseModel):
    """The part of an answer that speaks of weights; what else the file holds is passed over."""

    model_config = ConfigDict(frozen=True)

    method: str
    weights: Annotated[dict[str, Weight], Field(min_length=1)]

    @pydantic.field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: dict[str, Weight]) -> dict[str, Weight]:
        total = fsum(weight.value for weight in weights.values())
        if abs(total - 1) > SUM_OFF:
            raise ValueError(f"the values sum to {total:g}, not to 1")
        return weights


def read_answer(path: Path) -> Answer:
    """Read an answer.

    Raises:
        CosmoError: it cannot be read, is no answer of `cosmo weights --json`, or one that names no weights.
    """
    remedy = "write it again: cosmo weights RUNS --json > FILE"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CosmoError(f"{path} cannot be read: {error}", remedy=remedy) from error
    except ValueError as error:
        raise CosmoError(f"{path}: no JSON: {error}", remedy=remedy) from error
    if isinstance(found, dict) and "weights" in found and found["weights"] is None:
        raise CosmoError(
            f"{path}: weights is null: the runs said nothing about weights",
            remedy="train more runs (docs/composition.md), then write it again",
        )
    try:
        return Answer.model_validate(found)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise CosmoError(f"{path}: {place}: {first['msg']}", remedy=remedy) from error
