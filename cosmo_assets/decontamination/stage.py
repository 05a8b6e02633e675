"""Decontamination of a bucket: every kept text, and the prompt that made it, against all benchmarks of the recipe.

Belongs here: the stage and its inputs. Does not belong here: the matching rule (`ngrams`).
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_assets.decontamination.ngrams import BenchmarkIndex, Match, read_items
from cosmo_assets.quality.stage import prompt_texts
from cosmo_assets.recipe import Recipe
from cosmo_assets.schemas import DECONTAMINATED
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import file_digest
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
MAX_CASES = 5


def build(workspace: Workspace, bucket: str) -> Manifest:
    """Build `decontaminated` of a bucket. Cost: linear in the benchmarks, once a process; in the text of documents that
    no earlier version searched for the same benchmarks, plus their candidates; reading the others. Memory for the
    benchmarks' n-grams."""
    store = workspace.store
    quality, generations = store.open("generation_quality", bucket), store.open("generations", bucket)
    prompts = store.open("prompt_table")
    files = benchmark_files(workspace.recipe)
    benchmarks = tuple(
        InputRef(asset=f"benchmarks/{name}", bucket="all", version=file_digest(path)) for name, path in files
    )
    items = tuple((name, path, ref.version) for (name, path), ref in zip(files, benchmarks, strict=True))
    rule = workspace.recipe.decontamination
    return workspace.build_rows(
        "decontaminated",
        lambda writer, earlier: _produce(writer, workspace, (quality, generations, prompts), items, bucket, earlier),
        key="doc_id",
        sources=[RowSource(generations, ("text",))],
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(quality.ref(), generations.ref(), prompts.ref(bucket)),
        fixed=benchmarks,
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
    files: tuple[tuple[str, Path, str], ...],
    bucket: str,
    earlier: Earlier,
) -> None:
    quality, generations, prompts = inputs
    rule = workspace.recipe.decontamination
    index = _index(files, rule.ngram)
    search = _Search(index, rule.ratio, prompt_texts(prompts, bucket))
    kept = {row["doc_id"] for table in quality.tables(["doc_id", "keep"]) for row in table.to_pylist() if row["keep"]}
    removed: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    items: dict[str, set[str]] = {}
    cases: list[dict[str, Any]] = []
    done = 0
    for table in generations.tables(["doc_id", "prompt_id", "text", "completion_tokens"]):
        documents = [row for row in table.to_pylist() if row["doc_id"] in kept]
        known = earlier.take([document["doc_id"] for document in documents])
        rows = []
        for document in documents:
            if document["doc_id"] in known:
                (row,) = known[document["doc_id"]]
                writer.reused_rows += 1
            else:
                row = search.row(document)
            name = row["benchmark"]
            if not row["keep"]:
                removed[name] += 1
                items.setdefault(name, set()).add(row["item"])
                cases.append({column: value for column, value in row.items() if column != "keep"})
                writer.reject(row["doc_id"], f"contaminated_{name}", field=row["place"], detail=row["item"])
            tokens["keep" if row["keep"] else f"contaminated_{name}"] += document["completion_tokens"]
            rows.append(row)
        done += len(rows)
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
            for name in dict.fromkeys(name for name, _, _ in files)
        ],
        "cases": cases[:MAX_CASES],
    }


@lru_cache(maxsize=1)
def _index(files: tuple[tuple[str, Path, str], ...], ngram: int) -> BenchmarkIndex:
    """The index of the benchmarks' files, each with its digest: made once for all buckets that a process builds."""
    return BenchmarkIndex((item for name, path, _ in files for item in read_items(name, path)), ngram)


class _Search:
    """Searches documents of one bucket, and each of their prompts once."""

    def __init__(self, index: BenchmarkIndex, ratio: float, prompts: Mapping[str, str]) -> None:
        self._index = index
        self._ratio = ratio
        self._prompts = prompts
        self._of_prompt: dict[str, Match | None] = {}

    def row(self, document: Mapping[str, Any]) -> dict[str, Any]:
        prompt = document["prompt_id"]
        if prompt not in self._of_prompt:
            self._of_prompt[prompt] = self._index.worst(self._prompts[prompt], self._ratio)
        match, place = self._index.worst(document["text"], self._ratio), "text"
        if match is None:
            match, place = self._of_prompt[prompt], "prompt"
        return {
            "doc_id": document["doc_id"],
            "keep": match is None,
            "place": place if match else None,
            "benchmark": match.benchmark if match else None,
            "item": match.item if match else None,
            "ratio": match.ratio if match else None,
            "span": match.span if match else None,
        }
