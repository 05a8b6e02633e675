"""The prompt table: which seed meets which templates, rendered, with ids, stored by bucket.

Belongs here: the stage, from the seeds to its files. Does not belong here: what a template can be asked about
(`items`), how many prompts there are (`allocation`), rendering (`rendering`), what is a near-duplicate
(`near_duplicates`).

Three passes, none of which holds the prompts: *survey* reads what allocation needs of every seed; *render* reads the
texts part by part and leaves the prompts in files by bucket; *store* sorts each bucket by id and writes it. So the
table is the same whatever the order of the seeds and the number of threads."""

import dataclasses
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.ids import Digests, Numbers, bucket_name, bucket_numbers, hex_digits, prompt_digests
from cosmo_assets.prompts.accounts import GROUPS, Tally, account
from cosmo_assets.prompts.draw import Draw, Places, draw
from cosmo_assets.prompts.items import Inputs, Items, items_of, named_topics, open_inputs, parts_of, read_part, texts_of
from cosmo_assets.prompts.mixes import Use, View, used_templates
from cosmo_assets.prompts.near_duplicates import BANDS, band_hashes, leaders
from cosmo_assets.prompts.rendering import prepared, rendered
from cosmo_assets.prompts.templates import Template
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.generation import PROMPT_TABLE
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import DIGEST_BYTES, canonical_json, file_digest, json_digest, table_digest
from cosmo_resources.storage.files import write_parquet
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "6"
FACTS = ["seed_id", "source", "kind", "licence", "cluster_id", "topic"]

T = TypeVar("T")


def build(workspace: Workspace, workers: int | None = None) -> Manifest:
    """Build `prompt_table`.

    Cost: every prompt is rendered, hashed, written twice and sorted within its bucket; every seed's text that is drawn
    is read, and hashed for near-duplicates. Memory: about 250 bytes per item (see `items`), a few parts of the seeds,
    and one bucket for each of the `workers` (threads; as many as there are cores)."""
    store, recipe = workspace.store, workspace.recipe
    outlined = ("course_outlines",) if recipe.prompts.outlines is not None else ()
    inputs = [store.open(asset) for asset in ("seed_documents", "seed_topics", "seed_extracts", *outlined)]
    templates = used_templates(recipe)
    return workspace.build(
        "prompt_table",
        lambda writer: _produce(writer, workspace, templates, workers or os.cpu_count() or 1),
        stage_version=STAGE_VERSION,
        inputs=tuple(dataset.ref() for dataset in inputs),
        params=params(recipe),
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `prompt_table` depends on."""
    templates = used_templates(recipe)
    return {
        "prompts": recipe.prompts.model_dump(exclude={"template_folders", "outlines"}),
        "licences": recipe.licences.model_dump(),
        "templates": {key: _template_digest(template) for key, template in sorted(templates.items())},
        "sources": {source.name: source.kind for source in recipe.sources},
        "max_tokens": recipe.generation.max_tokens,
        "buckets": recipe.buckets,
    }


def _produce(writer: DatasetWriter, workspace: Workspace, templates: Mapping[str, Template], workers: int) -> None:
    recipe = workspace.recipe
    inputs = open_inputs(workspace.store, recipe)
    plan = draw(inputs, recipe, workspace.progress)
    spill = Spill(writer.folder / "spill", inputs.parts, recipe.buckets)
    try:
        hashed = _render(inputs, plan, recipe, spill, workspace, workers)
        _drop_near_duplicates(inputs, plan, hashed, recipe.prompts.near_duplicate_threshold)
        tally = _store(writer, workspace, plan, spill, recipe, workers)
    finally:
        shutil.rmtree(spill.folder, ignore_errors=True)
    account(writer, inputs, plan, tally, recipe)


class Spill:
    """Prompts on their way to their buckets: a file for each part of the seeds, with a record batch for each bucket."""

    def __init__(self, folder: Path, parts: int, buckets: int) -> None:
        self.folder, self.parts, self.buckets = folder, parts, buckets
        folder.mkdir(parents=True)

    def write(self, part: int, rows: pa.Table) -> None:
        rows = rows.combine_chunks()
        bucket = bucket_numbers(_digests(rows), self.buckets)
        order = np.argsort(bucket, kind="stable")
        ends = np.searchsorted(bucket[order], np.arange(self.buckets + 1)).tolist()
        (batch,) = rows.take(pa.array(order)).to_batches() or [_EMPTY]
        with pa.ipc.new_file(self._path(part), _SPILLED, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
            for start, end in itertools.pairwise(ends):
                stream.write_batch(batch.slice(start, end - start))

    def read(self, bucket: int) -> pa.Table:
        batches = []
        for part in range(self.parts):
            with pa.memory_map(str(self._path(part))) as source:
                batches.append(pa.ipc.open_file(source).get_batch(bucket))
        return pa.Table.from_batches(batches, schema=_SPILLED)

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:06d}.arrow"


_SPILLED = pa.schema(
    [
        ("digest", pa.binary(DIGEST_BYTES)),
        ("use", pa.int16()),
        ("item", pa.int64()),
        ("seed_id", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("licence", pa.string()),
        ("cluster_id", pa.int64()),
        ("topic", pa.string()),
        ("unit", pa.string()),
        ("topic_clause", pa.bool_()),
        ("prompt", pa.large_string()),
        ("extract_start", pa.int64()),
        ("extract_end", pa.int64()),
        ("extract_tokens", pa.int64()),
    ]
)


_EMPTY = pa.RecordBatch.from_pylist([], schema=_SPILLED)

Shown = tuple[str, ...]
"""Which parts of a seed a template prints, of `COMPARED_PARTS`."""

COMPARED_PARTS = ("context", "title", "extract")

Hashed = dict[tuple[View, Shown], list[tuple[Places, Numbers]]]
"""For each view, and what is shown of it, the items that were drawn, with the band hashes of that; part by part."""


def _render(inputs: Inputs, plan: Draw, recipe: Recipe, spill: Spill, workspace: Workspace, workers: int) -> Hashed:
    """Render every prompt into the spill."""
    hashed: Hashed = {(use.view, _shown(use.template)): [] for use in plan.uses}
    with ThreadPoolExecutor(workers) as threads:

        def work(number: int) -> Hashed:
            return _render_part(inputs, plan, recipe, spill, number)

        for number, found in enumerate(_in_order(threads, workers, work, inputs.parts)):
            for key, items in found.items():
                hashed[key] += items
            workspace.progress(number + 1, inputs.parts, "parts")
    return hashed


def _in_order(threads: ThreadPoolExecutor, workers: int, work: Callable[[int], T], count: int) -> Iterator[T]:
    """The results of a number of tasks in order, a few of them ahead."""
    ahead = workers + 1
    waiting = [threads.submit(work, number) for number in range(min(ahead, count))]
    for number in range(count):
        result = waiting.pop(0).result()
        if number + ahead < count:
            waiting.append(threads.submit(work, number + ahead))
        yield result


def _render_part(inputs: Inputs, plan: Draw, recipe: Recipe, spill: Spill, number: int) -> Hashed:
    part = read_part(inputs, number, ("title", "context", "text"))
    tables = [_SPILLED.empty_table()]
    hashed: Hashed = {}
    for view, all_items in plan.survey.items.items():
        first, end = all_items.first[number : number + 2].tolist()
        asked = {use: plan.masks[use][first:end] for use in range(len(plan.uses)) if plan.uses[use].view == view}
        chosen = np.flatnonzero(np.logical_or.reduce(list(asked.values())))
        if not len(chosen):
            continue
        items = items_of(part, view, inputs.outlines)[chosen]
        texts = texts_of(part, items, inputs.outlines)
        for shown in {_shown(plan.uses[use].template) for use in asked}:
            masks = [mask for use, mask in asked.items() if _shown(plan.uses[use].template) == shown]
            alike = np.flatnonzero(np.logical_or.reduce(masks)[chosen])
            bands = band_hashes(compared(texts[pl.Series(alike)], shown).to_arrow())
            hashed[view, shown] = [(first + chosen[alike], bands)]
        facts = part.seeds.select(FACTS)[items["row"]]
        views = prepared(texts.with_columns(facts["topic"]))
        for use, mask in asked.items():
            mine = np.flatnonzero(mask[chosen])
            if len(mine):
                rows = pl.Series(mine)
                places = first + chosen[mine]
                tables.append(_rows(plan.uses[use], use, places, items[rows], facts[rows], views[rows], recipe))
    spill.write(number, pa.concat_tables(tables))
    return hashed


def _shown(template: Template) -> Shown:
    return tuple(name for name in COMPARED_PARTS if name in template.uses)


def compared(texts: pl.DataFrame, shown: Shown) -> pl.Series:
    """What prompts take from their seeds, of what their template shows: where the seed stands, its title, its
    extract."""
    columns = {"context": pl.col("context").list.join(" ")}
    parts = [columns.get(name, pl.col(name)) for name in shown]
    return texts.select(pl.concat_str([pl.lit(""), *parts], separator=" ", ignore_nulls=True)).to_series()


def _rows(
    use: Use, number: int, places: Places, items: pl.DataFrame, facts: pl.DataFrame, views: pl.DataFrame, recipe: Recipe
) -> pa.Table:
    """The prompts of one use: rows of `_SPILLED`."""
    template = use.template
    named = views["topic"].is_not_null() & pl.Series(named_topics(items, template, recipe))
    views = views.with_columns(pl.when(named).then("topic").alias("topic"))
    texts = rendered(template, use.words, views).to_arrow().cast(pa.large_string())
    digests = np.empty((len(places), DIGEST_BYTES), dtype=np.uint8)
    seeds, raw = facts["seed_id"].to_arrow().cast(pa.binary()), texts.cast(pa.large_binary())
    for clause in (False, True):
        mine = np.flatnonzero(named.to_numpy() == clause)
        choices = canonical_json({"name_topic": clause})
        fixed = (template.id, template.version, template.audience, template.format, choices)
        pairs = (column.take(pa.array(mine)).to_pylist() for column in (seeds, raw))
        digests[mine] = prompt_digests(fixed, *pairs)
    return pa.table(
        [
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(places), [None, pa.py_buffer(digests)]),
            pa.repeat(pa.scalar(number, pa.int16()), len(places)),
            pa.array(places),
            *(facts[name].to_arrow().cast(_SPILLED.field(name).type) for name in FACTS),
            items["unit"].to_arrow().cast(pa.string()),
            named.to_arrow(),
            texts,
            *(items[name].to_arrow() for name in ("start", "end", "tokens")),
        ],
        schema=_SPILLED,
    )


def _digests(table: pa.Table) -> Digests:
    found = [np.empty((0, DIGEST_BYTES), dtype=np.uint8)]
    for chunk in table["digest"].chunks:
        raw = np.frombuffer(chunk.buffers()[1], dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        found.append(raw[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(found)


def _drop_near_duplicates(inputs: Inputs, plan: Draw, hashed: Hashed, threshold: float) -> None:
    """Of the prompts of a template (and unit) whose texts are similar, only that of the first item stays, first in the
    order of the items' numbers."""
    grouped: dict[tuple[View, Shown], tuple[Places, Places]] = {}
    for (view, shown), parts in hashed.items():
        places = np.concatenate([np.empty(0, dtype=np.int64), *(places for places, _ in parts)])
        bands = np.concatenate([np.empty((0, BANDS), dtype=np.uint64), *(bands for _, bands in parts)])
        parts.clear()
        numbers = plan.survey.items[view].numbers[places]
        lead = leaders(bands, numbers, partial(_texts, inputs, plan, view, shown, places), threshold)
        several = np.isin(lead, lead[lead != np.arange(len(lead))])
        grouped[view, shown] = places[several], places[lead[several]]
    for use, mask in zip(plan.uses, plan.masks, strict=True):
        places, lead = grouped[use.view, _shown(use.template)]
        asked = mask[places]
        plan.dropped.append(_later(places[asked], lead[asked], plan.survey.items[use.view]))


def _later(places: Places, lead: Places, items: Items) -> Places:
    """The items that are not the first of their group and unit."""
    order = np.lexsort((items.numbers[places], items.units[places], lead))
    same = (lead[order][1:] == lead[order][:-1]) & (items.units[places][order][1:] == items.units[places][order][:-1])
    return np.sort(places[order][1:][same])


def _texts(inputs: Inputs, plan: Draw, view: View, shown: Shown, places: Places, some: Places) -> list[str]:
    """What the prompts of some items are made of, ascending: each part that holds one is read once."""
    found: list[str] = []
    for number, mine in parts_of(plan.survey.items[view], places[some]):
        part = read_part(inputs, number, ("title", "context", "text"))
        items = items_of(part, view, inputs.outlines)[mine]
        found += compared(texts_of(part, items, inputs.outlines), shown).to_list()
    return found


def _store(
    writer: DatasetWriter, workspace: Workspace, plan: Draw, spill: Spill, recipe: Recipe, workers: int
) -> Tally:
    before = workspace.store.current("prompt_table")
    tally = Tally()
    with ThreadPoolExecutor(workers) as threads:

        def work(number: int) -> Bucket:
            return _bucket(spill, number, plan, before)

        for number, bucket in enumerate(_in_order(threads, workers, work, recipe.buckets)):
            name = bucket_name(number)
            writer.adopt(
                bucket.path, rows=bucket.rows, content=bucket.content, bucket=name, checksum=file_digest(bucket.path)
            )
            bucket.path.unlink()
            tally.prompts += bucket.rows
            tally.distinct += bucket.distinct
            tally.repeated += bucket.repeated
            tally.reused += bucket.reused
            tally.groups.append(bucket.groups.with_columns(pl.lit(name).alias("bucket")))
            tally.dropped.append(bucket.dropped)
            workspace.progress(number + 1, recipe.buckets, "buckets")
    return tally


@dataclass(frozen=True)
class Bucket:
    """A bucket's file, its rows in the order of their ids; what they are, counted."""

    path: Path
    content: str
    rows: int
    distinct: int
    repeated: int
    """Rows that had the id of another one."""
    reused: int
    """Rows that the version before has as well."""
    groups: pl.DataFrame
    dropped: pl.DataFrame
    """The near-duplicates."""


def _bucket(spill: Spill, number: int, plan: Draw, before: Dataset | None) -> Bucket:
    found = spill.read(number)
    use, item = found["use"].to_numpy(), found["item"].to_numpy()
    keep = np.ones(found.num_rows, dtype=bool)
    for index, places in enumerate(plan.dropped):
        if len(places):
            mine = np.flatnonzero(use == index)
            keep[mine] = ~np.isin(item[mine], places)
    digests = _digests(found)
    halves = digests.view(">u8")
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    order = order[keep[order]]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (halves[order][1:] != halves[order][:-1]).any(axis=1)
    order = order[first]
    chosen = found.combine_chunks().take(pa.array(order))
    name = bucket_name(number)
    rows = _columns(chosen, hex_digits(digests[order]), name, plan.uses).cast(PROMPT_TABLE)
    path = spill.folder / f"{name}.parquet"
    write_parquet(path, rows)
    return Bucket(
        path=path,
        content=table_digest(rows),
        rows=rows.num_rows,
        distinct=pc.count_distinct(rows["prompt_id"]).as_py(),
        repeated=int((~first).sum()),
        reused=_known(rows, before, name),
        groups=_frame(chosen.select([*GROUPS, "extract_tokens", "topic_clause", "unit"]))
        .group_by(GROUPS)
        .agg(
            pl.len().alias("prompts"),
            pl.col("extract_tokens", "topic_clause").sum(),
            pl.col("unit").is_not_null().sum().alias("of_a_unit"),
        ),
        dropped=_frame(found.select(["use", "seed_id"]).filter(pa.array(~keep))).sort("use", "seed_id"),
    )


def _known(rows: pa.Table, before: Dataset | None, bucket: str) -> int:
    if before is None or not before.paths(bucket=bucket):
        return 0
    known = before.table(["prompt_id"], bucket=bucket)["prompt_id"].combine_chunks()
    return int(pc.sum(pc.is_in(rows["prompt_id"], value_set=known)).as_py() or 0)


def _frame(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table))


def _columns(table: pa.Table, digits: npt.NDArray[np.uint8], bucket: str, uses: list[Use]) -> pa.Table:
    rows = table.num_rows
    use = pa.array(table["use"].to_numpy())
    width = 2 * DIGEST_BYTES
    offsets = pa.py_buffer(np.arange(0, width * (rows + 1), width, dtype=np.int32))
    columns = {
        "prompt_id": pa.StringArray.from_buffers(rows, offsets, pa.py_buffer(np.ascontiguousarray(digits))),
        "bucket": pa.repeat(bucket, rows),
        "mix": pa.array([use.mix for use in uses], pa.string()).take(use),
        "template": pa.array([use.template.id for use in uses], pa.string()).take(use),
        "template_version": pa.array([use.template.version for use in uses], pa.string()).take(use),
        "audience": pa.array([use.template.audience for use in uses], pa.string()).take(use),
        "format": pa.array([use.template.format for use in uses], pa.string()).take(use),
        "max_tokens": pa.array([use.max_tokens for use in uses], pa.int64()).take(use),
    }
    return pa.table({name: columns[name] if name in columns else table[name] for name in PROMPT_TABLE.names})


def _template_digest(template: Template) -> str:
    fields = {
        name: value for name, value in dataclasses.asdict(template).items() if name not in ("description", "checks")
    }
    return json_digest(fields)
