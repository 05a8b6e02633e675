"""The draw: which items each use of a template is asked of.

Belongs here: the survey of the seeds turned into cells, their quotas into items; also without building anything, for a
plan. Does not belong here: the arithmetic of quotas (`allocation`), prompts (`table`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cosmo_assets.prompts.allocation import Cell, capped, drawn, quotas, topic_weights
from cosmo_assets.prompts.items import ABSENT, Inputs, Items, Progress, Survey, survey
from cosmo_assets.prompts.mixes import Use, used_templates, uses_of
from cosmo_assets.recipe.prompts import Prompts
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass
class Draw:
    """What a recipe makes of the seeds that there are."""

    uses: list[Use]
    survey: Survey
    cells: list[Cell]
    """One for each use and each of its sources, in this order."""
    quotas: list[int]
    masks: list[Mask]
    """For each use, which items of its view it is asked of."""
    dropped: list[Places] = field(default_factory=list)
    """For each use, the items among them whose prompts would be near-duplicates of others."""


def draw(inputs: Inputs, recipe: Recipe, progress: Progress) -> Draw:
    """Survey the seeds, and draw from them what the recipe asks for. Memory: that of the survey, and for each use a
    byte per item.

    Raises:
        CosmoError: the seeds do not suffice (see `allocation.quotas`).
    """
    uses = uses_of(recipe, used_templates(recipe))
    _check_extracts(inputs, uses)
    found = survey(inputs, list(dict.fromkeys(use.view for use in uses)), progress)
    askable = [part for number, use in enumerate(uses) for part in _askable(number, use, found)]
    cells = [part.cell for part in askable]
    counts = quotas(cells, recipe.prompts)
    masks = [np.zeros(len(found.items[use.view].numbers), dtype=bool) for use in uses]
    for mix in recipe.prompts.mixes:
        chosen = [(part, count) for part, count in zip(askable, counts, strict=True) if part.cell.mix == mix]
        for part, places in _drawn(mix, chosen, recipe.prompts):
            masks[part.use][places] = True
    return Draw(uses, found, cells, counts, masks)


def _check_extracts(inputs: Inputs, uses: list[Use]) -> None:
    cut = inputs.extracts.manifest.params.get("budgets")
    for use in uses:
        kind, tokens, _ = use.view
        if cut is not None and tokens and str(tokens) not in cut.get(kind, {}):
            raise CosmoError(
                f"seed_extracts has none of {tokens} tokens of {kind} seeds, which template {use.template.id} shows",
                remedy="run `cosmo run --asset seed_extracts`, then this again",
            )


@dataclass(frozen=True)
class _Askable:
    """A cell, the number of its use, and the items that it can be asked of."""

    cell: Cell
    use: int
    items: Items
    suited: Mask
    source: int

    @property
    def places(self) -> Places:
        return np.flatnonzero(self.suited & (self.items.sources == self.source))


def _askable(number: int, use: Use, found: Survey) -> Iterator[_Askable]:
    items, template, sources = found.items[use.view], use.template, found.sources.texts().to_pylist()
    suited = items.suit(use)
    for source in sorted(use.sources):
        code = sources.index(source) if source in sources else ABSENT
        seeds = int((suited & (items.sources == code)).sum())
        cell = Cell(use.mix, source, template.id, template.audience, template.format, seeds, use.per_seed)
        yield _Askable(cell, number, items, suited, code)


def _drawn(mix: str, parts: list[tuple[_Askable, int]], prompts: Prompts) -> Iterator[tuple[_Askable, Places]]:
    """The items of each cell of a mix."""

    def drawing(weights: Mapping[int, float]) -> Iterator[tuple[_Askable, Places]]:
        for part, count in parts:
            places = part.places
            of_topic = _weights(part.items.topics[places], weights) if weights else None
            yield part, places[drawn(part.items.numbers[places], count, part.cell.template, of_topic)]

    def topics(weights: Mapping[int, float]) -> Mapping[int, int]:
        met: Counter[int] = Counter()
        for part, places in drawing(weights):
            met.update(_counted(part.items.topics[places]))
        return met

    if prompts.topic_balance == 1 and prompts.caps.topic is None:
        return drawing({})
    sizes: Counter[int] = Counter()
    for part, _ in parts:
        sizes.update(_counted(part.items.topics[part.places]))
    weights = topic_weights({topic: count for topic, count in sorted(sizes.items()) if topic >= 0}, prompts, mix)
    return drawing(capped(topics, weights, prompts.caps.topic))


def _weights(topics: npt.NDArray[np.int32], weights: Mapping[int, float]) -> npt.NDArray[np.float64]:
    table = np.ones(max(weights, default=0) + 2)  # the last one is that of -1, no topic
    table[list(weights)] = list(weights.values())
    found: npt.NDArray[np.float64] = table[topics]
    return found


def _counted(codes: npt.NDArray[np.int32]) -> dict[int, int]:
    values, counts = np.unique(codes, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
