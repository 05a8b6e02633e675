"""Allocation: how many prompts each template makes of each source, and which seeds they are.

Belongs here: shares, caps and targets turned into whole numbers, the draw of seeds, the refusal where seeds do not
suffice. Does not belong here: reading seeds (`items`), or rendering (`rendering`).

Two steps. *Quotas*: a template makes `per_seed` prompts of each seed of a source; where the recipe names targets,
shares or caps, these numbers are scaled to meet them, as little as possible (raking, or iterative proportional fitting:
Deming and Stephan 1940; the nearest in relative entropy), and no template makes more prompts than there are seeds, as
none meets a seed twice. Where raking gets nowhere, linear programming says whether anything would. *Draw*: the seeds of
a template are those with the smallest draws from their own ids and the template's, over the weight of their topics
(sequential Poisson sampling: Ohlsson 1998). So quotas are met exactly, other templates change nothing, and one more
seed changes about one seed's prompts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cosmo_assets.ids import Numbers, uniforms
from cosmo_assets.recipe.prompts import Prompts
from cosmo_resources.errors import CosmoError

Reals = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_ROUNDS = 500
_TOLERANCE = 1e-6
_ROUNDING = 1e-3
"""What shares may be off, of all prompts, where it cannot be otherwise: targets are whole numbers."""
_LARGEST = 1e30
"""Factor of one bound: what must be zero gets its inverse; the factors of eight bounds make no overflow."""
_SUM = "the sum"
_TOPIC_ROUNDS = 50


@dataclass(frozen=True)
class Cell:
    """One template of a mix on one source: how many seeds of it the template suits, and how many prompts it shall make
    of each."""

    mix: str
    source: str
    template: str
    audience: str
    format: str
    seeds: int
    per_seed: float

    def __str__(self) -> str:
        return f"{self.template} of {self.source}: {self.seeds:,} seeds"


@dataclass(frozen=True)
class Bound:
    """What the prompts of some cells must sum to, or must not exceed."""

    name: str
    cells: tuple[int, ...]
    prompts: float
    exact: bool
    target: bool = False
    """Whether it is a mix's own number of prompts: then nothing but that number will do."""

    def __str__(self) -> str:
        return f"{self.name} asks for {'' if self.exact else 'at most '}{self.prompts:,.0f} prompts"

    def off(self, numbers: Reals) -> float:
        """By how many prompts it is not met."""
        off = float(numbers[list(self.cells)].sum()) - self.prompts
        return abs(off) if self.exact else max(off, 0.0)


def quotas(cells: Sequence[Cell], prompts: Prompts) -> list[int]:
    """How many prompts each cell makes.

    Cost: cells times bounds times rounds of fitting, whatever the number of seeds.

    Raises:
        CosmoError: the seeds cannot give what the recipe asks for without one meeting a template twice, or its shares,
            caps and targets contradict one another; the message has the numbers.
    """
    seeds = np.array([cell.seeds for cell in cells], dtype=np.float64)
    wanted = seeds * np.array([cell.per_seed for cell in cells])
    targets = _targets(cells, prompts)
    for target in targets:
        wanted[list(target.cells)] *= target.prompts / max(wanted[list(target.cells)].sum(), 1e-300)
    bounds = [*_balance(cells, prompts, float(wanted.sum())), *targets]
    for bound in [*targets, *bounds]:
        _check(bound, bounds, cells, seeds, prompts)
    fitted = _fitted(wanted, seeds, bounds) if bounds else wanted
    if fitted is None:
        raise CosmoError(
            "prompts.shares, caps and mixes.*.prompts cannot be met together with the seeds there are: no numbers of "
            f"prompts meet all of {', '.join(map(str, bounds))}",
            remedy="loosen one of them, or give the sources that are short more seeds or templates"
            + _advice(bounds, seeds, prompts),
        )
    return _whole(fitted, seeds, cells, targets)


def _targets(cells: Sequence[Cell], prompts: Prompts) -> list[Bound]:
    found = []
    for name, mix in prompts.mixes.items():
        if mix.prompts is not None:
            members = tuple(number for number, cell in enumerate(cells) if cell.mix == name)
            found.append(
                Bound(f"mixes.{name}.prompts", members, max(round(mix.prompts * prompts.scale), 1), True, True)
            )
    return found


def _balance(cells: Sequence[Cell], prompts: Prompts, total: float) -> list[Bound]:
    """The bounds of shares and caps, relative to the sum of what was asked for, which then stays as it is."""
    found = []
    for kind, values in (("shares", prompts.shares), ("caps", prompts.caps)):
        for column in ("source", "audience", "format"):
            for name, share in getattr(values, column).items():
                members = tuple(number for number, cell in enumerate(cells) if getattr(cell, column) == name)
                if not members:
                    known = ", ".join(sorted({getattr(cell, column) for cell in cells}))
                    raise CosmoError(
                        f"prompts.{kind}.{column}: no template of the recipe has {column} {name!r}",
                        remedy=f"name one of {known}",
                    )
                found.append(Bound(f"{kind}.{column}.{name}", members, share * total, kind == "shares"))
    if found and _open_ended(prompts):
        found.append(Bound(_SUM, tuple(range(len(cells))), total, True))
    return found


def _open_ended(prompts: Prompts) -> bool:
    return any(mix.prompts is None for mix in prompts.mixes.values())


def _check(bound: Bound, bounds: Sequence[Bound], cells: Sequence[Cell], seeds: Reals, prompts: Prompts) -> None:
    most = float(seeds[list(bound.cells)].sum())
    if not bound.exact or bound.prompts <= most + 0.5:
        return
    parts = "; ".join(str(cells[number]) for number in bound.cells) or "there is no such cell"
    raise CosmoError(
        f"prompts.{bound}; without a seed meeting a template twice there are at most {most:,.0f} ({parts})",
        remedy="add seeds or templates there, or ask for less" + _advice(bounds, seeds, prompts),
    )


def _advice(bounds: Sequence[Bound], seeds: Reals, prompts: Prompts) -> str:
    """How much less of everything the seeds do give, if that is what helps."""
    targets = [bound.prompts for bound in bounds if bound.target]
    unrounded = min((target / (target + 0.5) for target in targets), default=1.0)  # scale may have made more of it
    factor = _affordable(bounds, seeds) * unrounded
    if factor < _TOLERANCE:
        return ""
    if len(targets) == len(bounds) or not _open_ended(prompts):
        return f", or set prompts.scale to {_significant(prompts.scale * factor, math.floor):g}"
    scale = "prompts.scale and " if targets else ""
    return f", or multiply {scale}every per_seed of a mix without prompts by {_significant(factor, math.floor):g}"


def _significant(number: float, towards: Callable[[float], int]) -> float:
    """The number with two digits, rounded to one side."""
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return towards(number / step) * step


def _fitted(wanted: Reals, seeds: Reals, bounds: Sequence[Bound]) -> Reals | None:
    """The numbers nearest to `wanted` that meet all bounds, or None where there are none. Each round meets the bounds
    one after another, with a factor each that its cells are multiplied by; targets come last and so are met exactly."""
    numbers, factors = wanted.copy(), np.ones(len(bounds))
    members = [np.array(bound.cells, dtype=np.int64) for bound in bounds]
    total = max(float(wanted.sum()), 1.0)
    fitted = wanted
    for _ in range(_ROUNDS):
        for place, (bound, chosen) in enumerate(zip(bounds, members, strict=True)):
            others = numbers[chosen] / factors[place]
            factor = _factor(others, seeds[chosen], bound.prompts)
            factors[place] = np.clip(factor, 1 / _LARGEST, _LARGEST if bound.exact else 1.0)
            numbers[chosen] = others * factors[place]
        fitted = np.minimum(numbers, seeds)
        if all(bound.off(fitted) <= _TOLERANCE * total for bound in bounds):
            return fitted
    exactly = _nearest(fitted, seeds, bounds, 0.0)
    return _nearest(fitted, seeds, bounds, max(_ROUNDING * total, 1.0)) if exactly is None else exactly


def _factor(numbers: Reals, most: Reals, total: float) -> float:
    """The factor by which numbers, none of which may then exceed its most, sum to `total`; or to as much as can be."""
    numbers, most = numbers[numbers > 0], most[numbers > 0]
    if not len(numbers):
        return 1.0
    order = np.argsort(most / numbers)
    numbers, most = numbers[order], most[order]
    rest = np.cumsum(numbers[::-1])[::-1]
    factors = (total - np.cumsum(most) + most) / rest  # where those before are at their most, and those after are not
    fits = factors * numbers <= most
    return float(max(factors[np.argmax(fits)], 0.0) if fits.any() else (most / numbers)[-1])


def _limits(bounds: Sequence[Bound], cells: int, width: float) -> tuple[Reals, Reals, Reals]:
    """The bounds as a matrix with a row each, and the least and most that it may give; all but targets may be `width`
    off."""
    rows = np.zeros((len(bounds), cells))
    for row, bound in zip(rows, bounds, strict=True):
        row[list(bound.cells)] = 1.0
    off = np.array([0.0 if bound.target else width for bound in bounds])
    sums = np.array([bound.prompts for bound in bounds])
    least = np.where([bound.exact for bound in bounds], np.maximum(sums - off, 0.0), 0.0)
    return rows, least, sums + off


def _nearest(numbers: Reals, seeds: Reals, bounds: Sequence[Bound], width: float) -> Reals | None:
    """Numbers that meet all bounds with the least sum of differences: where fitting is slow because numbers must be
    zero, or goes nowhere because there are none."""
    rows, least, most = _limits(bounds, len(seeds), width)
    one, zero = np.eye(len(seeds)), np.zeros_like(rows)
    found = _solution(
        np.r_[0.0 * seeds, np.ones(len(seeds))],
        np.block([[rows, zero], [-rows, zero], [one, -one], [-one, -one]]),
        np.r_[most, -least, numbers, -numbers],
        np.r_[seeds, np.full(len(seeds), np.inf)],
    )
    return None if found is None else found[: len(seeds)]


def _affordable(bounds: Sequence[Bound], seeds: Reals) -> float:
    """The largest part of what is asked for that the seeds give, all bounds scaled alike; 0 where no part is."""
    rows, least, most = _limits(bounds, len(seeds), 0.0)
    found = _solution(
        np.r_[0.0 * seeds, -1.0],
        np.block([[rows, -most[:, None]], [-rows, least[:, None]]]),
        np.zeros(2 * len(bounds)),
        np.r_[seeds, 1.0],
    )
    return 0.0 if found is None else float(found[-1])


def _solution(costs: Reals, rows: Reals, most: Reals, largest: Reals) -> Reals | None:
    """The cheapest numbers from 0 to `largest` whose products with the rows are at most `most`, or None."""
    from scipy.optimize import linprog  # half a second, for what few recipes need

    answer = linprog(costs, A_ub=rows, b_ub=most, bounds=np.column_stack([np.zeros_like(largest), largest]))
    return answer.x if answer.status == 0 else None


def _whole(numbers: Reals, seeds: Reals, cells: Sequence[Cell], targets: Sequence[Bound]) -> list[int]:
    """Whole numbers: the nearest; in a mix with a target such that they sum to it, by the largest remainders."""
    whole = np.minimum(np.floor(numbers + 0.5), seeds)
    for target in targets:
        members = np.array(target.cells)
        exact = numbers[members] * _factor(numbers[members], seeds[members], target.prompts)
        exact = np.minimum(exact, seeds[members]).round(6)
        whole[members] = np.floor(exact)
        left = int(target.prompts - whole[members].sum())
        by_remainder = sorted(
            zip((whole[members] - exact).tolist(), target.cells, strict=True),
            key=lambda pair: (pair[0], cells[pair[1]].template, cells[pair[1]].source),
        )
        whole[[number for _, number in by_remainder[:left]]] += 1
    return [int(count) for count in whole.tolist()]


def drawn(numbers: Numbers, quota: int, template: str, weights: Reals | None) -> Mask:
    """Which of the seeds a template meets: `quota` of them, by draws from their numbers (hashes of their ids). A seed
    of twice the weight is drawn about twice as likely. What is drawn does not depend on the order of the seeds."""
    if quota >= len(numbers):
        return np.ones(len(numbers), dtype=bool)
    if quota <= 0:
        return np.zeros(len(numbers), dtype=bool)
    keys = uniforms(numbers, "template", template)
    if weights is not None:
        keys /= weights
    chosen: Mask = keys <= np.partition(keys, quota - 1)[quota - 1]
    return chosen


def topic_weights(counts: Mapping[int, int], prompts: Prompts, mix: str) -> dict[int, float]:
    """The weight of a seed of each topic, given how many seeds of a mix each topic has; empty where all are alike.

    Raises:
        CosmoError: there are too few topics for the cap on one.
    """
    cap, total = prompts.caps.topic, sum(counts.values())
    if not counts or (prompts.topic_balance == 1 and (cap is None or max(counts.values()) <= cap * total)):
        return {}
    if cap is not None and cap * len(counts) < 1 - 1e-9:
        raise CosmoError(
            f"prompts.caps.topic: at most {cap:.2%} of a mix may be of one topic, but the seeds of {mix} are of "
            f"{len(counts)} topics",
            remedy=f"raise it to {_significant(1 / len(counts), math.ceil):g} or more, or cluster the seeds into more "
            "topics",
        )
    sizes = np.array(list(counts.values()), dtype=np.float64)
    wanted = sizes**prompts.topic_balance
    wanted /= wanted.sum()
    if cap is not None:
        wanted = np.minimum(wanted * _factor(wanted, np.full(len(wanted), cap), 1.0), cap)
    return dict(zip(counts, (wanted / sizes * total).tolist(), strict=True))


def capped(
    draw: Callable[[Mapping[int, float]], Mapping[int, int]], weights: Mapping[int, float], cap: float | None
) -> Mapping[int, float]:
    """Weights with which no topic has more than its cap: draws again with less weight on those that have, as a draw
    meets shares on average only, and a template that meets most of its seeds does not choose. `draw` says how many
    prompts of each topic some weights give; -1 is no topic. Of few prompts a topic may have one, whatever the cap.

    Raises:
        CosmoError: no weights were found that do.
    """
    if cap is None:
        return weights
    for _ in range(_TOPIC_ROUNDS):
        met = draw(weights)
        total = sum(met.values())
        most = max(int(cap * total + 1e-9), 1)
        over = {topic: count for topic, count in met.items() if topic >= 0 and count > most}
        if not over:
            return weights
        weights = {
            topic: weights.get(topic, 1.0) * (0.99 * (most / over[topic]) ** 1.5 if topic in over else 1.0)
            for topic in weights or met
            if topic >= 0
        }
    raise CosmoError(
        f"prompts.caps.topic: at most {cap:.2%} of a mix may be of one topic, {most:,} of {total:,} prompts; whichever "
        f"seeds are drawn, there are topics with up to {max(over.values()):,}",
        remedy="raise it, ask for fewer prompts of each seed so that seeds can be left out, or add seeds of other "
        "topics",
    )
