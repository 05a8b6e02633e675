"""The mixture beside the weights of least predicted loss: how near its shares are to them.

Belongs here: both side by side, as rows and charts. Does not belong here: finding such weights
(`cosmo_assets.composition`), or making the mixture of them: the recipe's components do.

The weights are no part of what the mixture depends on: another file changes what is shown, and no document.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosmo_assets.charts.bars import ranges, stacked
from cosmo_assets.composition.answer import Answer, read_answer
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError

FIELD = "mixture.optimum"
TOLERANCE = 0.05
"""How far a share may lie outside of its interval, as with the recipe's own targets."""


@dataclass(frozen=True)
class Beside:
    """A source: its share of what there is, of the corpus, and of the optimum with its 95 % interval. Shares are of the
    tokens of the sources that the optimum speaks of; of another one there is none."""

    source: str
    available: float | None
    share: float | None
    optimum: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def near(self) -> bool | None:
        """Whether its share lies within the interval, or within `TOLERANCE` of it."""
        if self.share is None or self.low is None or self.high is None:
            return None
        return self.low - TOLERANCE <= self.share <= self.high + TOLERANCE


def optimum_of(recipe: Recipe) -> Answer | None:
    """The weights that the recipe names, if it does.

    Raises:
        CosmoError: the file is not there, or is none; several match.
    """
    if recipe.mixture.optimum is None:
        return None
    found = recipe.paths(recipe.mixture.optimum, field=FIELD)
    if len(found) > 1:
        raise CosmoError(f"recipe {recipe.name}, {FIELD}: {len(found)} files match", remedy="name one of them")
    return read_answer(found[0])


def beside(components: Sequence[Mapping[str, Any]], optimum: Answer) -> list[Beside]:
    """Every source of the mixture (`components` of its summary) and of the optimum, the largest weight first; then, by
    name, those that the optimum does not speak of."""
    known = {row["source"]: row for row in components}
    shared = [row for source, row in known.items() if source in optimum.weights]
    available, tokens = (sum(row[name] for row in shared) for name in ("available", "tokens"))

    def part(source: str, name: str, total: int) -> float:
        return known[source][name] / total if source in known and total else 0.0

    order = sorted(optimum.weights, key=lambda source: (-optimum.weights[source].value, source))
    rows = [
        Beside(
            source,
            part(source, "available", available),
            part(source, "tokens", tokens),
            weight.value,
            weight.low,
            weight.high,
        )
        for source in order
        for weight in [optimum.weights[source]]
    ]
    return rows + [Beside(source, None, None) for source in sorted(set(known) - set(optimum.weights))]


def charts(rows: Sequence[Beside], method: str) -> dict[str, str]:
    """What there is, the corpus and the optimum as stacked bars; and the optimum with its intervals, the corpus's
    shares marked."""
    known = [row for row in rows if row.optimum is not None]
    by_name = sorted(known, key=lambda row: row.source)  # as in the mixture's own chart: each has the same colour
    bars = [
        (label, {row.source: getattr(row, name) for row in by_name})
        for label, name in (("what there is", "available"), ("corpus", "share"), ("optimum", "optimum"))
    ]
    intervals = [(row.source, row.optimum or 0.0, row.low or 0.0, row.high or 0.0, row.share or 0.0) for row in known]
    title, names = f"Optimum by the {method}, and what the corpus has", ("optimum", "95 % interval", "corpus")
    return {
        "beside_optimum": stacked("Shares beside the optimum", bars, unit="%"),
        "optimum_intervals": ranges(title, intervals, names, unit="%"),
    }
