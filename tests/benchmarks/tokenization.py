"""How fast the shards are built, beside plain datatrove, and what a change of one percent costs.

Belongs here: documents and tokens per second, memory, cost after a purge and after an addition. Does not belong here:
whether the shards are right (`test_shards`, `test_resume`).

    python -m tests.benchmarks.tokenization [--documents 1000000] [--plain-documents 100000] [--chars 800]

Needs the sample data (COSMO_SAMPLES). Every step runs in a process of its own, which reports its wall and CPU time and
the most memory that it and the largest of its children had; where others use the machine, only CPU times compare. Plain
datatrove reads the same files, shuffles in its own way, and uses the threads of the tokenizer.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer

from cosmo_assets.ids import ids_of, mixed
from cosmo_assets.schemas.corpus import MIXTURE
from cosmo_assets.schemas.generation import GENERATIONS
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import load_tokenizer
from tests.benchmarks.decontamination import documents_of
from tests.unit.cosmo_assets.synthetic import filled, recipe

BUCKETS = 8
PART = 5_000
SHARD_TOKENS = 8_000_000
"""A shard for every eight million tokens: of the benchmark's corpus some thirty, as of a real one of three billions."""


def workspace(folder: Path) -> Workspace:
    made_of = recipe(buckets=BUCKETS, tokenization={"shard_tokens": SHARD_TOKENS})
    return Workspace(CorpusStore(folder / "corpus"), made_of)


def ids(start: int, count: int) -> pa.Array:
    numbers = np.arange(start, start + count, dtype=np.uint64)
    return ids_of(np.stack([mixed(numbers), mixed(numbers + np.uint64(1 << 40))], axis=1)).cast(pa.string())


def write_generations(folder: Path, documents: int, chars: int) -> None:
    """Texts cut out of real ones, in buckets of equal size."""
    pool, draw = "\n".join(documents_of(Path(os.environ["COSMO_SAMPLES"]))), random.Random(9)
    space, each = workspace(folder), documents // BUCKETS
    for bucket in range(BUCKETS):

        def produce(writer: DatasetWriter, bucket: int = bucket) -> None:
            for start in range(0, each, PART):
                count = min(PART, each - start)
                texts = [
                    pool[place : place + chars] for place in (draw.randrange(len(pool) - chars) for _ in range(count))
                ]
                empty = filled("generations", [{}]).take(pa.array([0] * count))
                table = empty.set_column(0, GENERATIONS.field("doc_id"), ids(bucket * each + start, count))
                column = GENERATIONS.get_field_index("text")
                writer.write(table.set_column(column, GENERATIONS.field("text"), pa.array(texts)))
            writer.flow("documents", each, each)

        space.build("generations", produce, bucket=f"b{bucket:03d}", stage_version="1", inputs=(), params={})


def write_mixture(
    folder: Path, documents: int, chars: int, name: str, kept: Callable[[np.ndarray], np.ndarray]
) -> None:
    """A mixture of those documents that a rule keeps, by their numbers."""
    each = documents // BUCKETS
    left = [np.flatnonzero(kept(np.arange(bucket * each, (bucket + 1) * each))) for bucket in range(BUCKETS)]

    def produce(writer: DatasetWriter) -> None:
        for bucket, rows in enumerate(left):
            columns = {
                "doc_id": ids(bucket * each, each).take(pa.array(rows)),
                "bucket": pa.repeat(f"b{bucket:03d}", len(rows)),
                "source": pa.repeat("pages", len(rows)),
                "tokens": pa.repeat(chars // 4, len(rows)),
                "copies": pa.repeat(1, len(rows)),
                "stage_copies": pa.ListArray.from_arrays(np.arange(len(rows) + 1), np.ones(len(rows), np.int64)),
            }
            writer.write(pa.table(columns).cast(MIXTURE), bucket=f"b{bucket:03d}")
        writer.flow("documents", documents, sum(map(len, left)))
        writer.summary = {"copies": sum(map(len, left))}

    workspace(folder).build("mixture", produce, stage_version=name, inputs=(), params={})


def build(folder: Path) -> dict[str, Any]:
    manifest = shards.build(workspace(folder), load_tokenizer(EMBEDDED))
    return {"tokens": manifest.summary["tokens"], "cut": manifest.summary["cut"], **manifest.run}


def plain(folder: Path, documents: int) -> dict[str, Any]:
    """datatrove's own step over the first of the same documents, shuffled by it."""
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(load_tokenizer(EMBEDDED).tokenizer.to_str(), encoding="utf-8")
    started = time.perf_counter()
    step = DocumentTokenizer(str(folder / "plain"), str(tokenizer), eos_token="<|endoftext|>", seed=1)
    step.run(first(folder, documents), rank=0, world_size=1)
    seconds = time.perf_counter() - started
    tokens = sum(path.stat().st_size for path in (folder / "plain").glob("*.ds")) // 2
    return {"tokens": tokens, "wall_seconds": seconds, "documents": documents}


def first(folder: Path, count: int) -> Iterator[Document]:
    for path in sorted((folder / "corpus" / "generations").glob("*/*/part-*.parquet")):
        for text in pq.read_table(path, columns=["text"], partitioning=None)["text"].to_pylist():
            if not count:
                return
            count -= 1
            yield Document(text=text, id=str(count))


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns that runs in a process of its own, with its wall time and memory."""
    receive, send = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_measured, args=(send, work, arguments))
    process.start()
    send.close()
    found = receive.recv()
    process.join()
    return found


def _measured(send: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    started = time.perf_counter()
    result = work(*arguments)
    seconds = time.perf_counter() - started
    mine, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime
    memory = {"mb": mine.ru_maxrss / 1e3, "child_mb": children.ru_maxrss / 1e3}
    send.send({**(result or {}), "seconds": seconds, "cpu": cpu, **memory})


class Kept:
    """A rule that keeps all documents but some percents."""

    def __init__(self, documents: int, low: float, high: float) -> None:
        self.low, self.high, self.documents = low, high, documents

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        drawn = mixed(numbers.astype(np.uint64) + np.uint64(1 << 50)).astype(np.float64) / 2.0**64
        return (drawn < self.low) | (drawn >= self.high)


class AllBut:
    """A rule that keeps all documents but one."""

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        return numbers != 12_345


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--plain-documents", type=int, default=100_000)
    parser.add_argument("--chars", type=int, default=800)
    options = parser.parse_args()
    count, chars = options.documents, options.chars
    with tempfile.TemporaryDirectory(prefix="cosmo-tokenization-") as name:
        folder = Path(name)
        apart(write_generations, folder, count, chars)
        before = apart(plain, folder, options.plain_documents)
        rate = before["tokens"] / before["wall_seconds"]
        per_cpu = before["tokens"] / before["cpu"]
        per_second = options.plain_documents / before["wall_seconds"]
        print(
            f"plain datatrove: {per_second:,.0f} documents/s, {rate:,.0f} tokens/s, {per_cpu:,.0f} a CPU second",
            flush=True,
        )
        steps: list[tuple[str, Callable[..., Any]]] = [
            ("full, 1 % of the documents left out", Kept(count, 0.5, 0.51)),
            ("1 % added, nothing else changed", Kept(count, 2, 2)),
            ("one document purged", AllBut()),
            ("1 % purged", Kept(count, 0.1, 0.11)),
        ]
        full = 0.0
        for label, rule in steps:
            apart(write_mixture, folder, count, chars, label, rule)
            found = apart(build, folder)
            full = full or found["seconds"]
            rows = found["computed_rows"] + found["reused_rows"]
            print(
                json.dumps(
                    {
                        "step": label,
                        "seconds": round(found["seconds"], 1),
                        "share of the full build": round(found["seconds"] / full, 4),
                        "documents": rows,
                        "tokens": found["tokens"],
                        "documents/s": round(rows / found["seconds"]),
                        "tokens/s": round(found["tokens"] / found["seconds"]),
                        "against plain datatrove": round(found["tokens"] / found["seconds"] / rate, 2),
                        "CPU seconds": round(found["cpu"], 1),
                        "against plain datatrove, by CPU time": round(found["tokens"] / found["cpu"] / per_cpu, 2),
                        "encoded": found["computed_rows"],
                        "shards": found["cut"],
                        "linked": found["shards_linked"],
                        "peak MB": round(found["mb"]),
                        "peak MB of a child": round(found["child_mb"]),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
