"""Decontamination: the index of all benchmarks of the recipe, and each bucket's texts and prompts against it.

Belongs here: the two stages and their inputs. Does not belong here: rules and index (`rules`, `index`).
"""

import os
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_assets.decontamination.benchmarks import Source, read_items, sources
from cosmo_assets.decontamination.index import BenchmarkIndex, Match, build_index
from cosmo_assets.decontamination.rules import rules_of
from cosmo_assets.quality.stage import prompt_texts
from cosmo_assets.recipe import Decontamination, Recipe
from cosmo_assets.schemas import DECONTAMINATED
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.files import link_or_copy
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter, read_table

INDEX_VERSION = "2"
STAGE_VERSION = "3"
MAX_CASES, MAX_UNCHECKED = 5, 20
TEXTS_AT_ONCE = 256


def build_benchmarks(workspace: Workspace) -> Manifest:
    """Build `benchmark_index`. Cost: linear in the benchmarks' text for each rule, plus sorting its n-grams."""
    found = sources(workspace.recipe)
    reading = {"name", "parts", "fields", "config", "split"}
    return workspace.build(
        "benchmark_index",
        lambda writer: _index(writer, workspace.recipe.decontamination, found),
        stage_version=INDEX_VERSION,
        inputs=tuple(
            InputRef(asset=f"benchmarks/{source.benchmark.name}", bucket="all", version=source.version)
            for source in found
        ),
        params={
            **_rules(workspace.recipe),
            "unicode": unicodedata.unidata_version,
            "benchmarks": [source.benchmark.model_dump(mode="json", include=reading) for source in found],
        },
    )


def build(workspace: Workspace, bucket: str) -> Manifest:
    """Build `decontaminated` of a bucket. Cost: linear in the text of documents that no earlier version searched for
    the same benchmarks, plus their candidates; reading the others. The index is mapped into memory."""
    store = workspace.store
    quality, generations = store.open("generation_quality", bucket), store.open("generations", bucket)
    prompts, index = store.open("prompt_table"), store.open("benchmark_index")
    return workspace.build_rows(
        "decontaminated",
        lambda writer, earlier: _produce(writer, workspace, (quality, generations, prompts, index), bucket, earlier),
        key="doc_id",
        sources=[RowSource(generations, ("text",))],
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(quality.ref(), generations.ref(), prompts.ref(bucket)),
        fixed=(index.ref(),),
        params=_rules(workspace.recipe),
    )


def _rules(recipe: Recipe) -> dict[str, Any]:
    return {"rules": [rule.model_dump() for rule in recipe.decontamination.rules]}


def _index(writer: DatasetWriter, recipe: Decontamination, found: Sequence[Source]) -> None:
    texts = (item for source in found for item in read_items(source))
    with tempfile.TemporaryDirectory(prefix="build-index-", dir=writer.folder.parent) as work:
        table = build_index(texts, rules_of(recipe), Path(work))
        for path in sorted(Path(work).iterdir()):
            writer.artifact(path.name, partial(link_or_copy, path))
    writer.write(table)
    writer.summary = index_summary(table, found, recipe)
    items = sum(row["items"] for row in writer.summary["benchmarks"])
    writer.flow("items", items, items)


def index_summary(table: pa.Table, found: Sequence[Source], recipe: Decontamination) -> dict[str, Any]:
    """What of the benchmarks is searched for, and what no rule can find: an item is `unchecked` where none of its texts
    can be found; texts that cannot be are listed with their part, those of such items first."""
    texts: Counter[str] = Counter(table["benchmark"].to_pylist())
    items: dict[str, set[str]] = defaultdict(set)
    checked: dict[str, set[str]] = defaultdict(set)
    lost: list[dict[str, str]] = []
    by_rule: Counter[str] = Counter()
    for row in table.drop(["text"]).to_pylist():
        items[row["benchmark"]].add(row["item"])
        by_rule.update(row["rules"])
        if row["rules"]:
            checked[row["benchmark"]].add(row["item"])
        else:
            lost.append({name: row[name] for name in ("benchmark", "item", "part")})
    lost.sort(key=lambda row: row["item"] in checked[row["benchmark"]])
    lost_texts = Counter(row["benchmark"] for row in lost)
    return {
        "benchmarks": [
            {
                "benchmark": name,
                "items": len(items[name]),
                "texts": texts[name],
                "unchecked": len(items[name] - checked[name]),
                "unchecked_texts": lost_texts[name],
                "parts": list(source.benchmark.parts),
                "licence": source.benchmark.licence,
                "files": source.files,
                "version": source.version,
            }
            for source in found
            for name in (source.benchmark.name,)
        ],
        "rules": [{"rule": name, "says": rule.says, "texts": by_rule[name]} for name, rule in rules_of(recipe).items()],
        "unchecked": lost[:MAX_UNCHECKED],
    }


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    inputs: tuple[Dataset, Dataset, Dataset, Dataset],
    bucket: str,
    earlier: Earlier,
) -> None:
    quality, generations, prompts, benchmarks = inputs
    search = _Search(_open(benchmarks, workspace.recipe.decontamination), prompt_texts(prompts, bucket))
    kept = {row["doc_id"] for table in quality.tables(["doc_id", "keep"]) for row in table.to_pylist() if row["keep"]}
    removed: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    items: dict[str, set[str]] = defaultdict(set)
    cases: list[dict[str, Any]] = []
    done = 0
    for table in generations.tables(["doc_id", "prompt_id", "text", "completion_tokens"]):
        documents = [row for row in table.to_pylist() if row["doc_id"] in kept]
        known = earlier.take([document["doc_id"] for document in documents])
        writer.reused_rows += len(known)
        searched = search.rows([document for document in documents if document["doc_id"] not in known])
        rows = []
        for document in documents:
            key = document["doc_id"]
            row = known[key][0] if key in known else searched[key]
            name = row["benchmark"]
            for item in row["items"]:
                items[item.split(":", 1)[0]].add(item)
            if not row["keep"]:
                removed[name] += 1
                cases.append({column: value for column, value in row.items() if column not in ("keep", "items")})
                writer.reject(key, f"contaminated_{name}", field=row["place"], detail=row["item"])
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
                "benchmark": row["benchmark"],
                "items": row["items"],
                "removed": removed[row["benchmark"]],
                "unique_items": len(items[row["benchmark"]]),
            }
            for row in benchmarks.manifest.summary["benchmarks"]
        ],
        "cases": cases[:MAX_CASES],
    }


def _open(benchmarks: Dataset, recipe: Decontamination) -> BenchmarkIndex:
    return _mapped(tuple(benchmarks.paths()), tuple(benchmarks.paths(role="artifact")), recipe)


@lru_cache(maxsize=1)
def _mapped(items: tuple[Path, ...], arrays: tuple[Path, ...], recipe: Decontamination) -> BenchmarkIndex:
    """The index, opened once for all buckets that a process builds."""
    table = pa.concat_tables(read_table(path) for path in items)
    return BenchmarkIndex.open(rules_of(recipe), table, arrays)


class _Search:
    """Searches documents of one bucket, and each of their prompts once, on all cores."""

    def __init__(self, index: BenchmarkIndex, prompts: Mapping[str, str]) -> None:
        self._index = index
        self._prompts = prompts
        self._order = {name: number for number, name in enumerate(index.rules)}
        self._of_prompt: dict[str, list[Match]] = {}

    def rows(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The rows of documents, by their ids."""
        asked = [key for key in dict.fromkeys(row["prompt_id"] for row in documents) if key not in self._of_prompt]
        found = self._found([*(row["text"] for row in documents), *(self._prompts[key] for key in asked)])
        self._of_prompt |= {key: found[len(documents) + number] for number, key in enumerate(asked)}
        return {
            row["doc_id"]: self._row(row["doc_id"], found[number], self._of_prompt[row["prompt_id"]])
            for number, row in enumerate(documents)
        }

    def _found(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches of each text."""
        found: list[list[Match]] = [[] for _ in texts]
        parts = range(0, len(texts), TEXTS_AT_ONCE)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start, matches in zip(parts, pool.map(partial(self._part, texts), parts), strict=True):
                for match in matches:
                    found[start + match.text].append(match)
        return found

    def _part(self, texts: Sequence[str], start: int) -> list[Match]:
        return list(self._index.matches(pa.array(texts[start : start + TEXTS_AT_ONCE], pa.large_string())))

    def _row(self, key: str, of_text: Sequence[Match], of_prompt: Sequence[Match]) -> dict[str, Any]:
        place, matches = ("text", of_text) if of_text else ("prompt", of_prompt)
        worst = min(matches, key=self._rank) if matches else None
        return {
            "doc_id": key,
            "keep": worst is None,
            "place": place if worst else None,
            "rule": worst.rule if worst else None,
            "benchmark": worst.benchmark if worst else None,
            "item": worst.item if worst else None,
            "part": worst.part if worst else None,
            "ratio": round(worst.ratio, 4) if worst else None,
            "span": worst.span if worst else None,
            "items": sorted({f"{match.benchmark}:{match.item}" for match in (*of_text, *of_prompt)}),
        }

    def _rank(self, match: Match) -> tuple[float, int, str, str, str]:
        """Matches with the highest ratio come first; of equals the first by rule, benchmark, item and part."""
        return -match.ratio, self._order[match.rule], match.benchmark, match.item, match.part
