"""Signals of texts: one row of figures for every seed, every text that decontamination kept, and every real one.

Belongs here: the stages. Does not belong here: what measures (`families`), or which documents are kept for it
(`cosmo_assets.selection`).
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.deduplication.signatures import documents_left
from cosmo_assets.real.texts import DOCUMENTS, ELIGIBLE
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.signals.catalogue import OF_GENERATED
from cosmo_assets.signals.families import FAMILIES, Measure
from cosmo_assets.signals.spread import Spread
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import Embedder
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import ALL, Dataset
from cosmo_resources.storage.writer import DatasetWriter

BATCH = 2048
"""Texts that are measured at a time."""


def build_texts(workspace: Workspace, family: str, bucket: str, embedder: Callable[[], Embedder]) -> Manifest:
    """Build `text_FAMILY` of a bucket. Cost: linear in the text of documents that no earlier version measured, and
    reading the others; memory for a shard, and the figures of the bucket."""
    verdicts, generations = (workspace.store.open(asset, bucket) for asset in ("decontaminated", "generations"))
    total, inputs = verdicts.manifest.flow.rows_out, (verdicts.ref(), generations.ref())
    if family not in OF_GENERATED:
        parts = documents_left(verdicts, generations, ["text"])
        return _build(workspace, "text", family, embedder, generations, parts, total, inputs, bucket)
    prompts = workspace.store.open("prompt_table")
    parts = _with_prompts(documents_left(verdicts, generations, ["text", "prompt_id"]), prompts, bucket)
    read = (*inputs, prompts.ref(bucket))
    return _build(workspace, "text", family, embedder, generations, parts, total, read, bucket)


def _with_prompts(parts: Iterable[pa.Table], prompts: Dataset, bucket: str) -> Iterator[pa.Table]:
    """With the prompt of each text, of which its id is a hash: another prompt is another text."""
    asked = prompts.table(["prompt_id", "prompt"], bucket=bucket).combine_chunks()
    for part in parts:
        places = pc.index_in(part["prompt_id"], asked["prompt_id"])
        yield part.append_column("prompt", asked["prompt"].take(places))


def build_real(workspace: Workspace, family: str, embedder: Callable[[], Embedder]) -> Manifest:
    """Build `real_FAMILY`: the same of the real documents that may stand in the corpus."""
    documents, eligible = (workspace.store.open(asset) for asset in (DOCUMENTS, ELIGIBLE))
    chosen = eligible.table(["doc_id"])["doc_id"].combine_chunks()
    parts = (part.filter(pc.is_in(part["doc_id"], chosen)) for part in documents.tables(["doc_id", "text"]))
    inputs = (documents.ref(), eligible.ref())
    return _build(workspace, "real", family, embedder, documents, parts, len(chosen), inputs)


def build_seeds(workspace: Workspace, family: str, embedder: Callable[[], Embedder]) -> Manifest:
    """Build `seed_FAMILY`: the same of all seeds."""
    seeds = workspace.store.open("seed_documents")
    parts = seeds.tables(["seed_id", "text"])
    return _build(workspace, "seed", family, embedder, seeds, parts, seeds.manifest.rows, (seeds.ref(),))


def _build(
    workspace: Workspace,
    kind: str,
    family: str,
    embedder: Callable[[], Embedder],
    source: Dataset,
    parts: Iterable[pa.Table],
    total: int,
    inputs: tuple[InputRef, ...],
    bucket: str = ALL,
) -> Manifest:
    """`parts` are tables of an id and a text, and the prompt where the family needs it."""
    asset, found = f"{kind}_{family}", FAMILIES[family]
    key = TABLES[asset].names[0]
    measure = functools.cache(lambda: found.measure(workspace, embedder))
    return workspace.build_rows(
        asset,
        lambda writer, earlier: _produce(writer, workspace, asset, family, measure, parts, total, earlier),
        key=key,
        sources=[RowSource(source, ("text",))],
        bucket=bucket,
        stage_version=found.version,
        inputs=inputs,
        fixed=tuple(workspace.store.open(model).ref() for model in found.models),
        params=found.params(workspace.recipe),
    )


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    asset: str,
    family: str,
    measure: Callable[[], Measure],
    parts: Iterable[pa.Table],
    total: int,
    earlier: Earlier,
) -> None:
    schema, done = TABLES[asset], 0
    spread, key = Spread(schema), schema.names[0]
    read = ("text", "prompt") if family in OF_GENERATED else ("text",)
    for part in parts:
        for start in range(0, max(part.num_rows, 1), BATCH):
            texts = part.slice(start, BATCH).combine_chunks()
            known = earlier.rows(texts[key].to_pylist())
            held = set(known[key].to_pylist())
            new = texts.filter(pa.array([name not in held for name in texts[key].to_pylist()], pa.bool_()))
            tables = [known]
            if new.num_rows:
                tables.append(measure()(*(new[name] for name in read)).add_column(0, key, new[key]))
            table = _in_order(texts[key], tables, schema)
            writer.reused_rows += known.num_rows
            writer.write(table)
            spread.add(table)
            done += texts.num_rows
            workspace.progress(done, total, "documents")
    writer.flow("documents", total, done)
    writer.summary = {"spread": spread.summary()}


def _in_order(ids: pa.ChunkedArray, tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """The rows of these texts, in their order."""
    rows = pa.concat_tables([table.select(schema.names).cast(schema) for table in tables])
    place = {name: number for number, name in enumerate(rows[schema.names[0]].to_pylist())}
    return rows.take(pa.array([place[name] for name in ids.to_pylist()], pa.int64()))
