"""The corpus as it is trained on: the sources' shares of its tokens, the tokenizer, the shards.

Belongs here: components, tokenizer, shard size. Does not belong here: shares of prompts (`prompts`).
"""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section

MAX_SHARDS = 1 << 16
Factor = Annotated[float, Field(ge=0, le=100)]
Weight = Annotated[float, Field(gt=0)]


class Component(Section):
    """One source's part of the mixture: its share of tokens relative to the others, and what bounds it."""

    weight: Weight | None = None
    """Either every component has one, or none has: what a source can give is then its weight (see `temperature`)."""
    max_epochs: Annotated[float, Field(gt=0)] = 1.0
    max_tokens: Count | None = None
    """A source that reaches it stays there; the others go on in their ratio."""


class QualityBand(Section):
    """A range of a figure of generation_quality, and the factor of the documents in it."""

    column: Literal["words", "repetition", "seed_overlap"]
    low: float | None = None
    """From here on, inclusive."""
    high: float | None = None
    """Up to here, exclusive."""
    factor: Factor

    @pydantic.model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("name low, high or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self


class Factors(Section):
    """How many copies of a document stand in the corpus for each that one of factor 1 has; factors multiply."""

    topic: dict[str, Factor] = {}
    audience: dict[str, Factor] = {}
    format: dict[str, Factor] = {}
    quality: tuple[QualityBand, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the prompt table that factors are given for."""
        return tuple(name for name in ("topic", "audience", "format") if getattr(self, name))

    @property
    def quality_columns(self) -> tuple[str, ...]:
        return tuple(sorted({band.column for band in self.quality}))


class MixtureStage(Section):
    """A part of the training with weights of its own: a curriculum has several, in order."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    share: Weight
    """Of the corpus, relative to the other stages."""
    weights: dict[str, Weight] = {}
    """By source; a source that is not named is not in it. None named: as the components say."""


class Mixture(Section):
    components: dict[str, Component]
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Without weights a source weighs what it can give to the power of 1/temperature (Raffel et al. 2020, section
    3.5.2, whose limit of a set's size is `max_tokens`): 1 is in proportion, higher is more even."""
    tokens: Count | None = None
    """Size of the corpus; null: as large as the bounds of the sources allow."""
    fill: bool = False
    """Whether a source that has run out stops there and the others go on in their ratio (water-filling), as with a cap;
    with equal weights that is UniMax (Chung et al. 2023). It needs `tokens`."""
    factors: Factors = Factors()
    stages: tuple[MixtureStage, ...] = ()
    optimum: str | None = Field(default=None, exclude_if=lambda path: path is None)
    """A file that `cosmo weights --json` has written: the mixture is shown beside its weights, and not changed."""
    reallocate_withdrawn: bool = False
    """Whether the place of withdrawn documents goes to others; else no other document changes."""

    @pydantic.model_validator(mode="after")
    def _parts_agree(self) -> Self:
        weighted = [name for name, component in self.components.items() if component.weight is not None]
        if weighted and (missing := sorted(set(self.components) - set(weighted))):
            raise ValueError(f"components: give a weight to {missing[0]} as well, or to none")
        if self.fill and self.tokens is None:
            raise ValueError("fill: say with `tokens` up to which size")
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stages: {twice[0]} stands there twice")
        for stage in self.stages:
            if unknown := sorted(set(stage.weights) - set(self.components)):
                raise ValueError(f"stages.{stage.name}: {unknown[0]} is no component")
        return self


class Tokenization(Section):
    tokenizer: str = "smollm2-135m-instruct"
    """The embedded model's own, by its name; the path of a tokenizer.json, relative to the recipe; or
    "hub:owner/name@commit", the one of a model of the Hugging Face hub."""
    eos: str = "<|endoftext|>"
    shard_tokens: Count = 100_000_000
    """Tokens of a shard at most, on average: the number of shards is the least power of two that allows it."""
    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] | None = None
    """The number of shards itself, whatever the size of the corpus."""
