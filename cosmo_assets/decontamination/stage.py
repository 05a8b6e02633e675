"""Decontamination of a bucket: every kept text, and the prompt that made it, against all benchmarks of the recipe.

Belongs here: the stage and its inputs. Does not belong here: the matching rule (`ngrams`).
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_assets.decontamination.ngrams import BenchmarkIndex, Match, read_items
from cosmo_assets.quality.stage import prompt_texts
from cosmo_assets.recipe import Recipe
from cosmo_assets.schemas import DECONTAMINATED
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import file_digest
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
MAX_CASES = 5


def build(workspace: Workspace, bucket: str) -> Manifest:
    """Build `decontaminated` of a bucket. Cost: linear in its text, plus the candidates; memory for the benchmarks."""
    store = workspace.store
    quality, generations = store.open("generation_quality", bucket), store.open("generations", bucket)
    prompts = store.open("prompt_table")
    files = benchmark_files(workspace.recipe)
    benchmarks = tuple(
        InputRef(asset=f"benchmarks/{name}", bucket="all", version=file_digest(path)) for name, path in files
    )
    rule = workspace.recipe.decontamination
    return workspace.build(
        "decontaminated",
        lambda writer: _produce(writer, workspace, (quality, generations, prompts), files, bucket),
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(quality.ref(), generations.ref(), prompts.ref(bucket), *benchmarks),
        params={"ngram": rule.ngram, "ratio": rule.ratio},
    )


def benchmark_files(recipe: Recipe) -> list[tuple[str, Path]]:
    """The benchmarks' names and files, in the order of the recipe."""
    return [
        (benchmark.name, path)
        for benchmark in recipe.decontamination.benchmarks
        for path in recipe.paths(benchmark.path, field=f"decontamination.benchmarks.{benchmark.name}.path")
    ]


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    inputs: tuple[Dataset, Dataset, Dataset],
    files: list[tuple[str, Path]],
    bucket: str,
) -> None:
    quality, generations, prompts = inputs
    rule = workspace.recipe.decontamination
    index = BenchmarkIndex((item for name, path in files for item in read_items(name, path)), rule.ngram)
    prompt_of = prompt_texts(prompts, bucket)
    verdict_of_prompt: dict[str, Match | None] = {}
    kept = {row["doc_id"] for table in quality.tables(["doc_id", "keep"]) for row in table.to_pylist() if row["keep"]}
    removed: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    items: dict[str, set[str]] = {}
    cases: list[dict[str, Any]] = []
    done = 0
    for table in generations.tables(["doc_id", "prompt_id", "text", "completion_tokens"]):
        rows = []
        for row in table.to_pylist():
            if row["doc_id"] not in kept:
                continue
            done += 1
            prompt = row["prompt_id"]
            if prompt not in verdict_of_prompt:
                verdict_of_prompt[prompt] = index.worst(prompt_of[prompt], rule.ratio)
            match, place = index.worst(row["text"], rule.ratio), "text"
            if match is None:
                match, place = verdict_of_prompt[prompt], "prompt"
            if match is not None:
                removed[match.benchmark] += 1
                items.setdefault(match.benchmark, set()).add(match.item)
                cases.append({"doc_id": row["doc_id"], "place": place, **vars(match)})
                writer.reject(row["doc_id"], f"contaminated_{match.benchmark}", field=place, detail=match.item)
            tokens[f"contaminated_{match.benchmark}" if match else "keep"] += row["completion_tokens"]
            rows.append(
                {
                    "doc_id": row["doc_id"],
                    "keep": match is None,
                    "place": place if match else None,
                    "benchmark": match.benchmark if match else None,
                    "item": match.item if match else None,
                    "ratio": match.ratio if match else None,
                    "span": match.span if match else None,
                }
            )
        writer.write(pa.Table.from_pylist(rows, schema=DECONTAMINATED))
        workspace.progress(done, len(kept), "documents")
    dropped = {f"contaminated_{name}": count for name, count in removed.items()}
    flow = quality.manifest.flow
    kept_now = done - sum(removed.values())
    writer.flow("documents", flow.rows_out, kept_now, dropped=dropped, tokens=flow.tokens_through(tokens))
    cases.sort(key=lambda case: (-case["ratio"], case["doc_id"]))
    writer.summary = {
        "benchmarks": [
            {
                "benchmark": name,
                "items": sum(item.benchmark == name for item in index.items),
                "removed": removed[name],
                "unique_items": len(items.get(name, ())),
            }
            for name in dict.fromkeys(name for name, _ in files)
        ],
        "cases": cases[:MAX_CASES],
    }
