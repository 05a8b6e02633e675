"""What `cosmo weights --json` has written, read back: the weights of least predicted loss with their intervals.

Belongs here: the file, and what may be wrong with it. Does not belong here: finding the weights (`advice`), writing
them (`show`), what they are compared with (`cosmo_assets.mixture`).
"""

import json
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from cosmo_resources.errors import CosmoError

_Share = Annotated[float, Field(ge=0, le=1)]


class Weight(pydantic.BaseModel):
    """A domain's share of the tokens, with its 95 % interval."""

    value: _Share
    low: _Share
    high: _Share


class Answer(pydantic.BaseModel):
    """The part of an answer that speaks of weights; what else the file holds is passed over."""

    method: str
    weights: Annotated[dict[str, Weight], Field(min_length=1)]


def read_answer(path: Path) -> Answer:
    """Read an answer.

    Raises:
        CosmoError: it is no answer of `cosmo weights --json`, or one that names no weights.
    """
    remedy = "write it with: cosmo weights RUNS --json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CosmoError(f"{path}: no JSON: {error}", remedy=remedy) from error
    if isinstance(found, dict) and "weights" in found and found["weights"] is None:
        raise CosmoError(
            f"{path}: weights is null: the runs said nothing about weights",
            remedy="train more runs (docs/composition.md), or leave mixture.optimum out",
        )
    try:
        return Answer.model_validate(found)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise CosmoError(f"{path}: {place}: {first['msg']}", remedy=remedy) from error
