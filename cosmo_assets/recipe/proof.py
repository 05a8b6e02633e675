"""The proof: which small models are trained on which parts of a corpus, and what they are asked.

Belongs here: questions, held-out text, the arms, seeds, the proxy's size. Does not belong here: training or comparing
them (`cosmo_assets.proxy`).
"""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from cosmo_assets.proxy.spec import Proxy
from cosmo_assets.recipe.fields import Count, Section
from cosmo_assets.recipe.selection import SIGNAL_ASSETS, SignalBound


class Proof(Section):
    """Small models trained on the whole corpus and on arms of it: what a part is worth, beyond chance. Two assets that
    are built by name alone, for they take hours of a processor."""

    items: str
    held_out: dict[Annotated[str, Field(pattern=r"^\w[\w.-]*$")], str] = {}
    by: Literal["source", "template", "topic", "filters"] = "source"
    """What parts the corpus."""
    filters: Annotated[tuple[SignalBound, ...], Field(max_length=16)] = Field(
        default=(), exclude_if=lambda bounds: not bounds
    )
    """Where they part it, what each of them drops is a part; these may overlap, and each has an arm."""
    arms: Literal["without", "only"] = "without"
    """Whether an arm is the corpus without a part, or that part alone."""
    largest: Count = 6
    """Parts that have an arm, the largest first; the others are in the corpus, and in what is without a part."""
    seeds: Annotated[int, Field(ge=3)] = 3
    proxy: Proxy = Proxy()

    @pydantic.model_validator(mode="after")
    def _filters_part_it(self) -> Self:
        if (self.by == "filters") != bool(self.filters):
            raise ValueError("`by: filters` and a list `filters` go together: name both, or neither")
        named = [bound.outside for bound in self.filters]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"filters: {twice[0]} stands there twice")
        return self

    @property
    def families(self) -> tuple[str, ...]:
        """The families of signals that are read, in the order of `SIGNAL_ASSETS`."""
        read = {bound.signal.split(".")[0] for bound in self.filters}
        return tuple(family for family in SIGNAL_ASSETS if family in read)
