"""Allocation: how many tokens each source gives to each stage of the corpus, from weights, limits and caps.

Belongs here: the arithmetic of sources. Does not belong here: which documents give them (`drawing`), or which are
eligible (`stage`).

All sources give tokens in the ratio of their weights; the source that runs out first, at its `max_epochs`, sets the
size of the corpus. A source with `max_tokens` stops there and sets nothing: the others go on without it. With `fill` a
source that runs out does the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cosmo_assets.recipe.mixture import Component, Mixture
from cosmo_resources.errors import CosmoError


@dataclass(frozen=True)
class Supply:
    """What a source has: tokens of its documents by the factor that multiplies their copies."""

    by_factor: Mapping[float, int]

    @property
    def tokens(self) -> int:
        return sum(self.by_factor.values())

    @property
    def effective(self) -> float:
        """Tokens of one epoch: each document as often as its factor says. The same in whatever order they were read."""
        return math.fsum(factor * tokens for factor, tokens in self.by_factor.items())

    @property
    def most_factor(self) -> float:
        return max((factor for factor, tokens in self.by_factor.items() if tokens), default=0.0)


@dataclass(frozen=True)
class Share:
    """One source's part."""

    supply: Supply
    most: int
    """The most tokens that it may give: the smaller of its epochs and its cap."""
    tokens: tuple[int, ...]
    """Those that it gives to each stage."""
    limits: str | None
    """Which of its bounds it has reached: epochs (then it sets the size of the corpus, or with `fill` stops) or cap."""

    @property
    def target(self) -> int:
        return sum(self.tokens)

    @property
    def epochs(self) -> float:
        """Mean copies of a document of factor 1."""
        return self.target / self.supply.effective


def allocate(supplies: Mapping[str, Supply], mixture: Mixture) -> dict[str, Share]:
    """The part of each source that has tokens. Targets are whole numbers that sum to the size of the corpus and, stage
    by stage, to the stage's share of it, each within one token of its real value (largest remainders).

    Raises:
        CosmoError: the corpus shall be larger than it can be, or a stage has no source with tokens.
    """
    present = {
        name: component
        for name, component in mixture.components.items()
        if name in supplies and supplies[name].effective > 0
    }
    if not present:
        return {}
    by_stage = _weights(supplies, mixture, present)
    weights = {name: math.fsum(stage[name] for stage in by_stage) for name in present}
    used = {name: weight for name, weight in weights.items() if weight > 0}
    reach = {name: _reach(supplies[name], present[name]) for name in used}
    caps = {name: float(present[name].max_tokens or math.inf) for name in used}
    ends = {name: min(caps[name], reach[name]) for name in used} if mixture.fill else caps
    largest = _largest(used, reach, ends)
    scale, size = largest, _size(used, ends, largest)
    if mixture.tokens is not None:
        if mixture.tokens > _whole(size):
            raise _infeasible(mixture, _whole(size), used, reach, caps, largest)
        scale, size = _scale(used, ends, mixture.tokens, largest), float(mixture.tokens)
    real = {
        (name, number): min(used[name] * scale, ends[name]) * stage[name] / used[name]
        for name in used
        for number, stage in enumerate(by_stage)
    }
    whole = _rounded(real, _whole(size))
    return {
        name: Share(
            supplies[name],
            _whole(min(reach[name], caps[name])),
            tuple(whole.get((name, number), 0) for number in range(len(by_stage))),
            _limit(used.get(name, 0.0) * scale, reach.get(name, math.inf), caps.get(name, math.inf)),
        )
        for name in used
    }


def _weights(
    supplies: Mapping[str, Supply], mixture: Mixture, present: Mapping[str, Component]
) -> list[dict[str, float]]:
    """What each source weighs in each stage; a stage's weights sum to its share of the corpus."""
    natural = {
        name: component.weight
        if component.weight is not None
        else min(supplies[name].effective, component.max_tokens or math.inf) ** (1 / mixture.temperature)
        for name, component in present.items()
    }
    stages = [(stage.name, stage.share, stage.weights or natural) for stage in mixture.stages] or [("", 1.0, natural)]
    shares = math.fsum(share for _, share, _ in stages)
    found = []
    for stage, share, weights in stages:
        total = math.fsum(weights[name] for name in present if name in weights)
        if not total:
            raise CosmoError(
                f"mixture.stages.{stage}: none of its sources has a document that could stand in the corpus",
                remedy="give it other weights, or see with `cosmo plan --mixture` what the sources have",
            )
        found.append({name: weights.get(name, 0.0) / total * share / shares for name in present})
    return found


def _reach(supply: Supply, component: Component) -> float:
    return component.max_epochs * supply.effective


def _largest(weights: Mapping[str, float], reach: Mapping[str, float], caps: Mapping[str, float]) -> float:
    """The largest scale at which no source gives more than it can: there the first one runs out, or all are capped."""
    out = [reach[name] / weight for name, weight in weights.items() if reach[name] < caps[name]]
    return min(out) if out else max(caps[name] / weight for name, weight in weights.items())


def _size(weights: Mapping[str, float], caps: Mapping[str, float], scale: float) -> float:
    return math.fsum(min(weight * scale, caps[name]) for name, weight in weights.items())


def _scale(weights: Mapping[str, float], caps: Mapping[str, float], size: float, largest: float) -> float:
    """The scale of a corpus of this size: the caps that are reached are taken out one after the other."""
    capped: set[str] = set()
    for name in sorted(weights, key=lambda name: (caps[name] / weights[name], name)):
        open_weight = math.fsum(weight for other, weight in weights.items() if other not in capped)
        scale = (size - math.fsum(caps[other] for other in capped)) / open_weight
        if weights[name] * scale <= caps[name]:
            return min(scale, largest)
        capped.add(name)
    return largest


def _rounded(real: Mapping[tuple[str, int], float], size: int) -> dict[tuple[str, int], int]:
    """Whole numbers that sum to `size`, each its real value rounded down or up: those with the largest remainders are
    rounded up."""
    whole = {key: math.floor(value) for key, value in real.items()}
    order = sorted(real, key=lambda key: (whole[key] - real[key], key))
    for key in order[: max(0, size - sum(whole.values()))]:
        whole[key] += 1
    return whole


def _whole(tokens: float) -> int:
    """Rounded down; what is a whole number but for the last digits of its arithmetic is that number."""
    return math.floor(tokens + 1e-6)


def _limit(given: float, reach: float, cap: float) -> str | None:
    if given >= cap * (1 - 1e-9):
        return "cap"
    return "epochs" if given >= reach * (1 - 1e-9) else None


def _infeasible(
    mixture: Mixture,
    most: int,
    weights: Mapping[str, float],
    reach: Mapping[str, float],
    caps: Mapping[str, float],
    largest: float,
) -> CosmoError:
    short = sorted(name for name in weights if _limit(weights[name] * largest, reach[name], caps[name]) == "epochs")
    if not short:
        why, others = "every source has reached its max_tokens", ""
    elif mixture.fill:
        why, others = "every source has reached its max_epochs or max_tokens", ""
    else:
        why = f"{short[0]} runs out first, with {_whole(reach[short[0]]):,} tokens at its max_epochs"
        others = "lower the weight of the source that runs out, let the others go on (`fill`), "
    return CosmoError(
        f"mixture.tokens asks for {mixture.tokens:,} tokens; the sources give {most:,} at most: {why}",
        remedy=f"ask for fewer tokens, raise max_epochs or max_tokens, {others}or generate more",
    )
