"""Signals and selection: which figures of a text are computed, and which texts may stand in the corpus by them.

Belongs here: families of signals, published sets of bounds, bounds of one's own. Does not belong here: how a signal is
computed (`cosmo_assets.signals`), or rules that every corpus has (`generation.QualityPolicy`).
"""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from cosmo_assets.recipe.fields import Section
from cosmo_assets.schemas import TABLES, numeric_columns

SignalFamily = Literal["statistics"]

SIGNAL_ASSETS: dict[str, str] = {"quality": "generation_quality", "statistics": "text_statistics"}
"""The asset of each family of signals. Every corpus has that of `quality`."""

REAL_SIGNALS: dict[str, str] = {"statistics": "real_statistics"}
"""The asset of those families that there are of real documents, too."""

RuleSet = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]


class SignalBound(Section):
    """What a text's signal must lie within to stay: `family.column`, both ends inclusive."""

    signal: Annotated[str, Field(pattern=r"^[a-z]+\.[a-z0-9_]+$")]
    low: float | None = None
    high: float | None = None

    @pydantic.model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError(f"{self.signal}: name low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.signal}: low {self.low:g} is above high {self.high:g}")
        family, column = self.signal.split(".")
        if family not in SIGNAL_ASSETS:
            raise ValueError(f"{self.signal}: no such family of signals; there are {', '.join(SIGNAL_ASSETS)}")
        known = numeric_columns(TABLES[SIGNAL_ASSETS[family]])
        if column not in known:
            raise ValueError(f"{self.signal}: {family} has no such signal; it has {', '.join(known)}")
        return self

    @property
    def family(self) -> str:
        return self.signal.split(".")[0]


class Selection(Section):
    """Which texts may stand in the corpus: those within all bounds. The first broken one is the reason that counts."""

    sets: tuple[RuleSet, ...] = ()
    """Published sets of bounds, in order; they need the signals of `statistics`."""
    bounds: tuple[SignalBound, ...] = ()

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> Self:
        if not self.sets and not self.bounds:
            raise ValueError("name sets, bounds or both")
        for field, names in (("sets", self.sets), ("bounds", tuple(bound.signal for bound in self.bounds))):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: {twice[0]} stands there twice")
        return self

    @property
    def families(self) -> tuple[str, ...]:
        """The families of signals that are read, in the order of `SIGNAL_ASSETS`."""
        read = {bound.family for bound in self.bounds} | ({"statistics"} if self.sets else set())
        return tuple(family for family in SIGNAL_ASSETS if family in read)
