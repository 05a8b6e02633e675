"""Allocation: how often each source's documents stand in the corpus, from weights and epoch limits.

Belongs here: the arithmetic. Does not belong here: which documents are eligible (`stage`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cosmo_assets.ids import uniform
from cosmo_assets.recipe import Component


@dataclass(frozen=True)
class Share:
    """One source's part: tokens it has, its wanted share, and its epochs (mean copies of a document)."""

    available: int
    weight: float
    epochs: float

    @property
    def tokens(self) -> float:
        return self.available * self.epochs


def allocate(available: Mapping[str, int], components: Mapping[str, Component]) -> dict[str, Share]:
    """Epochs per source so that the tokens stand in the ratio of the weights and the corpus is as large as the epoch
    limits allow: the source that runs out first sets the size. A source without tokens is left out of the ratio."""
    present = {name: component for name, component in components.items() if available.get(name, 0) > 0}
    total_weight = sum(component.weight for component in present.values())
    if not present:
        return {}
    size = min(
        component.max_epochs * available[name] * total_weight / component.weight for name, component in present.items()
    )
    return {
        name: Share(
            available[name],
            component.weight / total_weight,
            min(component.max_epochs, size * component.weight / total_weight / available[name]),
        )
        for name, component in present.items()
    }


def copies(document: str, epochs: float) -> int:
    """Copies of one document: the whole epochs, and one more with the chance of the rest, drawn from its id. More
    epochs never mean fewer copies of a document."""
    return int(epochs) + (uniform("epoch", document) < epochs % 1)
