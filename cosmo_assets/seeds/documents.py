"""Seed documents: all sources of a recipe read, cleaned, and every row accounted for.

Belongs here: the funnel from a source's rows to `seed_documents`, with a reason for every row that falls out.
Does not belong here: file formats (`readers`), the rules for one row (`rows`), what is kept of a unit (`files`), or how
duplicates are found (`duplicates`).

A unit (a file, mostly) is read and cleaned once, and kept under a key of its content. The rest works on ids, digests
and signatures of all rows; texts are read again of near-duplicate candidates only. What comes out depends on the
sources and the recipe alone, not on what was built before.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.recipe import Source
from cosmo_assets.schemas import SEED_DOCUMENTS
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
from cosmo_assets.seeds.files import UnitFile, UnitFiles, reading, unit_key
from cosmo_assets.seeds.readers.sources import Unit, units
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.files import write_parquet
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import ALL
from cosmo_resources.storage.writer import REJECTED, DatasetWriter, read_table

STAGE_VERSION = "2"
TOXICITY_BINS = 20

_TWINS = pa.schema([pa.field("component", pa.string()), pa.field("twins", pa.list_(pa.int32()))])

Contents = Mapping[str, Sequence[tuple[Unit, str]]]
"""The units of each source, with the digest of each."""


@dataclass(frozen=True)
class Block:
    """The rows of one unit among all rows: `rows` of them, from number `first` on. Where the source's `max_documents`
    ends in this unit, `limit` is how many it may still give."""

    source: Source
    file: UnitFile
    first: int
    rows: int
    limit: int | None


def build(workspace: Workspace) -> Manifest:
    """Build `seed_documents`.

    Cost: every byte of the sources is read for its digest; text is read and cleaned of new units only; digests and
    signatures of all rows are sorted; of near-duplicate candidates, new or touched groups are compared.
    Memory: one part, about 60 bytes per row, and the candidates.
    """
    recipe = workspace.recipe
    contents = {source.name: [(unit, unit.digest()) for unit in units(recipe, source)] for source in recipe.sources}
    inputs = tuple(
        InputRef(
            asset=f"sources/{name}", bucket=ALL, version=json_digest([[unit.name, content] for unit, content in found])
        )
        for name, found in contents.items()
    )
    params = {"seeds": recipe.seeds.model_dump(), "sources": [reading(source) for source in recipe.sources]}
    return workspace.build(
        "seed_documents",
        lambda writer: _produce(writer, workspace, contents),
        stage_version=STAGE_VERSION,
        inputs=inputs,
        params=params,
    )


def _produce(writer: DatasetWriter, workspace: Workspace, contents: Contents) -> None:
    files = UnitFiles(workspace.store.work("seed_documents") / "files")
    blocks, keys = _blocks(files, workspace, contents)
    exact = repeated(_column(blocks, "text_high"), _column(blocks, "text_low"))
    threshold = workspace.recipe.seeds.near_duplicate_threshold
    twin_of = {} if threshold is None else _near_duplicates(writer, files, blocks, ~exact, threshold)
    alive = ~exact
    alive[list(twin_of)] = False
    _write(writer, blocks, alive)
    _account(writer, workspace, blocks, alive, _drops(blocks, exact, twin_of))
    writer.run["files_removed"] = files.keep(keys)


def _blocks(files: UnitFiles, workspace: Workspace, contents: Contents) -> tuple[list[Block], list[str]]:
    """The units of all sources, read where they are not kept yet, with their keys; those beyond a source's
    `max_documents` are left out."""
    blocks: list[Block] = []
    keys: list[str] = []
    first, total = 0, sum(len(found) for found in contents.values())
    for source in workspace.recipe.sources:
        left = source.max_documents
        for unit, content in contents[source.name]:
            if left == 0:
                break
            workspace.progress(len(blocks), total, "files")
            key = unit_key(unit, content, source, workspace.recipe.seeds, STAGE_VERSION)
            alive = partial(workspace.progress, len(blocks), total, "files")
            file = files.take(key, unit, source, workspace.recipe.seeds, alive)
            rows = file.kept.rows if left is None else min(file.kept.rows, left)
            blocks.append(Block(source, file, first, rows, left))
            keys.append(key)
            first += rows
            left = None if left is None else left - rows
    return blocks, keys


def _near_duplicates(
    writer: DatasetWriter, files: UnitFiles, blocks: list[Block], wanted: npt.NDArray[np.bool_], threshold: float
) -> dict[int, int]:
    """The rows that are similar to an earlier one, each with that one. What was found at the last build of a component
    that is made of the same seeds is taken over."""
    path = files.folder / "twins.parquet"
    known: dict[str, list[int]] = {}
    if path.is_file():
        known = dict(zip(*(column.to_pylist() for column in read_table(path).columns), strict=True))
    found = components(_bands(blocks, wanted))
    keys = _keys_of(blocks, found, threshold)
    answers = {key: known[key] for key in keys if key in known}
    new = [(key, component) for key, component in zip(keys, found, strict=True) if key not in answers]
    sizes = _column(blocks, "chars")
    for batch in batches([int(sizes[list(component.rows)].sum()) for _, component in new]):
        chosen = [new[number] for number in batch]
        texts = _values(blocks, [row for _, component in chosen for row in component.rows], "text")
        answers |= {key: twins(component, texts, threshold) for key, component in chosen}
    write_parquet(path, pa.table([list(answers), list(answers.values())], schema=_TWINS))
    writer.run["candidates"] = sum(len(component.rows) for component in found)
    writer.run["candidates_compared"] = sum(len(component.rows) for _, component in new)
    return {
        row: component.rows[twin]
        for key, component in zip(keys, found, strict=True)
        for row, twin in zip(component.rows, answers[key], strict=True)
        if twin >= 0
    }


def _bands(blocks: list[Block], wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[Rows, Hashes]]:
    """One band after another: the rows that have a signature and are wanted, and their hashes."""
    for band in range(BANDS):
        name = f"band_{band:02d}"
        column = pa.concat_tables([block.file.index([name], block.rows) for block in blocks])[name]
        rows = np.flatnonzero(wanted & column.is_valid().to_numpy())
        yield rows, column.fill_null(0).to_numpy()[rows]


def _keys_of(blocks: list[Block], found: list[Component], threshold: float) -> list[str]:
    high, low = _column(blocks, "seed_high"), _column(blocks, "seed_low")
    return [
        component_key([f"{high[row]:016x}{low[row]:016x}" for row in component.rows], threshold, STAGE_VERSION)
        for component in found
    ]


def _write(writer: DatasetWriter, blocks: list[Block], alive: npt.NDArray[np.bool_]) -> None:
    """The parts of the units, in order, without the rows that are no seeds: a part that lost none becomes one of the
    dataset as it is, without a copy."""
    for block in blocks:
        places = block.file.index(["part", "position"], block.rows)
        parts, positions = places["part"].to_numpy(), places["position"].to_numpy()
        mine = alive[block.first : block.first + block.rows]
        for number, whole in enumerate(block.file.kept.parts):
            mask = np.zeros(whole.rows, dtype=bool)
            mask[positions[(parts == number) & mine]] = True
            if mask.any():
                part = whole if mask.all() else block.file.without(number, mask)
                path = block.file.folder / part.name
                writer.adopt(path, rows=part.rows, content=part.content, checksum=part.checksum)
                writer.reused_rows += 0 if block.file.was_read else part.rows
    if not alive.any():
        writer.write(SEED_DOCUMENTS.empty_table())


def _drops(blocks: list[Block], exact: npt.NDArray[np.bool_], twin_of: Mapping[int, int]) -> dict[str, pa.Table]:
    """The rows that fell out, by source: those of its units in the order of reading, then its duplicates."""
    repeats = np.flatnonzero(exact).tolist()
    native = _values(blocks, [*repeats, *twin_of, *twin_of.values()], "native_id")
    firsts = np.array([block.first for block in blocks])
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in repeats:
        drop = {"place": native[row], "reason": "exact_duplicate", "failed": False}
        rows[_block_of(blocks, firsts, row).source.name].append(drop)
    for row, twin in sorted(twin_of.items()):
        drop = {"place": native[row], "reason": "near_duplicate", "detail": native[twin], "failed": False}
        rows[_block_of(blocks, firsts, row).source.name].append(drop)
    schema = pa.schema([*REJECTED, pa.field("failed", pa.bool_())])
    found = {}
    for name, group in groupby(blocks, key=lambda block: block.source.name):
        tables = [block.file.drops(block.limit).select(schema.names).cast(schema) for block in group]
        found[name] = pa.concat_tables([*tables, pa.Table.from_pylist(rows[name], schema=schema)])
    return found


def _account(
    writer: DatasetWriter,
    workspace: Workspace,
    blocks: list[Block],
    alive: npt.NDArray[np.bool_],
    drops: Mapping[str, pa.Table],
) -> None:
    kept: Counter[str] = Counter()
    for block in blocks:
        kept[block.source.name] += int(alive[block.first : block.first + block.rows].sum())
    dropped: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    funnel = {}
    for source in workspace.recipe.sources:
        table = drops[source.name]
        here = {flag: _counts(table.filter(pc.equal(table["failed"], flag))["reason"]) for flag in (False, True)}
        funnel[source.name] = {
            "kind": source.kind,
            "kept": kept[source.name],
            "dropped": here[False],
            "bad": here[True],
        }
        dropped.update(here[False])
        failed.update(here[True])
        place = pc.binary_join_element_wise(source.name, table["place"], ":")
        writer.reject_rows(table.set_column(0, REJECTED.field("place"), place).select(REJECTED.names))
    total = sum(kept.values())
    writer.flow("rows", total + dropped.total() + failed.total(), total, dropped=dropped, failed=failed)
    writer.summary = {"funnel": funnel, **_figures(blocks, alive)}
    taken = [block.file.kept.read for block in blocks if not block.file.was_read]
    read = [block.file.kept.read for block in blocks if block.file.was_read]
    writer.run |= {
        "files_read": len(read),
        "files_taken_over": len(taken),
        "rows_read": sum(read),
        "rows_taken_over": sum(taken),
    }


def _figures(blocks: list[Block], alive: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Sums over the seeds. `toxicity` counts the judged ones by score, in bins of a twentieth."""
    licences: Counter[str] = Counter()
    bins: Counter[int] = Counter()
    characters = masked = 0
    for block in blocks:
        index = block.file.index(["chars", "masked", "licence", "toxicity"], block.rows)
        index = index.filter(pa.array(alive[block.first : block.first + block.rows]))
        characters += pc.sum(index["chars"]).as_py() or 0
        masked += pc.sum(index["masked"]).as_py() or 0
        licences.update(_counts(index["licence"]))
        scores = index["toxicity"].drop_null().to_numpy()
        bins.update(np.minimum((scores * TOXICITY_BINS).astype(int), TOXICITY_BINS - 1).tolist())
    return {
        "licences": dict(sorted(licences.items())),
        "characters": characters,
        "masked": masked,
        "toxicity": [bins[number] for number in range(TOXICITY_BINS)],
    }


def _column(blocks: list[Block], name: str) -> Hashes:
    """A column of the index of all rows."""
    return np.concatenate([block.file.index([name], block.rows)[name].to_numpy() for block in blocks])


def _values(blocks: list[Block], rows: Sequence[int], column: str) -> dict[int, str]:
    """The values of a column of some rows, by number: each part that holds one of them is read once."""
    firsts = np.array([block.first for block in blocks])
    found: dict[int, str] = {}
    for first, group in groupby(sorted(set(rows)), key=lambda row: _block_of(blocks, firsts, row).first):
        block = _block_of(blocks, firsts, first)
        numbers = np.fromiter(group, dtype=np.int64)
        places = block.file.index(["part", "position"], block.rows).take(numbers - first)
        parts, positions = places["part"].to_numpy(), places["position"].to_numpy()
        for part in np.unique(parts):
            here = parts == part
            values = block.file.part(int(part), [column])[column].take(pa.array(positions[here])).to_pylist()
            found |= dict(zip(numbers[here].tolist(), values, strict=True))
    return found


def _block_of(blocks: list[Block], firsts: npt.NDArray[np.int64], row: int) -> Block:
    """The block that holds a row: the last one that begins at or before it (units without rows begin there, too)."""
    return blocks[int(np.searchsorted(firsts, row, side="right")) - 1]


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each text occurs, sorted by text."""
    pairs = pc.value_counts(column).to_pylist()
    return dict(sorted((str(pair["values"]), int(pair["counts"])) for pair in pairs))
