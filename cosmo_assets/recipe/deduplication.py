"""Deduplication: what makes a document a duplicate, and which one of several is kept.

Belongs here: the methods' parameters, and their order. Does not belong here: how a method finds duplicates
(`cosmo_assets.deduplication`).
"""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section


class ExactMethod(Section):
    """Texts of the same words: case, punctuation, spaces and Unicode forms make no difference."""

    method: Literal["exact"] = "exact"


class MinHashMethod(Section):
    """Texts with similar sets of word n-grams, by MinHash: bands x rows hashes."""

    method: Literal["minhash"] = "minhash"
    ngram: Count = 5
    bands: Count = 14
    rows: Count = 8
    seed: int = 1


class PassagesMethod(Section):
    """Texts of whose windows of `words` words at least `share` stand in better texts."""

    method: Literal["passages"] = "passages"
    words: Count = 50
    share: Annotated[float, Field(gt=0, le=1)] = 0.5


class SemanticMethod(Section):
    """Texts with embeddings of at least this cosine similarity."""

    method: Literal["semantic"] = "semantic"
    similarity: Annotated[float, Field(gt=0, le=1)] = 0.97
    cell: Count = 20_000
    """Documents that are compared with one another, about; more of them are divided by k-means first."""
    seed: int = 1


DeduplicationMethod = Annotated[
    ExactMethod | MinHashMethod | PassagesMethod | SemanticMethod, Field(discriminator="method")
]


class Deduplication(Section):
    """What makes a document a duplicate, one method after the other, and which one of several is kept."""

    methods: Annotated[tuple[DeduplicationMethod, ...], Field(min_length=1)] = (ExactMethod(), MinHashMethod())
    survivor: tuple[Literal["quality", "words"], ...] = ("quality", "words")
    """What decides, in order; at last the smallest id."""
    against: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], ...] = ()
    """Corpora beside this one whose documents are kept, and not repeated here."""

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [method.method for method in self.methods]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"methods: {', '.join(twice)} is there twice; each method may be named once")
        return self

    @property
    def compares_meanings(self) -> bool:
        return any(isinstance(method, SemanticMethod) for method in self.methods)
