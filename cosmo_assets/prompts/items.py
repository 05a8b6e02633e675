"""Items: what a template can be asked about - a seed, one segment of it, one unit of a course.

Belongs here: reading the seeds part by part with all that is known of them, and which of them may become prompts. Does
not belong here: how many do (`allocation`).

The tables that are read lie in step: a part of `seed_topics` and of `seed_extracts` is made of the same part of
`seed_documents`. So nothing is joined but within a part.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cosmo_assets.ids import Numbers, mixed, numbers_of, uniforms
from cosmo_assets.prompts.mixes import Use, View
from cosmo_assets.prompts.templates import Template
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import LicencePolicy
from cosmo_assets.seeds.licences import DENIED, refusal
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import read_table

_SEEDS = ["seed_id", "source", "kind", "licence"]
_TOPICS = ["seed_id", "cluster_id", "topic", "score", "excluded"]
Progress = Callable[[int, int, str], None]
"""A sink for progress: done, total, unit."""

ABSENT = -2
"""The code of what no seed has; -1 is that of null."""

_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Inputs:
    """The tables that prompts are made of."""

    seeds: Dataset
    topics: Dataset
    extracts: Dataset
    outlines: Mapping[str, list[str]]
    """The units of the courses that have an outline, by seed."""
    licences: LicencePolicy

    @property
    def parts(self) -> int:
        return len(self.seeds.paths())


def open_inputs(store: CorpusStore, recipe: Recipe) -> Inputs:
    """The current tables.

    Raises:
        CosmoError: one is not built yet, or they were built of different seeds.
    """
    seeds, topics, extracts = (store.open(name) for name in ("seed_documents", "seed_topics", "seed_extracts"))
    for dataset in (topics, extracts):
        made_of = {ref.version for ref in dataset.manifest.inputs if ref.asset == "seed_documents"}
        if made_of - {seeds.manifest.version} or len(dataset.paths()) != len(seeds.paths()):
            raise _out_of_step(dataset)
    outlines: dict[str, list[str]] = {}
    if recipe.prompts.outlines is not None:
        table = store.open("course_outlines").table(["seed_id", "units"])
        outlines = {row["seed_id"]: row["units"] for row in table.to_pylist() if row["units"]}
    return Inputs(seeds, topics, extracts, outlines, recipe.licences)


def _out_of_step(dataset: Dataset) -> CosmoError:
    asset = dataset.manifest.asset
    return CosmoError(
        f"{asset} was built of other seeds than seed_documents holds now",
        remedy="run `cosmo run` with the assets from seed_documents to seed_extracts, then this again",
    )


@dataclass(frozen=True)
class Part:
    """The seeds of one part: a row each, with source, licence, topic and `why`, the reason by which a seed becomes no
    prompts (null where it may); and their extracts."""

    number: int
    seeds: pl.DataFrame
    extracts: pl.DataFrame


def read_part(inputs: Inputs, number: int, columns: Sequence[str] = ()) -> Part:
    """One part, with further columns of the seeds.

    Raises:
        CosmoError: the tables are out of step.
    """
    seeds = _read(inputs.seeds, number, [*_SEEDS, *columns])
    topics = _read(inputs.topics, number, _TOPICS)
    if not seeds["seed_id"].equals(topics["seed_id"]):
        raise _out_of_step(inputs.topics)
    extracts = _read(inputs.extracts, number, None)
    licences = seeds["licence"].unique()
    refusals = {licence: DENIED for licence in licences.to_list() if refusal(licence, inputs.licences)}
    denied = pl.col("licence").replace_strict(refusals, default=None, return_dtype=pl.String)
    seeds = seeds.with_columns(topics.drop("seed_id")).with_columns(pl.coalesce(denied, "excluded").alias("why"))
    places = seeds.select("seed_id").with_row_index("row")
    placed = extracts.join(places, on="seed_id", how="left", maintain_order="left")
    if placed["row"].null_count():
        raise _out_of_step(inputs.extracts)
    return Part(number, seeds, placed.drop("seed_id"))


def _read(dataset: Dataset, number: int, columns: list[str] | None) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(read_table(dataset.paths()[number], columns)))


def items_of(part: Part, view: View, outlines: Mapping[str, list[str]]) -> pl.DataFrame:
    """The items of a part for a view, of seeds that may become prompts: `row` (of the seed in the part), `segment`,
    `start`, `end`, `tokens`, `unit`, and `number`, the hash that the item's draws are made from."""
    fit = part.seeds.with_row_index("row").filter((pl.col("kind") == view.kind) & pl.col("why").is_null())
    fit = fit.select("row", "seed_id")
    if view.tokens:
        extracts = part.extracts.filter(pl.col("budget") == view.tokens).drop("budget")
        items = fit.join(extracts, on="row", how="inner", maintain_order="left")
    else:
        zero = pl.lit(0, pl.Int64)
        items = fit.with_columns(*(zero.alias(name) for name in ("segment", "start", "end", "tokens")))
    numbers = numbers_of(items["seed_id"].to_arrow())
    segments = items["segment"].to_numpy().astype(np.uint64)
    numbers = np.where(segments > 0, mixed(numbers + segments * _STEP), numbers)
    items = items.with_columns(pl.Series("number", numbers, pl.UInt64))
    if not (view.by_unit and outlines):
        return items.drop("seed_id").with_columns(pl.lit(None, pl.String).alias("unit"))
    units: list[list[str] | list[None]] = [outlines.get(seed) or [None] for seed in items["seed_id"].to_list()]
    items = items.with_columns(pl.Series("unit", units, pl.List(pl.String))).explode("unit").drop("seed_id")
    of_unit = np.array([_unit_number(unit) for unit in items["unit"].to_list()], dtype=np.uint64)
    numbers = np.where(of_unit > 0, mixed(items["number"].to_numpy() ^ of_unit), items["number"].to_numpy())
    return items.with_columns(pl.Series("number", numbers, pl.UInt64))


@cache
def _unit_number(unit: str | None) -> int:
    return 0 if unit is None else int(digest("unit", unit)[:16], 16)


class Codes:
    """Texts that repeat, as numbers in the order of their first appearance."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def of(self, column: pl.Series) -> npt.NDArray[np.int32]:
        """The codes of a column; -1 for null."""
        for text in column.unique(maintain_order=True).to_list():
            if text is not None:
                self._codes.setdefault(text, len(self._codes))
        coded = column.replace_strict(self._codes, default=-1, return_dtype=pl.Int32)
        return coded.to_numpy()

    def texts(self) -> pa.Array:
        return pa.array(list(self._codes), pa.string())

    def __len__(self) -> int:
        return len(self._codes)


@dataclass(frozen=True)
class Items:
    """All items of a view: a number each, and what allocation asks about; `first` is where each part begins."""

    numbers: Numbers
    seeds: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int32]
    topics: npt.NDArray[np.int32]
    units: Numbers
    scores: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]

    def suit(self, use: Use) -> npt.NDArray[np.bool_]:
        """Which items a use may be asked of, its sources aside."""
        suited = self.tokens >= use.template.min_extract_tokens
        if not use.template.segments:
            suited &= self.segments == 0
        if use.min_score is not None:
            suited &= self.scores >= use.min_score
        if use.max_score is not None:
            suited &= self.scores < use.max_score
        return suited


@dataclass
class Survey:
    """What one pass over all seeds finds out: the items of every view, and what becomes of the other seeds."""

    items: dict[View, Items]
    sources: Codes
    topics: Codes
    why: pl.DataFrame
    """The seeds that may become no prompts: seed_id, why, topic, licence."""
    seeds: int


def survey(inputs: Inputs, views: Sequence[View], progress: Progress) -> Survey:
    """Read all seeds without their texts. Memory: 50 bytes per item."""
    sources, topics = Codes(), Codes()
    columns: dict[View, list[list[npt.NDArray[np.generic]]]] = {view: [] for view in views}
    refused: list[pl.DataFrame] = []
    total = 0
    for number in range(inputs.parts):
        part = read_part(inputs, number)
        source, topic = sources.of(part.seeds["source"]), topics.of(part.seeds["topic"])
        score = part.seeds["score"].cast(pl.Float32).fill_null(float("nan")).to_numpy()
        for view in views:
            items = items_of(part, view, inputs.outlines)
            rows = items["row"].to_numpy()
            units = np.array(
                [_unit_number(unit) for unit in items["unit"].to_list()] if view.by_unit else [], np.uint64
            )
            columns[view].append(
                [
                    items["number"].to_numpy(),
                    rows.astype(np.int64) + total,
                    source[rows],
                    topic[rows],
                    units if view.by_unit else np.zeros(len(rows), np.uint64),
                    score[rows],
                    items["tokens"].to_numpy().astype(np.int32),
                    items["segment"].to_numpy().astype(np.int32),
                ]
            )
        refused.append(part.seeds.filter(pl.col("why").is_not_null()).select("seed_id", "why", "topic", "licence"))
        total += part.seeds.height
        progress(total, inputs.seeds.manifest.rows, "seeds")
    found: dict[View, Items] = {}
    for view, parts in columns.items():
        first = np.cumsum([0, *(len(part[0]) for part in parts)])
        joined: list[Any] = [*(np.concatenate(column) for column in zip(*parts, strict=True)), first]
        found[view] = Items(*joined)
        parts.clear()
    return Survey(found, sources, topics, pl.concat(refused), total)


def texts_of(part: Part, items: pl.DataFrame, outlines: Mapping[str, list[str]]) -> pl.DataFrame:
    """What templates see of some items (the columns of `rendering.VIEW` but the topic): of a part that was read with
    title, context and text."""
    seeds = part.seeds.select("title", "context", "text")[items["row"]]
    extract = pl.col("text").str.slice(pl.col("start"), pl.col("end") - pl.col("start")).alias("extract")
    views = seeds.with_columns(items.select("start", "end", "unit")).with_columns(extract).drop("text", "start", "end")
    if not outlines:
        return views
    courses = part.seeds["seed_id"][items["row"]].to_list()
    return views.with_columns(pl.Series("outline", [outlines.get(seed) for seed in courses], pl.List(pl.String)))


def parts_of(items: Items, chosen: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Some items, ascending, by part: its number, and their places in it."""
    part = np.searchsorted(items.first, chosen, side="right") - 1
    for number in np.unique(part).tolist():
        yield number, chosen[part == number] - items.first[number]


def named_topics(items: pl.DataFrame, template: Template, recipe: Recipe) -> npt.NDArray[np.bool_]:
    """Which prompts of a template name their topic where there is one: drawn from the ids of item and template. A
    template that never prints it names none."""
    draws = uniforms(items["number"].to_numpy(), "topic", template.id)
    return (draws < recipe.prompts.topic_clause) & ("topic" in template.uses)
