"""The verdict on a document: its signals held against bounds, one after the other.

Belongs here: bounds as expressions over the signals of a bucket. Does not belong here: published bounds
(`cosmo_assets.signals.rule_sets`), or reading and writing (`stage`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cosmo_assets.recipe.selection import Selection, SignalBound
from cosmo_assets.signals.rule_sets import RULE_SETS


@dataclass(frozen=True)
class Limit:
    """What a signal must lie within, both ends inclusive, and what is said of a document that does not: `reason`, which
    names the set that asks for it or the signal itself."""

    reason: str
    signal: str
    """`family.column`, as recipes name it."""
    low: float | None
    high: float | None

    @property
    def broken(self) -> pl.Expr:
        """Whether a document breaks it; one without the signal does not."""
        value = pl.col(self.signal)
        ends = [value < self.low] if self.low is not None else []
        ends += [value > self.high] if self.high is not None else []
        return pl.any_horizontal(ends).fill_null(False)


def limits_of(selection: Selection) -> tuple[Limit, ...]:
    """All limits of a selection: those of its sets, in order, then its own."""
    published = [
        Limit(f"{name}: {bound.reason}", f"statistics.{bound.signal}", bound.minimum, bound.maximum)
        for name in selection.sets
        for bound in RULE_SETS[name]
    ]
    return (*published, *map(limit_of, selection.bounds))


def limit_of(bound: SignalBound) -> Limit:
    """A bound of the recipe as a limit."""
    return Limit(bound.signal, bound.signal, bound.low, bound.high)


def first_broken(limits: Sequence[Limit]) -> pl.Expr:
    """The number of the first limit that a document breaks; null where it breaks none."""
    cases = [pl.when(limit.broken).then(pl.lit(number, pl.Int64)) for number, limit in enumerate(limits)]
    return pl.coalesce(*cases, pl.lit(None, pl.Int64))
