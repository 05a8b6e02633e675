"""Generation: which model writes, how it is asked, what it may cost, and what a text of it must pass.

Belongs here: model, sampling, rollout, budget, the rules of quality. Does not belong here: servers and devices
(`cosmo_resources.deployments`), or bounds over all texts (`limits`).
"""

from typing import Annotated, Any

from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share


class Sampling(Section):
    """Sampling parameters, by their names in the OpenAI and vLLM interfaces; null leaves one to the server, which takes
    the model's own."""

    temperature: Annotated[float, Field(ge=0)] | None = 0.6
    top_p: Share | None = 0.95
    top_k: Count | None = 50
    repetition_penalty: Annotated[float, Field(gt=0)] | None = 1.2

    @property
    def given(self) -> dict[str, float | int]:
        """Those that are sent with every request."""
        return self.model_dump(exclude_none=True)


class Model(Section):
    """The generator by name and revision: part of every document's id, unlike the server that happens to run it."""

    name: str
    revision: str
    licence: str
    homepage: str | None = None


class RolloutUse(Section):
    """How one document comes about: the name of a rollout, or module:function of one's own, and its options."""

    name: str = "single"
    options: dict[str, Any] = {}


class Generation(Section):
    model: Model
    sampling: Sampling = Sampling()
    rollout: RolloutUse = RolloutUse()
    samples: Count = 1
    max_tokens: Count = 600
    """Upper bound of any answer; a template may set a lower one."""
    shard_rows: Count = 1000


class Budget(Section):
    """What generation may cost; a prompt table that is expected to cost more stops before anything is generated."""

    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    cost: Annotated[float, Field(gt=0)] | None = None
    gpu_hour_price: Annotated[float, Field(ge=0)] = 2.5
    """Of one hour of one device, in the currency of `cost`."""
    gpu_watts: Annotated[float, Field(gt=0)] = 500.0
    """What one device draws, where it does not say so itself."""
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None
    """Output tokens of one device; null takes the shipped table's figure for the model."""


class QualityPolicy(Section):
    """Rules a generated text must pass."""

    min_words: Count = 40
    max_repetition: Share = 0.35
    drop_truncated: bool = False
    languages: tuple[str, ...] = ("en",)
    max_seed_overlap: Share = 0.6
