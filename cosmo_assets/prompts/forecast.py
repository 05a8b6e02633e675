"""Forecasts: how many tokens the prompts of a recipe will bring, in how many hours, for how much money.

Belongs here: the arithmetic, the table of throughputs, and what generated buckets say. Does not belong here: drawing
seeds (`draw`), printing (`cosmo_assets.cli.plan_tables`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from cosmo_assets.generation.rollouts import REQUESTS
from cosmo_assets.ids import bucket_name
from cosmo_assets.prompts.allocation import Cell, quotas
from cosmo_assets.prompts.mixes import Use, uses_of
from cosmo_assets.prompts.templates import Template
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.storage.store import CorpusStore

TABLE = Path(__file__).parents[1] / "throughput.yaml"

MEASURED_BUCKETS = 2
"""Buckets that are read for what answers were like; each is a sample of the corpus."""

TOKENS_PER_WORD = 1.35
"""Tokens of a word of English prose in vocabularies of 32,000 to 50,000 tokens, about."""


@dataclass(frozen=True)
class Measured:
    """What a corpus that was begun says about itself: mean tokens of an answer by template, and tokens per second."""

    tokens: Mapping[str, float]
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class Line:
    """The prompts of one use on one source, and what their answers are expected to hold."""

    cell: Cell
    prompts: int
    tokens_each: float
    measured: bool

    @property
    def tokens(self) -> float:
        return self.prompts * self.tokens_each


@dataclass(frozen=True)
class Speed:
    """Output tokens per second of one device, and who says so."""

    device: str
    tokens_per_second: float
    source: str


@dataclass(frozen=True)
class Forecast:
    lines: list[Line]
    samples: int
    speed: Speed | None
    """None where nobody has said or measured how fast the model is."""
    price: float

    @property
    def prompts(self) -> int:
        return sum(line.prompts for line in self.lines)

    @property
    def tokens(self) -> float:
        """Output tokens, of all samples."""
        return self.samples * sum(line.tokens for line in self.lines)

    @property
    def hours(self) -> float | None:
        """Device hours."""
        return self.tokens / self.speed.tokens_per_second / 3600 if self.speed else None

    @property
    def cost(self) -> float | None:
        hours = self.hours
        return None if hours is None else hours * self.price


NOTHING_MEASURED = Measured({})


def forecast(recipe: Recipe, uses: Sequence[Use], counted: Sequence[tuple[Cell, int]], measured: Measured) -> Forecast:
    """The forecast for cells with their numbers of prompts. An answer is expected to be as long as answers of its
    template were, or else as its template asks for, bounded by its limit of tokens; drafts count as answers."""
    by_use = {(use.mix, use.template.id): use for use in uses}
    requests = REQUESTS.get(recipe.generation.rollout.name, 1)
    lines = []
    for cell, prompts in counted:
        use = by_use[cell.mix, cell.template]
        known = measured.tokens.get(cell.template)
        asked = requests * min(use.words * TOKENS_PER_WORD, use.max_tokens)
        lines.append(Line(cell, prompts, asked if known is None else known, known is not None))
    return Forecast(lines, recipe.generation.samples, speed(recipe, measured), recipe.budget.gpu_hour_price)


def measured(recipe: Recipe, store: CorpusStore) -> Measured:
    """What the first buckets that were generated say; nothing, where there are none."""
    prompts = store.current("prompt_table")
    names = [bucket_name(index) for index in range(recipe.buckets)]
    done = [dataset for name in names if (dataset := store.current("generations", name)) is not None]
    if prompts is None or not done:
        return NOTHING_MEASURED
    answers = pl.scan_parquet([path for dataset in done[:MEASURED_BUCKETS] for path in dataset.paths()])
    templates = pl.scan_parquet(prompts.paths()).select("prompt_id", "template")
    means = (
        answers.filter(pl.col("status") == "ok")
        .select("prompt_id", "completion_tokens")
        .join(templates, on="prompt_id")
        .group_by("template")
        .agg(pl.col("completion_tokens").mean())
        .collect()
    )
    runs = [dataset.manifest.run for dataset in done if float(dataset.manifest.run.get("generation_seconds", 0)) > 0]
    tokens = sum(float(run.get("generated_tokens", 0)) for run in runs)
    seconds = sum(float(run["generation_seconds"]) for run in runs)
    return Measured(dict(means.iter_rows()), tokens / seconds if tokens and seconds else None)


def expected(recipe: Recipe, templates: Mapping[str, Template]) -> list[tuple[Cell, int]]:
    """The cells of a recipe whose seeds were not read yet, from what its sources say they will give
    (`expected_seeds`); a source that does not say is taken to give none.

    Raises:
        CosmoError: these do not suffice.
    """
    seeds = {source.name: source.expected_seeds or 0 for source in recipe.sources}
    cells = [
        Cell(
            use.mix,
            source,
            use.template.id,
            use.template.audience,
            use.template.format,
            seeds[source],
            use.per_seed,
        )
        for use in uses_of(recipe, dict(templates))
        for source in sorted(use.sources)
    ]
    return list(zip(cells, quotas(cells, recipe.prompts), strict=True))


def speed(recipe: Recipe, measured: Measured) -> Speed | None:
    """How fast the recipe's model writes: as the corpus has measured, as the recipe says, as the table says."""
    model = recipe.generation.model.name
    if measured.tokens_per_second:
        return Speed("as measured", measured.tokens_per_second, "the buckets that were generated")
    if recipe.budget.tokens_per_second:
        return Speed("device", recipe.budget.tokens_per_second, "the recipe")
    known = _throughputs().get(model.rsplit("/", 1)[-1])
    return Speed(known["device"], float(known["tokens_per_second"]), known["source"]) if known else None


@cache
def _throughputs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return found
