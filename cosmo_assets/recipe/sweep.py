"""A sweep: by which signals filtering is tried out, and how much of the texts is kept in each trial.

Belongs here: signals, fractions, domains, the sample. Does not belong here: what is measured of a trial
(`cosmo_assets.selection.sweep`), or which texts may stand in the corpus (`selection`).
"""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section
from cosmo_assets.recipe.selection import SIGNAL_ASSETS, Signal

Fraction = Annotated[float, Field(gt=0, le=1)]


class SweptSignal(Section):
    """A signal, and which of its texts would be kept."""

    signal: Signal
    prefer: Literal["high", "low"] = "high"


class Sweep(Section):
    """What filtering would cost, by each of these signals alone; nothing is filtered."""

    signals: Annotated[tuple[SweptSignal, ...], Field(min_length=1)]
    fractions: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (1.0, 0.75, 0.5, 0.25, 0.1)
    """Of the texts that have the signal, how many are kept."""
    domains: Literal["topic", "source"] = "topic"
    """What shares are of; a text without a topic, as real ones are, counts by its source."""
    sample: Count = 1000
    """Texts whose Vendi score is taken, at most."""
    block: Annotated[int, Field(ge=2)] = 200
    """Texts in a block: the size at which it is taken."""

    @pydantic.field_validator("signals")
    @classmethod
    def _each_once(cls, signals: tuple[SweptSignal, ...]) -> tuple[SweptSignal, ...]:
        found = [(one.signal, one.prefer) for one in signals]
        if twice := sorted({one for one in found if found.count(one) > 1}):
            raise ValueError(f"{twice[0][0]}, {twice[0][1]} preferred, stands there twice")
        return signals

    @pydantic.model_validator(mode="after")
    def _a_block_at_least(self) -> Self:
        if self.sample < self.block:
            raise ValueError(f"sample {self.sample} does not fill a block of {self.block}")
        return self

    @property
    def families(self) -> tuple[str, ...]:
        """The families of signals that are read, in the order of `SIGNAL_ASSETS`."""
        read = {one.signal.split(".")[0] for one in self.signals}
        return tuple(family for family in SIGNAL_ASSETS if family in read)
