"""Signals that need something of their own: a model, what it is fitted on and how large it is, or a year.

Belongs here: a section for each such family of signals. Does not belong here: which families are computed and what is
kept by them (`selection`), or how a model is fitted (`cosmo_assets.signals`).
"""

from typing import Annotated, Literal

from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share


class Perplexity(Section):
    """The language model by which the perplexity of texts is measured."""

    words: Count = 1_000_000
    """Words of reference text that it is fitted on, about: a sample of the real text, or of the seeds."""
    order: Annotated[int, Field(ge=1, le=6)] = 3
    """Words of its longest n-grams."""


class Age(Section):
    """What the years that texts name are held against, in the corpus report."""

    evaluated: Annotated[int, Field(ge=1500, le=2099)]
    """The year of what models are tested on."""
    older: Count = 10
    """Years: the share of the texts that are older is shown."""
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    """Years after which a text weighs half."""


class Neural(Section):
    """The transformers by which the signals `neural` are measured."""

    models: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Folders of causal language models as transformers saves them, each with its tokenizer.json, all of one tokenizer:
    checkpoints, over which EL2N is the mean. The last one gives perplexity and memorization."""
    tokens: Annotated[int, Field(ge=64)] = 512
    """Of each text, at most."""


class Educational(Section):
    """The labels by which the educational score of texts is learned."""

    labels: Annotated[int, Field(ge=20)] = 1000
    """Texts that the model is asked about: a sample of the seeds and of the real text."""
    extract_chars: Count = 3000
    """So much of a text is judged, by the model and by the classifier."""
    features: Literal["ngrams", "embeddings"] = Field(
        default="ngrams", exclude_if=lambda features: features == "ngrams"
    )
    """What the classifier reads of it: words and pairs of words, or the sentence embedding of its beginning. Left out
    where it is the default, so that a recipe that never heard of it keeps its digest."""
    attempts: Count = 3
    max_tokens: Count = 160
    min_correlation: Share = 0.5
