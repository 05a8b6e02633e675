"""How fast prompts are made of seeds, and in how much memory: extracts, then the table, on synthetic seeds.

Belongs here: rates and peak memory of the two stages, at any size, against plain references run in the same process.
Does not belong here: a test.

    python -m tests.benchmarks.prompt_table [--seeds 200000] [--prompts 3] [--chars 1000] [--buckets 64] [--folder DIR]
                                            [--whole]

The references: the same prompts rendered by Jinja, hashed and stored row by row in Python (a sample of the seeds), and
the fastest thing that could be done at all, which is to read the seeds' texts and write them once per prompt. Memory is
the high-water mark of the process that builds the table; seeds and extracts are made in processes of their own. With
`--whole` nothing is tokenized: every text is its own extract.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jinja2.sandbox import SandboxedEnvironment

from cosmo_assets.ids import prompt_id
from cosmo_assets.prompts import seed_extracts, table
from cosmo_assets.prompts.mixes import used_templates
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.generation import SEED_EXTRACTS
from cosmo_assets.schemas.sources import SEED_DOCUMENTS
from cosmo_assets.schemas.topics import SEED_TOPICS
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import load_tokenizer
from tests.unit.cosmo_assets.synthetic import recipe

PART_ROWS = 20_000
TOPICS = 2_000
TEMPLATES = ("textbook_academic", "textbook_narrative", "blogpost", "wikihow_web", "textbook_middle_school")
REFERENCE_SEEDS = 4_000
BUDGET = 250


def described(arguments: argparse.Namespace) -> Recipe:
    """A recipe of as many prompts per seed as wanted, spread over the templates."""
    per_seed = arguments.prompts / len(TEMPLATES)
    uses = [{"template": template, "per_seed": per_seed} for template in TEMPLATES]
    prompts = {"mixes": {"web": {"templates": uses}}, "topic_balance": 0.7}
    return recipe(buckets=arguments.buckets, prompts=prompts, generation={"max_tokens": 2500})


def make_seeds(folder: Path, arguments: argparse.Namespace) -> None:
    """Seeds of random words in sentences, a hundredth of them near-copies of others, on topics of very unequal size."""
    space = Workspace(CorpusStore(folder), described(arguments))
    draw = np.random.default_rng(1)
    letters = np.array(list("aabcdeeefghiiklmnooprssttuvwy"))
    words = pl.Series(["".join(draw.choice(letters, draw.integers(2, 11))) for _ in range(30_000)])
    per_text = arguments.chars // 7
    shares = 1 / np.arange(1, TOPICS + 1)

    def parts() -> Any:
        for start in range(0, arguments.seeds, PART_ROWS):
            rows = min(PART_ROWS, arguments.seeds - start)
            drawn = words.gather(np.minimum(draw.zipf(1.1, rows * per_text), len(words)) - 1)
            ends = pl.Series(np.arange(rows * per_text) % 13 == 12)
            sentences = pl.select(pl.when(ends).then(drawn + ".").otherwise(drawn)).to_series()
            texts = sentences.reshape((rows, per_text)).cast(pl.List(pl.String)).list.join(" ").to_list()
            for copy in range(0, rows - 1, 200):
                texts[copy + 1] = texts[copy][:-20] + "in other words."
            ids = [draw.bytes(16).hex() for _ in range(rows)]
            yield ids, texts, draw.choice(TOPICS, rows, p=shares / shares.sum())

    def seeds(writer: DatasetWriter) -> None:
        for ids, texts, topics in parts():
            rows = len(ids)
            same = {"source": "pages", "kind": "web", "language": "en", "licence": "CC0-1.0"}
            columns: dict[str, Any] = {name: pa.repeat(value, rows) for name, value in same.items()}
            columns |= {"seed_id": ids, "native_id": ids, "text": texts}
            columns["context"] = pa.array([[]] * rows, pa.list_(pa.string()))
            columns["masked"] = pa.repeat(pa.scalar(0, pa.int64()), rows)
            for name in ("title", "url", "attribution"):
                columns[name] = pa.nulls(rows, pa.string())
            columns["toxicity"] = pa.nulls(rows, pa.float64())
            writer.write(pa.table({name: columns[name] for name in SEED_DOCUMENTS.names}, schema=SEED_DOCUMENTS))
            of_topics.append(topics)
        writer.flow("rows", arguments.seeds, arguments.seeds)

    of_topics: list[Any] = []
    space.build("seed_documents", seeds, stage_version="1", inputs=(), params={})

    def decided(writer: DatasetWriter) -> None:
        dataset = space.store.open("seed_documents")
        for ids, topics in zip(dataset.tables(["seed_id"]), of_topics, strict=True):
            columns = {
                "seed_id": ids["seed_id"],
                "cluster_id": topics,
                "topic_id": pa.nulls(len(topics), pa.string()),
                "topic": [f"Topic number {topic}" for topic in topics],
                "score": (topics % 10 + 1).astype(float),
                "excluded": pa.nulls(len(topics), pa.string()),
            }
            writer.write(pa.table(columns, schema=SEED_TOPICS))
        writer.flow("seeds", arguments.seeds, arguments.seeds)

    space.build("seed_topics", decided, stage_version="1", inputs=(), params={})


def make_extracts(folder: Path, arguments: argparse.Namespace) -> float:
    started = time.perf_counter()
    if arguments.whole:
        return whole_extracts(Workspace(CorpusStore(folder), described(arguments)))
    seed_extracts.build(Workspace(CorpusStore(folder), described(arguments)), load_tokenizer("smollm2-135m-instruct"))
    return time.perf_counter() - started


def whole_extracts(space: Workspace) -> float:
    """Extracts that are the whole texts, with a guess at their tokens."""

    def produce(writer: DatasetWriter) -> None:
        for texts in space.store.open("seed_documents").tables(["seed_id", "text"]):
            chars = pc.utf8_length(texts["text"]).cast(pa.int64())
            zero = pa.repeat(pa.scalar(0, pa.int64()), texts.num_rows)
            columns = {"seed_id": texts["seed_id"], "budget": pc.add(zero, BUDGET), "segment": zero, "start": zero}
            writer.write(pa.table({**columns, "end": chars, "tokens": pc.divide(chars, 5)}, schema=SEED_EXTRACTS))
        writer.flow("seeds", 0, 0)

    started = time.perf_counter()
    space.build(
        "seed_extracts", produce, stage_version="1", inputs=(), params={"budgets": {"web": {str(BUDGET): False}}}
    )
    return time.perf_counter() - started


def make_table(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    started, cpu = time.perf_counter(), time.process_time()
    manifest = table.build(Workspace(CorpusStore(folder), described(arguments)), arguments.workers)
    seconds = time.perf_counter() - started
    dropped = sum(row["near_duplicates"] for row in manifest.summary["near_duplicates"])
    return {
        "prompts": manifest.rows,
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "near_duplicates": dropped,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gigabytes": sum(entry.bytes for entry in manifest.files) / 1e9,
    }


def row_by_row(folder: Path, arguments: argparse.Namespace) -> float:
    """Seconds per prompt of the plain way: Jinja and a hash for each prompt, a list of rows into parquet."""
    described_ = described(arguments)
    templates = [used_templates(described_)[name] for name in TEMPLATES[: round(arguments.prompts)]]
    compiled = [SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(one.body) for one in templates]
    seeds = pq.read_table(CorpusStore(folder).open("seed_documents").paths()[0], columns=["seed_id", "text"])
    rows = []
    started = time.perf_counter()
    for seed in seeds.slice(0, REFERENCE_SEEDS).to_pylist():
        for template, body in zip(templates, compiled, strict=True):
            fence = f"=====\n{seed['text']}\n====="
            text = body.render(extract=fence, title=None, context=(), topic="Topic", unit=None, outline=(), words=300)
            identity = prompt_id(
                seed=seed["seed_id"],
                template=template.id,
                template_version=template.version,
                audience=template.audience,
                format=template.format,
                choices={"name_topic": True},
                text=text,
            )
            rows.append({"prompt_id": identity, "seed_id": seed["seed_id"], "template": template.id, "prompt": text})
    rows.sort(key=lambda row: row["prompt_id"])
    pq.write_table(pa.Table.from_pylist(rows), folder / "reference.parquet", compression="zstd")
    return (time.perf_counter() - started) / len(rows)


def copying(folder: Path, arguments: argparse.Namespace) -> float:
    """Seconds per prompt of reading every text and writing it once per prompt, on one core."""
    dataset = CorpusStore(folder).open("seed_documents")
    rows = 0
    started = time.perf_counter()
    for path in dataset.paths()[:5]:
        texts = pq.read_table(path, columns=["seed_id", "text"])
        copies = pa.concat_tables([texts] * round(arguments.prompts))
        pq.write_table(copies, folder / "reference.parquet", compression="zstd", use_dictionary=False)
        rows += copies.num_rows
    return (time.perf_counter() - started) / rows


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run something in a process of its own, so that its memory is its own, too."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200_000)
    parser.add_argument("--prompts", type=float, default=3, help="prompts per seed, at most 5")
    parser.add_argument("--chars", type=int, default=1000, help="characters of a seed, about")
    parser.add_argument("--buckets", type=int, default=64)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--whole", action="store_true", help="take every text whole, and tokenize nothing")
    parser.add_argument("--folder", type=Path, help="keep the corpus here, and use what is there")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="cosmo-prompts-"))
    try:
        if CorpusStore(folder).current_version("seed_topics") is None:
            apart(make_seeds, folder, arguments)
        seconds = apart(make_extracts, folder, arguments)
        print(f"seed_extracts  {arguments.seeds / seconds:12,.0f} seeds/s    {seconds:8.1f} s", flush=True)
        made = apart(make_table, folder, arguments)
        each = made["seconds"] / made["prompts"]
        print(f"prompt_table   {1 / each:12,.0f} prompts/s  {made['seconds']:8.1f} s  CPU {made['cpu']:.1f} s")
        dropped = made["near_duplicates"]
        print(f"               {made['prompts']:12,.0f} prompts, {dropped:,.0f} near-duplicates dropped")
        print(f"               {made['mebibytes']:12,.0f} MiB at most, {made['gigabytes']:.2f} GB of files", flush=True)
        plain, copied = row_by_row(folder, arguments), copying(folder, arguments)
        print(f"row by row     {1 / plain:12,.0f} prompts/s  the table is {plain / each:.1f} times as fast")
        print(f"copying texts  {1 / copied:12,.0f} prompts/s  the table is {copied / each:.2f} times as fast")
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
