"""A few prompts of one template, rendered at once: for a preview, or for a pilot.

Belongs here: which seeds a template is shown with, before any of it is in a prompt table. Does not belong here: asking
a model (`cosmo_assets.pilots`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cosmo_assets.ids import prompt_id, uniforms
from cosmo_assets.prompts.items import (
    Inputs,
    items_of,
    named_topics,
    open_inputs,
    parts_of,
    read_part,
    survey,
    texts_of,
)
from cosmo_assets.prompts.mixes import Use, View
from cosmo_assets.prompts.rendering import prepared, rendered
from cosmo_assets.prompts.templates import Template, load_templates, read_template
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import silent
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore


@dataclass(frozen=True)
class SamplePrompt:
    """A rendered prompt, and what it is made of."""

    prompt_id: str
    prompt: str
    seed_id: str
    source: str
    topic: str | None
    extract: str


def find_template(recipe: Recipe, name: str) -> Template:
    """A template by its id, or by the path of its file: a draft need not lie in a template folder.

    Raises:
        CosmoError: there is none, or it is no template.
    """
    if name.endswith(".md"):
        return read_template(Path(name))
    known = load_templates([recipe.folder / folder for folder in recipe.prompts.template_folders])
    if name not in known:
        raise CosmoError(f"no template {name!r}", remedy=f"name a .md file, or one of {', '.join(sorted(known))}")
    return known[name]


def sample_prompts(store: CorpusStore, recipe: Recipe, template: Template, count: int) -> list[SamplePrompt]:
    """Prompts of a template from `count` of the seeds that it suits, or as many as there are. Which ones these are
    depends on the ids of the seeds alone: two templates with the same needs are shown with the same seeds.

    Cost: as the survey of a prompt table, and the part files that hold one of the seeds.

    Raises:
        CosmoError: the seeds and their extracts are not built yet, or there is no seed that it suits.
    """
    inputs = open_inputs(store, recipe)
    use = _use(inputs, recipe, template)
    items = survey(inputs, [use.view], silent).items[use.view]
    suited = np.flatnonzero(items.suit(use))
    if not len(suited):
        raise CosmoError(
            f"there is no seed for template {template.id}, which is made for {', '.join(template.kinds)}",
            remedy="name another template, or add a source of such a kind to the recipe",
        )
    draws = uniforms(items.numbers[suited], "sample")
    chosen = np.sort(suited[np.argsort(draws, kind="stable")[:count]])
    found: list[SamplePrompt] = []
    for number, places in parts_of(items, chosen):
        part = read_part(inputs, number, ("title", "context", "text"))
        mine = items_of(part, use.view, inputs.outlines)[places]
        texts = texts_of(part, mine, inputs.outlines)
        facts = part.seeds.select("seed_id", "source", "topic")[mine["row"]]
        named = named_topics(mine, template, recipe)
        topics = pl.select(pl.when(pl.Series(named)).then(facts["topic"])).to_series().alias("topic")
        prompts = rendered(template, use.words, prepared(texts.with_columns(topics)))
        for prompt, extract, clause, fact in zip(prompts, texts["extract"], named, facts.to_dicts(), strict=True):
            identity = prompt_id(
                seed=fact["seed_id"],
                template=template.id,
                template_version=template.version,
                audience=template.audience,
                format=template.format,
                choices={"name_topic": bool(clause) and fact["topic"] is not None},
                text=prompt,
            )
            found.append(SamplePrompt(identity, prompt, extract=extract or "", **fact))
    return sorted(found, key=lambda sample: sample.seed_id)


def _use(inputs: Inputs, recipe: Recipe, template: Template) -> Use:
    """The template as if a mix named it, with the longest extracts that there are and that it may show."""
    kinds = {source.kind for source in recipe.sources}
    kind = next((kind for kind in template.kinds if kind in kinds), template.kinds[0])
    wanted = min(template.extract_tokens, recipe.prompts.extract_tokens)
    there = sorted(map(int, inputs.extracts.manifest.params["budgets"].get(kind, {})))
    if wanted and not there:
        raise CosmoError(
            f"no extracts of {kind} seeds, which template {template.id} shows",
            remedy=f"name it in a mix of kind {kind}, then run `cosmo run --asset seed_extracts`",
        )
    tokens = max((size for size in there if size <= wanted), default=there[0]) if wanted else 0
    return Use(
        mix="",
        template=template,
        view=View(str(kind), tokens, recipe.prompts.outlines is not None and "unit" in template.uses),
        sources=frozenset(source.name for source in recipe.sources if source.kind == kind),
        per_seed=1.0,
        min_score=None,
        max_score=None,
        words=min(template.words, recipe.prompts.words),
        max_tokens=min(template.max_tokens, recipe.generation.max_tokens),
    )
