"""Seed documents, and real ones: all sources of a recipe read, cleaned, and every row accounted for.

Belongs here: the funnel from a source's rows to a table of texts, with a reason for every row that falls out.
Does not belong here: file formats (`readers`), the rules for one row (`rows`), what is kept of a unit (`files`), or how
duplicates are found (`duplicates`).

A unit (a file, mostly) is read and cleaned once, and kept under a key of its content. The rest works on ids, digests
and signatures of all rows; texts are read again of near-duplicate candidates only. What comes out depends on the
sources and the recipe alone, not on what was built before.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import SeedPolicy, TextSource
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.seeds.duplicates import (
    BANDS,
    Component,
    Hashes,
    Rows,
    batches,
    component_key,
    components,
    repeated,
    twins,
)
from cosmo_assets.seeds.files import UnitFile, UnitFiles, joined, reading, unit_key
from cosmo_assets.seeds.readers.sources import Unit, units
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import ALL
from cosmo_resources.storage.writer import REJECTED, DatasetWriter

STAGE_VERSION = "4"
TOXICITY_BINS = 20
LICENCES = 1000
"""How many licences the summary names, the commonest; a source may state one of its own for every document."""


@dataclass(frozen=True)
class Texts:
    """What is read: the sources of an asset, and how their texts are cleaned."""

    asset: str
    sources: Sequence[TextSource]
    policy: SeedPolicy


Contents = Mapping[str, Sequence[tuple[Unit, str]]]
"""The units of each source, with the digest of each."""


@dataclass(frozen=True)
class Block:
    """The rows of one unit among all rows: `rows` of them, from number `first` on. Where the source's `max_documents`
    ends in this unit, `limit` is how many it may still give."""

    source: TextSource
    file: UnitFile
    first: int
    rows: int
    limit: int | None


@dataclass(frozen=True)
class AllRows:
    """All rows of all units, by number, and where they lie; `index` has the columns of `files.INDEX`, the units those
    of `schema`."""

    blocks: list[Block]
    index: pa.Table
    schema: pa.Schema

    def column(self, name: str) -> Hashes:
        """A column of the index."""
        values: Hashes = self.index[name].to_numpy()
        return values

    def values(self, rows: Rows, column: str) -> pa.ChunkedArray:
        """A column of the dataset, of some rows, ascending: each part that holds one of them is read once."""
        firsts = np.array([block.first for block in self.blocks])
        # the last block that begins at or before a row holds it: units without rows begin there, too
        block_of = np.searchsorted(firsts, rows, side="right") - 1
        part_of, position_of = (self.index[name].take(pa.array(rows)).to_numpy() for name in ("part", "position"))
        found = []
        for places in _runs(block_of, part_of):  # the rows of a unit stand in its parts in the order of reading
            file = self.blocks[block_of[places.start]].file
            table = file.part(int(part_of[places.start]), [column])
            found.append(table[column].take(pa.array(position_of[places])).combine_chunks())
        return pa.chunked_array(found, type=self.schema.field(column).type)


def _runs(*columns: npt.NDArray[Any]) -> Iterator[slice]:
    """The longest runs of equal values in all columns."""
    changed = [np.flatnonzero(column[1:] != column[:-1]) + 1 for column in columns]
    bounds = np.unique(np.concatenate([[0], *changed, [len(columns[0])]])).astype(int).tolist()
    yield from (slice(start, end) for start, end in itertools.pairwise(bounds))


def build(workspace: Workspace) -> Manifest:
    """Build `seed_documents` (see `read_texts`)."""
    recipe = workspace.recipe
    return read_texts(workspace, Texts("seed_documents", recipe.sources, recipe.seeds))


def read_texts(workspace: Workspace, texts: Texts) -> Manifest:
    """Build a table of texts.

    Cost: every byte of the sources is read for its digest; if there is anything to build, also every byte that is kept
    of their units, for its checksum; text is read and cleaned of new units only; digests and signatures of all rows are
    copied and sorted; of near-duplicate candidates, new or touched groups are compared.
    Memory: one part, about 60 bytes per row, places and reasons of the rows that fell out, and the candidates.
    """
    recipe = workspace.recipe
    contents = {source.name: [(unit, unit.digest()) for unit in units(recipe, source)] for source in texts.sources}
    inputs = tuple(
        InputRef(
            asset=f"sources/{name}", bucket=ALL, version=json_digest([[unit.name, content] for unit, content in found])
        )
        for name, found in contents.items()
    )
    return workspace.build(
        texts.asset,
        lambda writer: _produce(writer, workspace, texts, contents),
        stage_version=STAGE_VERSION,
        inputs=inputs,
        params=params_of(texts),
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `seed_documents` depends on."""
    return params_of(Texts("seed_documents", recipe.sources, recipe.seeds))


def params_of(texts: Texts) -> dict[str, Any]:
    """What a table of texts depends on."""
    return {"seeds": texts.policy.model_dump(), "sources": [reading(source) for source in texts.sources]}


def _produce(writer: DatasetWriter, workspace: Workspace, texts: Texts, contents: Contents) -> None:
    files = UnitFiles(workspace.store.work(texts.asset) / "files", TABLES[texts.asset])
    blocks, keys = _blocks(files, workspace, texts, contents)
    index = joined((block.file.index(block.rows) for block in blocks), files.folder / ".index.tmp")
    rows = AllRows(blocks, index, files.schema)
    exact = repeated(rows.column("text_high"), rows.column("text_low"))
    threshold = texts.policy.near_duplicate_threshold
    twin_of = {} if threshold is None else _near_duplicates(writer, files, rows, ~exact, threshold)
    alive = ~exact
    alive[list(twin_of)] = False
    _write(writer, rows, alive)
    _account(writer, texts, rows, alive, _drops(rows, exact, twin_of))
    writer.run["files_removed"] = files.keep(keys)


def _blocks(files: UnitFiles, workspace: Workspace, texts: Texts, contents: Contents) -> tuple[list[Block], list[str]]:
    """The units of all sources, read where they are not kept yet, with their keys; those beyond a source's
    `max_documents` are left out."""
    blocks: list[Block] = []
    keys: list[str] = []
    first, total = 0, sum(len(found) for found in contents.values())
    for source in texts.sources:
        left = source.max_documents
        for unit, content in contents[source.name]:
            if left == 0:
                break
            workspace.progress(len(blocks), total, "files")
            key = unit_key(unit, content, source, texts.policy, STAGE_VERSION)
            alive = partial(workspace.progress, len(blocks), total, "files")
            file = files.take(key, unit, content, source, texts.policy, alive)
            rows = file.kept.rows if left is None else min(file.kept.rows, left)
            blocks.append(Block(source, file, first, rows, left))
            keys.append(key)
            first += rows
            left = None if left is None else left - rows
    return blocks, keys


def _near_duplicates(
    writer: DatasetWriter, files: UnitFiles, rows: AllRows, wanted: npt.NDArray[np.bool_], threshold: float
) -> dict[int, int]:
    """The rows that are similar to an earlier one, each with that one. What was found at the last build of a component
    that is made of the same seeds is taken over."""
    known = files.known_twins()
    found = components(_bands(rows, wanted))
    keys = _keys_of(rows, found, threshold)
    answers = {key: known[key] for key in keys if key in known}
    new = [(key, component) for key, component in zip(keys, found, strict=True) if key not in answers]
    sizes = rows.column("chars")
    for batch in batches([int(sizes[list(component.rows)].sum()) for _, component in new]):
        chosen = [new[number] for number in batch]
        numbers = np.unique(np.array([row for _, component in chosen for row in component.rows], dtype=np.int64))
        texts = dict(zip(numbers.tolist(), rows.values(numbers, "text").to_pylist(), strict=True))
        answers |= {key: twins(component, texts, threshold) for key, component in chosen}
    files.keep_twins(answers)
    writer.run["candidates"] = sum(len(component.rows) for component in found)
    writer.run["candidates_compared"] = sum(len(component.rows) for _, component in new)
    return {
        row: component.rows[twin]
        for key, component in zip(keys, found, strict=True)
        for row, twin in zip(component.rows, answers[key], strict=True)
        if twin >= 0
    }


def _bands(rows: AllRows, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[Rows, Hashes]]:
    """One band after another: the rows that have a signature and are wanted, and their hashes."""
    for band in range(BANDS):
        column = rows.index[f"band_{band:02d}"]
        signed = np.flatnonzero(wanted & column.is_valid().to_numpy())
        yield signed, column.fill_null(0).to_numpy()[signed]


def _keys_of(rows: AllRows, found: list[Component], threshold: float) -> list[str]:
    high, low = rows.column("seed_high"), rows.column("seed_low")
    return [
        component_key([f"{high[row]:016x}{low[row]:016x}" for row in component.rows], threshold, STAGE_VERSION)
        for component in found
    ]


def _write(writer: DatasetWriter, rows: AllRows, alive: npt.NDArray[np.bool_]) -> None:
    """The parts of the units, in order, without the rows that are no seeds: a part that lost none becomes one of the
    dataset as it is, without a copy."""
    part_of, position_of = rows.column("part"), rows.column("position")
    for block in rows.blocks:
        mine = slice(block.first, block.first + block.rows)
        parts, positions = part_of[mine], position_of[mine]
        for number, whole in enumerate(block.file.kept.parts):
            mask = np.zeros(whole.rows, dtype=bool)
            mask[positions[(parts == number) & alive[mine]]] = True
            if mask.any():
                part = whole if mask.all() else block.file.without(number, mask)
                path = block.file.folder / part.name
                writer.adopt(path, rows=part.rows, content=part.content, checksum=part.checksum)
                writer.reused_rows += 0 if block.file.was_read else part.rows
    if not alive.any():
        writer.write(rows.schema.empty_table())


_DROPPED = pa.schema([*REJECTED, pa.field("failed", pa.bool_())])


def _drops(rows: AllRows, exact: npt.NDArray[np.bool_], twin_of: Mapping[int, int]) -> Iterator[tuple[str, pa.Table]]:
    """The rows that fell out, one source after another: those of its units in the order of reading, then its
    duplicates. Memory: those of one source, as Arrow has them."""
    near = np.array(sorted(twin_of), dtype=np.int64)
    for name, group in groupby(rows.blocks, key=lambda block: block.source.name):
        blocks = list(group)
        first, end = blocks[0].first, blocks[-1].first + blocks[-1].rows
        tables = [block.file.drops(block.limit).select(_DROPPED.names).cast(_DROPPED) for block in blocks]
        tables.append(_duplicates(rows, first + np.flatnonzero(exact[first:end]), None))
        similar = near[(near >= first) & (near < end)]
        tables.append(_duplicates(rows, similar, np.array([twin_of[row] for row in similar.tolist()], dtype=np.int64)))
        yield name, pa.concat_tables(tables)


def _duplicates(rows: AllRows, fallen: Rows, twins_of: Rows | None) -> pa.Table:
    """What is recorded of rows that repeat others: of each, the row that it is similar to, where it is not equal."""
    detail: Any = pa.nulls(len(fallen), pa.string())
    if twins_of is not None:
        distinct, places = np.unique(twins_of, return_inverse=True)
        detail = rows.values(distinct, "native_id").take(pa.array(places))
    columns = {
        "place": rows.values(fallen, "native_id"),
        "field": pa.nulls(len(fallen), pa.string()),
        "reason": pa.repeat("exact_duplicate" if twins_of is None else "near_duplicate", len(fallen)),
        "detail": detail,
        "failed": pa.repeat(False, len(fallen)),
    }
    return pa.table(columns).cast(_DROPPED)


def _account(
    writer: DatasetWriter,
    texts: Texts,
    rows: AllRows,
    alive: npt.NDArray[np.bool_],
    drops: Iterator[tuple[str, pa.Table]],
) -> None:
    blocks = rows.blocks
    kept: Counter[str] = Counter()
    for block in blocks:
        kept[block.source.name] += int(alive[block.first : block.first + block.rows].sum())
    kinds = {source.name: source.kind for source in texts.sources}
    dropped: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    funnel = {}
    for name, table in drops:
        here = {flag: _counts(table.filter(pc.equal(table["failed"], flag))["reason"]) for flag in (False, True)}
        funnel[name] = {"kind": kinds[name], "kept": kept[name], "dropped": here[False], "bad": here[True]}
        dropped.update(here[False])
        failed.update(here[True])
        place = pc.binary_join_element_wise(name, table["place"], ":")
        writer.reject_rows(table.set_column(0, REJECTED.field("place"), place).select(REJECTED.names))
    total = sum(kept.values())
    writer.flow("rows", total + dropped.total() + failed.total(), total, dropped=dropped, failed=failed)
    writer.summary = {"funnel": funnel, **_figures(rows.index, alive)}
    taken = [block.file.kept.read for block in blocks if not block.file.was_read]
    read = [block.file.kept.read for block in blocks if block.file.was_read]
    writer.run |= {
        "files_read": len(read),
        "files_taken_over": len(taken),
        "rows_read": sum(read),
        "rows_taken_over": sum(taken),
    }


def _figures(index: pa.Table, alive: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Sums over the seeds. `licences` counts them by licence, the `LICENCES` commonest ones; `other_licences` says how
    many more there are, and the seeds that they have. `toxicity` counts the judged seeds by score, in bins of a
    twentieth."""
    licences: Counter[str] = Counter()
    bins: Counter[int] = Counter()
    characters = masked = first = 0
    for batch in index.select(["chars", "masked", "licence", "toxicity"]).to_batches():
        seeds = batch.filter(pa.array(alive[first : first + batch.num_rows]))
        first += batch.num_rows
        characters += pc.sum(seeds["chars"]).as_py() or 0
        masked += pc.sum(seeds["masked"]).as_py() or 0
        licences.update(_counts(seeds["licence"]))
        scores = seeds["toxicity"].drop_null().to_numpy()
        bins.update(np.minimum((scores * TOXICITY_BINS).astype(int), TOXICITY_BINS - 1).tolist())
    ranked = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    others = [count for _, count in ranked[LICENCES:]]
    return {
        "licences": dict(sorted(ranked[:LICENCES])),
        "other_licences": {"licences": len(others), "seeds": sum(others)},
        "unlicensed": sum(count for licence, count in licences.items() if not licence.strip()),
        "characters": characters,
        "masked": masked,
        "toxicity": [bins[number] for number in range(TOXICITY_BINS)],
    }


def _counts(column: pa.ChunkedArray | pa.Array) -> dict[str, int]:
    """How often each text occurs, sorted by text."""
    pairs = pc.value_counts(column).to_pylist()
    return dict(sorted((str(pair["values"]), int(pair["counts"])) for pair in pairs))
