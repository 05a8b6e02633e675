"""The token index: for every span of tokens the document, prompt, template, topic, seed, source and model behind it.

Belongs here: building the index. Does not belong here: asking it (`lookup`, `trace`), joining documents with what they
come from (`gather`), finding texts (`snippets`).

The asset has two forms of the same thing. Its table, a row for each span, is for people and for joins with other
tools. Its arrays (`arrays`) are for look-ups: seeds, prompts and documents are numbered in the order of their ids,
spans in the order of the shards, and what belongs to what is a number, or a list of numbers:

    seeds.id      seeds.row      seeds.prompts
    prompts.id    prompts.row    prompts.seed      prompts.documents
    documents.id  documents.row  documents.prompt  documents.profile  documents.spans
    spans.end     spans.copy     spans.document
    profiles.value  profiles.documents  profiles.tokens  profiles.spans

`row` is where the thing itself is read: its row in `seed_documents`, `prompt_table` or `generations`; of a real
document, which has no prompt (`NO_PROMPT`), in `real_documents`, whose rows follow those of all buckets. A profile is
one combination of source, topic, template, model and so on (`gather.FACETS`) that documents have; whoever asks for a
topic gets the spans and the totals of all profiles with it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_assets.ids import Numbers, ids_of
from cosmo_assets.lineage import snippets
from cosmo_assets.lineage.arrays import NO_PROMPT, IndexWriter, grouped, halves, numbered, places_of
from cosmo_assets.lineage.gather import FACETS, Documents, Profile, gather
from cosmo_assets.real.texts import texts_of
from cosmo_assets.schemas.corpus import TOKEN_LINEAGE
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "3"
PART_SPANS = 1 << 20
"""Spans in a part of the table."""

READ_ROWS = 1 << 20
COUNTED = ("source", "topic", "template", "audience", "format", "licence")
NONE = "(none)"

Counts = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class _Inputs:
    shards: Dataset
    mixture: Dataset
    texts: Mapping[str, Dataset]
    prompts: Dataset
    seeds: Dataset


@dataclass(frozen=True)
class _Chain:
    """What the table is written from: ids sorted, and the numbers that lead from one to the next."""

    seeds: Numbers
    prompts: Numbers
    seed_of: Counts
    documents: Numbers
    prompt_of: Counts
    row_of: Counts
    profile_of: Counts
    profiles: list[Profile]


@dataclass(frozen=True)
class _Spans:
    """Spans in the order of the shards; `names` are the shards, each with how many spans there are before its own."""

    end: Numbers
    start: Numbers
    copy: npt.NDArray[np.uint16]
    document: Counts
    names: list[tuple[str, int]]


def build(workspace: Workspace) -> Manifest:
    """Build `token_lineage`. Cost: linear in spans, documents, prompts and the texts of buckets whose generations are
    new, plus sorts. Memory: a bucket at a time, and about 110 bytes for each document and 30 for each span.

    Raises:
        CosmoError: the shards are not those of the current mixture, or a span leads nowhere, so that a token could not
            be traced.
    """
    store = workspace.store
    shards, mixture, prompts, seeds = (
        store.open(asset) for asset in ("tokenized_shards", "mixture", "prompt_table", "seed_documents")
    )
    texts = texts_of(store, mixture)
    inputs = (shards, mixture, *texts.values(), prompts, seeds)
    earlier = store.current("token_lineage") if store.current_manifest("token_lineage") else None
    return workspace.build(
        "token_lineage",
        lambda writer: _produce(writer, workspace, _Inputs(shards, mixture, texts, prompts, seeds), earlier),
        stage_version=STAGE_VERSION,
        inputs=tuple(dataset.ref() for dataset in inputs),
        params={"snippets": snippets.PARAMETERS},
    )


def _produce(writer: DatasetWriter, workspace: Workspace, inputs: _Inputs, earlier: Dataset | None) -> None:
    files = IndexWriter(writer)
    chain = _write_chain(files, gather(inputs.mixture, inputs.texts, inputs.prompts), inputs.seeds)
    spans = _write_spans(files, inputs.shards, chain)
    totals = _write_profiles(files, spans, chain)
    written = 0
    for part in _table(spans, chain, inputs.texts):
        writer.write(part)
        written += part.num_rows
        workspace.progress(written, len(spans.end), "spans")
    found = snippets.build(files, inputs.texts, earlier, workspace.progress)
    writer.flow("spans", inputs.shards.manifest.flow.rows_out, len(spans.end))
    tokens: dict[str, Counter[str]] = {name: Counter() for name in COUNTED}
    for profile, total in zip(chain.profiles, totals.tolist(), strict=True):
        for name, value in zip(FACETS, profile, strict=True):
            if name in tokens:
                tokens[name][NONE if value is None else str(value)] += total
    writer.summary = {
        "tokens": int(totals.sum()),
        "documents": len(chain.documents),
        "prompts": len(chain.prompts),
        "seeds": len(chain.seeds),
        "profiles": len(chain.profiles),
        "by": {name: dict(sorted(counter.items())) for name, counter in tokens.items()},
        "snippets": found,
    }
    files.finish(
        {
            "shards": [[name, first] for name, first in spans.names],
            "facets": {name: _values(chain.profiles, column) for column, name in enumerate(FACETS)},
            "texts": [[bucket, dataset.manifest.rows] for bucket, dataset in inputs.texts.items()],
        }
    )


def _write_chain(files: IndexWriter, documents: Documents, seeds: Dataset) -> _Chain:
    """Sort and number seeds, prompts and documents, and write what leads from one to the other."""
    ids, numbers, firsts = numbered(documents.ids)
    if len(ids) < len(numbers):
        raise CosmoError("a document is in the mixture twice", remedy="remove mixture and run `cosmo run`")
    del numbers
    files.add_ids("documents", ids)
    row_of, profile_of = documents.row[firsts], documents.profile[firsts]
    files.add("documents.row", row_of)
    files.add("documents.profile", profile_of)
    documents.ids = np.empty((0, 2), np.uint64)
    documents.row = documents.profile = np.empty(0, np.uint32)
    generated = np.flatnonzero(~documents.real)
    prompts, numbers, asked = numbered(documents.prompts[generated])
    asked = generated[asked]
    prompt_of = np.full(len(documents.real), NO_PROMPT, np.uint32)
    prompt_of[generated] = numbers
    prompt_of = prompt_of[firsts]
    documents.prompts = np.empty((0, 2), np.uint64)
    files.add_ids("prompts", prompts)
    files.add("prompts.row", documents.prompt_row[asked])
    files.add("documents.prompt", prompt_of)
    bounds, members = grouped(np.minimum(prompt_of, len(prompts)), len(prompts) + 1)  # the last group: the real ones
    files.add_groups("prompts.documents", bounds[:-1], members[: bounds[-2]])
    seed_ids, seed_of, _ = numbered(documents.seeds[asked])
    documents.seeds, documents.prompt_row = np.empty((0, 2), np.uint64), np.empty(0, np.uint32)
    files.add_ids("seeds", seed_ids)
    files.add("prompts.seed", seed_of)
    files.add_groups("seeds.prompts", *grouped(seed_of, len(seed_ids)))
    files.add("seeds.row", _seed_rows(seeds, seed_ids))
    return _Chain(seed_ids, prompts, seed_of, ids, prompt_of, row_of, profile_of, documents.profiles)


def _seed_rows(seeds: Dataset, wanted: Numbers) -> Counts:
    rows, found, start = np.zeros(len(wanted), np.uint32), np.zeros(len(wanted), bool), 0
    for batch in batches(seeds, ["seed_id"]):
        places = places_of(halves(batch["seed_id"], "seed_documents"), wanted)
        there = np.flatnonzero(places >= 0)
        rows[places[there]] = start + there
        found[places[there]] = True
        start += batch.num_rows
    if not found.all():
        lost = ids_of(wanted[np.flatnonzero(~found)[:1]])[0]
        raise CosmoError(
            f"seed {lost} of the prompts (and {int((~found).sum()) - 1} more) is not among the current seed_documents",
            remedy="run `cosmo run` to the end",
        )
    return rows


def _write_spans(files: IndexWriter, shards: Dataset, chain: _Chain) -> _Spans:
    """Read where documents stand in the shards.

    Raises:
        CosmoError: a span's document is not in the mixture, or spans do not follow one another.
    """
    count = shards.manifest.rows
    spans = _Spans(
        end=np.empty(count, np.uint64),
        start=np.empty(count, np.uint64),
        copy=np.empty(count, np.uint16),
        document=np.empty(count, np.uint32),
        names=[],
    )
    first = 0
    for batch in batches(shards, ["shard", "start", "end", "doc_id", "copy"]):
        last = first + batch.num_rows
        places = places_of(halves(batch["doc_id"], "tokenized_shards"), chain.documents)
        if (places < 0).any():
            lost = batch.slice(int(np.argmax(places < 0)), 1).to_pylist()[0]
            raise CosmoError(
                f"{int((places < 0).sum())} token spans have no prompt, the first is {tuple(lost.values())}",
                remedy="the shards were built from other generations than the current ones: run `cosmo run` to the end",
            )
        spans.document[first:last] = places
        for name in ("start", "end", "copy"):
            getattr(spans, name)[first:last] = batch[name].to_numpy()
        names = batch["shard"].dictionary_encode()
        codes = names.indices.to_numpy()
        changes = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist()]
        for place in changes:
            name = names.dictionary[int(codes[place])].as_py()
            if not spans.names or spans.names[-1][0] != name:
                spans.names.append((name, first + place))
        first = last
    follows = spans.start[1:] == spans.end[:-1]
    follows[[start - 1 for _, start in spans.names[1:]]] = True
    begins = [int(spans.start[start]) for _, start in spans.names]
    if any(begins) or not follows.all() or len(dict(spans.names)) < len(spans.names):
        raise CosmoError(
            "the spans of the shards do not follow one another", remedy="remove tokenized_shards and run `cosmo run`"
        )
    files.add("spans.end", spans.end)
    files.add("spans.copy", spans.copy)
    files.add("spans.document", spans.document)
    files.add_groups("documents.spans", *grouped(spans.document, len(chain.documents)))
    return spans


def _write_profiles(files: IndexWriter, spans: _Spans, chain: _Chain) -> npt.NDArray[np.int64]:
    """Write the profiles, their spans and their totals; the tokens of each."""
    count = len(chain.profiles)
    table = np.empty((count, len(FACETS)), np.uint32)
    for column in range(len(FACETS)):
        codes = {value: code for code, value in enumerate(_values(chain.profiles, column))}
        table[:, column] = [codes[profile[column]] for profile in chain.profiles]
    files.add("profiles.value", table)
    files.add("profiles.documents", np.bincount(chain.profile_of, minlength=count).astype(np.uint64))
    profiles = chain.profile_of[spans.document]
    files.add_groups("profiles.spans", *grouped(profiles, count))
    totals = np.zeros(count, np.int64)
    np.add.at(totals, profiles, (spans.end - spans.start).astype(np.int64))
    files.add("profiles.tokens", totals.astype(np.uint64))
    return totals


def _values(profiles: list[Profile], column: int) -> list[str | int | None]:
    """The values of a facet, sorted; none first."""
    return sorted({profile[column] for profile in profiles}, key=lambda value: (value is not None, str(value)))


def _table(spans: _Spans, chain: _Chain, texts: Mapping[str, Dataset]) -> Iterator[pa.Table]:
    """The rows of the asset's table, a part at a time."""
    facets = [_dictionary(chain.profiles, column) for column in range(len(FACETS))]
    buckets = pa.array(list(texts))
    ends = np.cumsum([dataset.manifest.rows for dataset in texts.values()])
    shard_names, shard_starts = pa.array([name for name, _ in spans.names]), [start for _, start in spans.names]
    for first in range(0, max(len(spans.end), 1), PART_SPANS):
        part = slice(first, first + PART_SPANS)
        document = spans.document[part]
        prompt, profile = chain.prompt_of[document], pa.array(chain.profile_of[document])
        shard = np.searchsorted(shard_starts, np.arange(first, first + len(document)), side="right") - 1
        columns: dict[str, Any] = {
            "shard": shard_names.take(pa.array(shard)),
            "start": spans.start[part],
            "end": spans.end[part],
            "doc_id": ids_of(chain.documents[document]),
            "copy": spans.copy[part],
            "bucket": buckets.take(pa.array(np.searchsorted(ends, chain.row_of[document], side="right"))),
            "prompt_id": _ids_where(chain.prompts, prompt, prompt != NO_PROMPT),
            "seed_id": _ids_where(chain.seeds, _taken(chain.seed_of, prompt), prompt != NO_PROMPT),
            **{name: values.take(profile) for name, values in zip(FACETS, facets, strict=True)},
        }
        yield pa.table(columns).select(TOKEN_LINEAGE.names)


def _taken(values: Counts, places: Counts) -> Counts:
    """Values at places, of which some may be `NO_PROMPT`: there any value stands."""
    return values[np.minimum(places, max(len(values) - 1, 0))] if len(values) else np.zeros(len(places), np.uint32)


def _ids_where(ids: Numbers, places: Counts, there: npt.NDArray[np.bool_]) -> pa.Array:
    """The ids at places, null where `there` does not hold."""
    if there.all():
        return ids_of(ids[places])
    found = ids_of(ids[places[there]])
    numbers = pa.array(np.cumsum(there) - 1, mask=~there)
    return found.take(numbers)


def _dictionary(profiles: list[Profile], column: int) -> pa.Array:
    return pa.array([profile[column] for profile in profiles], TOKEN_LINEAGE.field(FACETS[column]).type)


def batches(dataset: Dataset, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a dataset, a bounded number at a time: a part may be larger than memory.

    Raises:
        CosmoError: a file is damaged.
    """
    for path in dataset.paths():
        try:
            yield from pq.ParquetFile(path).iter_batches(READ_ROWS, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise CosmoError(
                f"{path}: not a readable parquet file: {error}",
                remedy="run `cosmo doctor`, then materialize the asset again",
            ) from error
