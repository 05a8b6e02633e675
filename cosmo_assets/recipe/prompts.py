"""Prompts: which seeds meet which templates, and how often.

Belongs here: mixes, shares and caps, course outlines. Does not belong here: the templates and what their front matter
may say (`cosmo_assets.prompts.templates`).
"""

from typing import Annotated, Literal, Self, get_args

import pydantic
from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share
from cosmo_assets.recipe.sources import SourceKind


class TemplateUse(Section):
    """One template in a mix: how many of the seeds meet it. A seed never meets the same template twice."""

    template: str
    per_seed: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Prompts per seed. What is added to a mix changes nothing about the other templates in it."""
    sources: tuple[str, ...] = ()
    """The sources whose seeds meet it; none named: all of the mix's kind."""
    min_score: float | None = None
    """Lowest educational score (1 to 10) of the topic of a seed that meets it; a seed without a score does not."""
    max_score: float | None = None
    """Scores from here on do not meet it, so that two templates can share the scores between them."""


class PromptMix(Section):
    """A part of the prompts: which templates the seeds of one kind meet."""

    kind: SourceKind | None = None
    """Whose seeds these are; a mix that is named like a kind need not say it."""
    prompts: Count | None = None
    """How many prompts it shall have: `per_seed` of its templates are then relative to one another."""
    templates: Annotated[tuple[TemplateUse, ...], Field(min_length=1)]


class Shares(Section):
    """Shares of the prompts by source, audience and format; what is not named takes what is left."""

    source: dict[str, Share] = {}
    audience: dict[str, Share] = {}
    format: dict[str, Share] = {}

    @pydantic.model_validator(mode="after")
    def _sums_fit(self) -> Self:
        for name in ("source", "audience", "format"):
            if (total := sum(getattr(self, name).values())) > 1 + 1e-9:
                raise ValueError(f"the shares by {name} sum to {total:g}, which is more than 1")
        return self


class Caps(Section):
    """Largest shares of the prompts that a source, audience, format or topic may have."""

    source: dict[str, Share] = {}
    audience: dict[str, Share] = {}
    format: dict[str, Share] = {}
    topic: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of any one topic, in each mix."""


class Outlines(Section):
    """Course outlines: the model names the units of a course's textbook, and a prompt is about one of them."""

    form: Literal["chat", "text"] = "chat"
    """chat: an instruction that is answered with JSON. text: a list that is continued, for models too small to follow
    an instruction."""
    min_units: Annotated[int, Field(ge=2)] = 5
    max_units: Annotated[int, Field(ge=2)] = 12
    attempts: Count = 3
    max_tokens: Count = 400
    description_chars: Count = 1500

    @pydantic.model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        if self.min_units > self.max_units:
            raise ValueError(f"min_units {self.min_units} is more than max_units {self.max_units}")
        return self


class Prompts(Section):
    mixes: dict[str, PromptMix]
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Every target of a mix is multiplied by it: the same corpus, smaller."""
    shares: Shares = Shares()
    caps: Caps = Caps()
    topic_balance: Share = 1.0
    """How a mix spreads over topics: a topic with n seeds gets prompts in proportion to n to this power. At 1 all seeds
    are used alike; at 0 all topics are, so that a seed of a rare topic is used more than one of a common topic."""
    outlines: Outlines | None = None
    """Outlines of the courses; null (the default) asks for none."""
    topic_clause: Share = 0.5
    extract_tokens: Count = 100_000
    """Longest part of a seed that any template shows, in tokens; a template's own bound may be lower."""
    words: Count = 100_000
    """Longest text that any template asks for, in words; the same."""
    near_duplicate_threshold: Share = 0.8
    """Jaccard similarity of what two prompts of a template take from their seeds, above which one of them is dropped:
    word 5-grams of title, place and extract."""
    template_folders: tuple[str, ...] = ()
    """Folders with further templates, relative to the recipe; one there replaces a shipped one of the same id."""

    @pydantic.field_validator("mixes")
    @classmethod
    def _name_their_kinds(cls, value: dict[str, PromptMix]) -> dict[str, PromptMix]:
        kinds = get_args(SourceKind)
        if unclear := [name for name, mix in value.items() if mix.kind is None and name not in kinds]:
            raise ValueError(f"{unclear[0]}: name its kind of source, as in kind: web (one of {', '.join(kinds)})")
        named = {name: mix if mix.kind else mix.model_copy(update={"kind": name}) for name, mix in value.items()}
        for name, mix in named.items():
            uses = [use.template for use in mix.templates]
            if twice := [template for template in uses if uses.count(template) > 1]:
                raise ValueError(f"{name}.templates: {twice[0]} stands there twice")
        return named
