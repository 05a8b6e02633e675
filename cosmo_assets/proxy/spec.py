"""What a proxy is: its model, its training, its tokens, and the files of its folder.

Belongs here: fields and their bounds, file names. Does not belong here: training (`train`), what is trained
(`ablation`). It is imported where there is neither pyarrow nor Dagster.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import pydantic

from cosmo_assets.recipe.fields import Count, Section

SPEC, ROWS, CHECKPOINT, RESULT, MODEL = "spec.json", "rows.npz", "checkpoint.pt", "result.npz", "model"

Rate = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


class Proxy(Section):
    """A small Llama and its training: AdamW (beta .9 and .95), linear warm-up, then a cosine down to a tenth of the
    rate. The defaults have 0.1 million parameters beside the embedding of the vocabulary."""

    d_model: Count = 64
    layers: Count = 2
    heads: Count = 4
    sequence: Annotated[int, pydantic.Field(ge=2)] = 128
    """Tokens of a sequence, and of the longest context."""
    batch: Count = 32
    """Sequences of a step."""
    steps: Count = 1000
    rate: Rate = 3e-3
    """The largest learning rate."""
    warm_up: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.05
    """Share of the steps."""
    weight_decay: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.1
    clip: Rate = 1.0
    """The largest norm of the gradient."""

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % (2 * self.heads):
            raise ValueError(f"d_model ({self.d_model}) must be a multiple of twice heads ({self.heads})")
        return self


class Shard(Section):
    """A file of token ids: `path` and its digest, and the number of its domain, from 0."""

    path: Path
    digest: str
    domain: Annotated[int, pydantic.Field(ge=0)] = 0


class Doremi(Section):
    """DoReMi: the folder of the finished training of the reference model, what that training is, and the update's
    settings (`updates`)."""

    signal: ClassVar = "excess"
    """What of each domain the update goes by."""
    reference: Path
    digest: str
    eta: Rate
    smoothing: Annotated[float, pydantic.Field(ge=0, lt=1)]


class Doge(Section):
    """DoGE: its update's setting (`updates`), and the shards of the target, where domains are weighed for one."""

    signal: ClassVar = "score"
    mu: Rate
    target: tuple[Shard, ...] = pydantic.Field(default=(), exclude_if=lambda shards: not shards)


class Spec(Section):
    """A training: two with equal specs have equal results, to the bit on one processor."""

    proxy: Proxy
    shards: tuple[Shard, ...]
    token_bytes: Literal[2, 4]
    vocabulary: Count
    even: bool = False
    """Whether each domain gives the same share of the sequences; else each gives what it has tokens."""
    weights: tuple[Annotated[float, pydantic.Field(ge=0)], ...] | None = pydantic.Field(
        default=None, exclude_if=lambda weights: weights is None
    )
    """The share of the sequences that each domain gives, whatever it has."""
    weighing: Doremi | Doge | None = None
    """How domains are weighed anew at each step; else all tokens count the same."""
    rows: str
    """Digest of the rows to score."""
    seed: Annotated[int, pydantic.Field(ge=0)]
    program: Literal["1"] = "1"
    """What trains: another number where its results would be others."""
