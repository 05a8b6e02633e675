"""The mixture at one and at ten million documents: seconds, memory, exactness, beside the plain way; and a purge.

    python -m tests.benchmarks.mixture [documents ...] [--folder FOLDER] [--plain-up-to DOCUMENTS] [--shards]

Writes the tables that the mixture reads (three sources, 16 audiences, formats and topics, ids of 32 digits), in a
folder that is removed afterwards. Each measurement is a process of its own: CPU seconds, wall seconds, and its peak of
memory less that of a process that has only imported the same. The plain way is a dictionary per document and a coin for
the part of an epoch. Then one source is withdrawn: what the purge shows, the mixture without it, and whether every
other row is the same; with --shards, every token of the shards as well, and before that one document and a hundred
more are withdrawn: how many shards are linked to those that were there.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.ids import bucket_name, hexadecimal, uniform
from cosmo_assets.mixture import stage
from cosmo_assets.mixture.stage import supplies
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_assets.tokenization.shards import map_shard
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.keys import Item
from cosmo_assets.withdrawal.purge import measure as measure_purge
from cosmo_assets.withdrawal.record import Note, Size
from cosmo_resources.storage.digest import digest, table_digest
from cosmo_resources.storage.manifest import Tokens
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.unit.cosmo_assets.synthetic import recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

BUCKETS = 64
SOURCES = ("web", "books", "courses")
SHARES = (0.8, 0.15, 0.05)
MIXTURE = {
    "components": {
        "web": {"weight": 60},
        "books": {"weight": 25, "max_epochs": 2},
        "courses": {"weight": 15, "max_epochs": 3},
    },
    "factors": {"audience": {"audience 3": 2.0}, "format": {"format 5": 0.5}, "topic": {"topic 7": 0.0}},
}
SHARDS = {"shard_tokens": 4_000_000}
PLAIN = {"components": MIXTURE["components"]}


def workspace(folder: Path, mixture: dict[str, Any]) -> Workspace:
    sources = [
        {"name": name, "kind": "web", "reader": "jsonl", "path": "x.jsonl", "licence": "CC0-1.0"} for name in SOURCES
    ]
    return Workspace(
        CorpusStore(folder / "store"), recipe(buckets=BUCKETS, sources=sources, mixture=mixture, tokenization=SHARDS)
    )


def table(asset: str, columns: dict[str, pa.Array]) -> pa.Table:
    """A table of an asset with these columns, the others filled with one value."""
    count = len(next(iter(columns.values())))
    none = pa.array(np.zeros(count + 1, np.int32))
    arrays = []
    for field in TABLES[asset]:
        if field.name in columns:
            arrays.append(columns[field.name].cast(field.type))
        elif field.nullable:
            arrays.append(pa.nulls(count, field.type))
        elif pa.types.is_list(field.type):
            arrays.append(pa.ListArray.from_arrays(none, pa.nulls(0, field.type.value_type)))
        else:
            value = "x" if pa.types.is_string(field.type) else 0
            arrays.append(pa.repeat(pa.scalar(value), count).cast(field.type))
    return pa.Table.from_arrays(arrays, schema=TABLES[asset])


def columns_of(index: int, documents: int) -> dict[str, pa.Array]:
    """What is drawn for one bucket, always the same."""
    generator, count = np.random.default_rng(index), documents // BUCKETS
    sizes = generator.integers(50, 1500, count)
    ids = {
        name: pa.array(hexadecimal(generator.integers(0, 256, (count, 16), dtype=np.uint8)))
        for name in ("doc_id", "prompt_id", "seed_id")
    }
    named = {
        column: pa.array(np.array([f"{column} {number}" for number in range(16)])[generator.integers(0, 16, count)])
        for column in ("topic", "audience", "format")
    }
    return {
        **ids,
        **named,
        "source": pa.array(np.array(SOURCES)[generator.choice(len(SOURCES), count, p=SHARES)]),
        "completion_tokens": pa.array(sizes),
        "shard": pa.repeat(pa.scalar(f"shard-{index:05d}.ds"), count),
        "start": pa.array(np.cumsum(sizes) - sizes),
        "end": pa.array(np.cumsum(sizes)),
        "keep": pa.repeat(pa.scalar(True), count),
        "status": pa.repeat(pa.scalar("ok"), count),
        "text": pc.binary_join_element_wise("The water of a river says", ids["doc_id"], " "),
    }


def put(space: Workspace, asset: str, parts: Iterator[tuple[str | None, pa.Table]], bucket: str, tokens: int) -> None:
    def produce(writer: DatasetWriter) -> None:
        rows = 0
        for part, found in parts:
            writer.write(found, bucket=part)
            rows += found.num_rows
        writer.flow("documents", rows, rows, tokens=Tokens(tokens_in=tokens, tokens_out=tokens))

    space.build(asset, produce, bucket=bucket, stage_version="1", inputs=(), params={})


def fill(folder: Path, documents: int) -> dict[str, Any]:
    """Publish the inputs of the mixture, and an index of shards in which every document stands once."""
    space = workspace(folder, PLAIN)
    for index in range(BUCKETS):
        columns = columns_of(index, documents)
        total = int(columns["completion_tokens"].to_numpy().sum())
        for asset in ("generations", "deduplicated"):
            put(space, asset, iter([(None, table(asset, columns))]), bucket_name(index), total)
    for asset, bucketed in (("prompt_table", True), ("token_lineage", False)):
        parts = (
            (bucket_name(index) if bucketed else None, table(asset, columns_of(index, documents)))
            for index in range(BUCKETS)
        )
        put(space, asset, parts, "all", 0)
    record.build(space)
    return {}


def plain_way(folder: Path) -> dict[str, Any]:
    """A dictionary per document, and a coin for the part of an epoch."""
    space = workspace(folder, PLAIN)
    prompts = space.store.open("prompt_table")
    rows: list[dict[str, Any]] = []
    for index in range(BUCKETS):
        name = bucket_name(index)
        verdicts = space.store.open("deduplicated", name).table(["doc_id", "keep"]).to_pylist()
        kept = {row["doc_id"] for row in verdicts if row["keep"]}
        found = prompts.table(["prompt_id", "source"], bucket=name)
        source_of = dict(zip(found["prompt_id"].to_pylist(), found["source"].to_pylist(), strict=True))
        columns = ["doc_id", "prompt_id", "completion_tokens"]
        for row in space.store.open("generations", name).table(columns).to_pylist():
            if row["doc_id"] in kept:
                source, tokens = source_of[row["prompt_id"]], row["completion_tokens"]
                rows.append({"doc_id": row["doc_id"], "bucket": name, "source": source, "tokens": tokens})
    available: Counter[str] = Counter()
    for row in rows:
        available[row["source"]] += row["tokens"]
    components = space.recipe.mixture.components
    weights = {name: part.weight or 0.0 for name, part in components.items()}
    total = sum(weights.values())
    size = min(components[name].max_epochs * available[name] * total / weights[name] for name in weights)
    epochs = {name: size * weights[name] / total / available[name] for name in weights}
    drawn: Counter[str] = Counter()
    for row in rows:
        copies = int(epochs[row["source"]]) + (uniform("epoch", row["doc_id"]) < epochs[row["source"]] % 1)
        row["copies"] = copies
        drawn[row["source"]] += copies * row["tokens"]
    wanted = {name: size * weights[name] / total for name in weights}
    return {"missed": {name: round(abs(drawn[name] - wanted[name])) for name in weights}}


def built(folder: Path, mixture: dict[str, Any]) -> dict[str, Any]:
    manifest = stage.build(workspace(folder, mixture))
    parts = manifest.summary["components"]
    return {"missed": {part["source"]: abs(part["drawn"] - part["wanted"]) for part in parts}, "rows": manifest.rows}


def planned(folder: Path) -> dict[str, Any]:
    return {"available": sum(supply.tokens for supply in supplies(workspace(folder, MIXTURE)).values())}


def purged(folder: Path) -> dict[str, Any]:
    space = workspace(folder, PLAIN)
    item = Item("source", "books")
    started = time.process_time()
    found = measure_purge(space.store, [item])
    record.withdraw(space, found.sizes, Note("a benchmark", "nobody"))
    return {"documents": found.documents, "tokens": found.tokens, "shown in": round(time.process_time() - started, 2)}


def withdrawn(folder: Path, count: int) -> dict[str, Any]:
    """Withdraw some documents of the corpus, drawn at random, and build the shards that follow."""
    space = workspace(folder, PLAIN)
    ids = space.store.open("tokenized_shards").table(["doc_id"])["doc_id"]
    drawn = np.random.default_rng(count).choice(len(ids), count, replace=False)
    items = [Item("doc", name) for name in ids.take(pa.array(drawn)).to_pylist()]
    record.withdraw(space, dict.fromkeys(items, Size()), Note("a benchmark", "nobody"))
    stage.build(space)
    before, started = _read(), time.process_time()
    found = sharded(folder)
    alone = {"shards_cpu_s": round(time.process_time() - started, 1), "shards_read_mb": (_read() - before) // 10**6}
    return {**found, **alone}


def sharded(folder: Path) -> dict[str, Any]:
    space = workspace(folder, PLAIN)
    manifest = shards.build(space, tiny_tokenizer())
    figures = {"tokens": manifest.summary["tokens"], "shards": len(manifest.summary["shards"])}
    return {**figures, "linked": manifest.run["shards_linked"]}


def scanned(folder: Path) -> dict[str, Any]:
    """Every token of the shards: whether spans cover all of them, how many spans are of the source that goes, and a
    digest of all the others, document by document."""
    space = workspace(folder, PLAIN)
    books = _documents_of(space, "books")
    dataset = space.store.open("tokenized_shards")
    spans = dataset.table()
    covered, of_books, kept = True, 0, []
    for name, size in dataset.manifest.summary["shards"]:
        tokens, end = map_shard(dataset.folder / name), 0
        for row in spans.filter(pc.equal(spans["shard"], name)).to_pylist():
            covered &= row["start"] == end
            end = row["end"]
            if row["doc_id"] in books:
                of_books += 1
            else:
                kept.append(digest(row["doc_id"], str(row["copy"]), tokens[row["start"] : end].tobytes()))
        covered &= end == size == len(tokens)
    return {"covered": covered, "spans of books": of_books, "others": len(kept), "digest": digest(*sorted(kept))}


def _documents_of(space: Workspace, source: str) -> set[str]:
    prompts = space.store.open("prompt_table").table(["prompt_id", "source"])
    wanted = prompts.filter(pc.equal(prompts["source"], source))["prompt_id"].combine_chunks()
    found: set[str] = set()
    for index in range(BUCKETS):
        answers = space.store.open("generations", bucket_name(index)).table(["doc_id", "prompt_id"])
        mine = pc.is_in(answers["prompt_id"], value_set=wanted)
        found.update(answers.filter(mine)["doc_id"].to_pylist())
    return found


def kept_digest(folder: Path) -> dict[str, Any]:
    """The rows of the mixture that are not of the source that goes."""
    dataset = workspace(folder, PLAIN).store.open("mixture")
    rows = 0
    digests = []
    for found in dataset.tables():
        left = found.filter(pc.not_equal(found["source"], "books"))
        rows += left.num_rows
        digests.append(table_digest(left))
    return {"rows": rows, "digest": digest(*digests)}


def in_process(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run in a process of its own: what it says, its seconds and its peak of memory."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, work, arguments))
    process.start()
    sender.close()
    found: dict[str, Any] = receiver.recv()
    process.join()
    return found


def _measured(sender: Any, work: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> None:
    before, cpu, wall = _peak(), time.process_time(), time.monotonic()
    said = work(*arguments)
    figures = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.monotonic() - wall,
        "mib": (_peak() - before) / 1024,
    }
    sender.send({**{name: round(value, 1) for name, value in figures.items()}, **said})


def _peak() -> int:
    """The most memory that this process has had, in KiB; the kernel's own figure of it is inherited from the parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if "VmHWM" in line)
    return int(line.split()[1])


def _read() -> int:
    """The bytes that this process has read from files, those of memory maps left out."""
    (line,) = (line for line in Path("/proc/self/io").read_text(encoding="utf-8").splitlines() if "rchar" in line)
    return int(line.split()[1])


def _shards(folder: Path) -> dict[str, Any]:
    told("shards", in_process(sharded, folder))
    found = in_process(scanned, folder)
    told("scan of them", found)
    return found


def told(name: str, figures: dict[str, Any]) -> None:
    print(f"  {name}: {json.dumps(figures)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*", type=int, default=[1_000_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--shards", action="store_true", help="also build the shards, and scan every token of them")
    parser.add_argument("--plain-up-to", type=int, default=1_000_000)
    options = parser.parse_args()
    for documents in options.documents:
        folder = Path(tempfile.mkdtemp(prefix="mixture-", dir=options.folder))
        try:
            print(f"{documents} documents", flush=True)
            told("inputs", in_process(fill, folder, documents))
            told("plan", in_process(planned, folder))
            told("mixture with factors", in_process(built, folder, MIXTURE))
            told("mixture", in_process(built, folder, PLAIN))
            if documents <= options.plain_up_to:
                told("plain way", in_process(plain_way, folder))
            if options.shards:
                told("shards", in_process(sharded, folder))
                for count in (1, 100):
                    told(f"shards without {count} of the documents", in_process(withdrawn, folder, count))
            before = in_process(kept_digest, folder)
            first = _shards(folder) if options.shards else {}
            told("purge of a source", in_process(purged, folder))
            told("mixture after it", in_process(built, folder, PLAIN))
            after = in_process(kept_digest, folder)
            told("every other row is the same", {"rows": after["rows"], "same": after["digest"] == before["digest"]})
            if options.shards:
                second = _shards(folder)
                told("every other document is the same", {"same": first["digest"] == second["digest"]})
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
