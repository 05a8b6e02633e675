"""The recipe's mixes with the templates that they name: every use of a template.

Belongs here: finding the templates of a recipe, and what each use of one needs of a seed. Does not belong here: how
many prompts a use makes (`allocation`)."""

from dataclasses import dataclass
from typing import NamedTuple

from cosmo_assets.prompts.templates import Template, load_templates
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError


class View(NamedTuple):
    """What a use looks at: the seeds of a kind, with extracts of at most so many tokens (0: none), unit by unit where
    courses have units."""

    kind: str
    tokens: int
    by_unit: bool


@dataclass(frozen=True)
class Use:
    """A template in a mix."""

    mix: str
    template: Template
    view: View
    sources: frozenset[str]
    per_seed: float
    min_score: float | None
    max_score: float | None
    words: int
    max_tokens: int


def used_templates(recipe: Recipe) -> dict[str, Template]:
    """The templates that a recipe names, by id.

    Raises:
        CosmoError: one does not exist, or does not suit the kind of source that it is named for.
    """
    known = load_templates([recipe.folder / folder for folder in recipe.prompts.template_folders])
    used: dict[str, Template] = {}
    for name, mix in recipe.prompts.mixes.items():
        for use in mix.templates:
            template = known.get(use.template)
            if template is None or mix.kind not in template.kinds:
                problem = "there is no such template" if template is None else f"it is made for {template.kinds}"
                suited = sorted(key for key, value in known.items() if mix.kind in value.kinds)
                raise CosmoError(
                    f"recipe field prompts.mixes.{name}.templates: {use.template}: {problem}",
                    remedy=f"name one of {', '.join(suited)}",
                )
            used[use.template] = template
    return used


def uses_of(recipe: Recipe, templates: dict[str, Template]) -> list[Use]:
    """Every use of a template, in the order of the recipe."""
    return [
        Use(
            mix=name,
            template=(template := templates[use.template]),
            view=View(
                str(mix.kind),
                min(template.extract_tokens, recipe.prompts.extract_tokens),
                recipe.prompts.outlines is not None and "unit" in template.uses,
            ),
            sources=frozenset(use.sources or (source.name for source in recipe.sources if source.kind == mix.kind)),
            per_seed=use.per_seed,
            min_score=use.min_score,
            max_score=use.max_score,
            words=min(template.words, recipe.prompts.words),
            max_tokens=min(template.max_tokens, recipe.generation.max_tokens),
        )
        for name, mix in recipe.prompts.mixes.items()
        for use in mix.templates
    ]
