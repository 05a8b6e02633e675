"""The proof: which small models are trained on which parts of a corpus, and what they are asked.

Belongs here: questions, held-out text, the arms, seeds, the proxy's size. Does not belong here: training or comparing
them (`cosmo_assets.proxy`).
"""

from typing import Annotated, Literal

from pydantic import Field

from cosmo_assets.proxy.spec import Proxy
from cosmo_assets.recipe.fields import Count, Section


class Proof(Section):
    """Small models trained on the whole corpus and on arms of it: what a part is worth, beyond chance. Two assets that
    are built by name alone, for they take hours of a processor."""

    items: str
    held_out: dict[Annotated[str, Field(pattern=r"^\w[\w.-]*$")], str] = {}
    by: Literal["source", "template", "topic"] = "source"
    """What parts the corpus."""
    arms: Literal["without", "only"] = "without"
    """Whether an arm is the corpus without a part, or that part alone."""
    largest: Count = 6
    """Parts that have an arm, the largest first; the others are in the corpus, and in what is without a part."""
    seeds: Annotated[int, Field(ge=3)] = 3
    proxy: Proxy = Proxy()
