"""Diversity: what of a corpus is measured, and when it counts as worse than the version that was accepted.

Belongs here: the size of the sample and of its blocks, the rate of false alarms, versions accepted by hand, the probe.
Does not belong here: the measures, or how they are compared (`cosmo_assets.diversity`).
"""

from typing import Annotated

from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section


class Coefficient(Section):
    """The diversity coefficient (Lee et al. 2023), by a probe."""

    model: Annotated[str, Field(min_length=1)]
    """Folder of a language model as transformers saves it, with its tokenizer.json."""
    tokens: Annotated[int, Field(ge=2)] = 128
    """Of each document, at most."""


class Diversity(Section):
    """A gate before the shards: a corpus that is less diverse than the accepted one goes no further."""

    sample: Count = 4000
    """Documents that are measured, at most: one of each seed."""
    block: Annotated[int, Field(ge=2)] = 200
    """Documents in a block: the size at which a measure that depends on it is taken."""
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """How often a corpus of the same kind is stopped for nothing."""
    accepted: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]+$")], ...] = ()
    """Versions of corpus_diversity that pass whatever they are compared with."""
    coefficient: Coefficient | None = Field(default=None, exclude_if=lambda section: section is None)
    """None: not measured, and the digest of a recipe that never heard of it."""
