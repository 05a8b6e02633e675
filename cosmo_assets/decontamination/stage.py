"""Decontamination: the index of all benchmarks of the recipe, and each bucket's texts and prompts against it.

Belongs here: the two stages and their inputs. Does not belong here: rules and index (`rules`, `index`), seeds
(`seeds`).
"""

import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.decontamination.benchmarks import Source, read_items, sources
from cosmo_assets.decontamination.cases import Cases
from cosmo_assets.decontamination.index import Match, build_index
from cosmo_assets.decontamination.rules import rules_of
from cosmo_assets.decontamination.search import CLEAN, Search, names, open_search
from cosmo_assets.decontamination.tally import Tally
from cosmo_assets.recipe.decontamination import Decontamination
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.screening import DECONTAMINATED
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.files import link_or_copy
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

INDEX_VERSION = "4"
STAGE_VERSION = "3"
MAX_UNCHECKED = 20


def build_benchmarks(workspace: Workspace) -> Manifest:
    """Build `benchmark_index`. Cost: linear in the benchmarks' text for each rule, plus sorting its n-grams."""
    found = sources(workspace.recipe)
    return workspace.build(
        "benchmark_index",
        lambda writer: _index(writer, workspace.recipe.decontamination, found),
        stage_version=INDEX_VERSION,
        inputs=tuple(
            InputRef(asset=f"benchmarks/{source.benchmark.name}", bucket="all", version=source.version)
            for source in found
        ),
        params={**index_params(workspace.recipe), "unicode": unicodedata.unidata_version},
    )


def index_params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `benchmark_index` depends on."""
    reading = {"name", "parts", "fields", "config", "split"}
    benchmarks = recipe.decontamination.benchmarks
    read = [benchmark.model_dump(mode="json", include=reading) for benchmark in benchmarks]
    return {**rule_params(recipe), "benchmarks": read}


def build(workspace: Workspace, bucket: str) -> Manifest:
    """Build `decontaminated` of a bucket. Cost: linear in the text of documents that no earlier version searched for
    the same benchmarks, plus their candidates; reading the others. The index is mapped into memory."""
    store = workspace.store
    quality, generations = store.open("generation_quality", bucket), store.open("generations", bucket)
    prompts, seeds, index = (store.open(asset) for asset in ("prompt_table", "contaminated_seeds", "benchmark_index"))
    read = (quality, generations, prompts, seeds, index)
    return workspace.build_rows(
        "decontaminated",
        lambda writer, earlier: _produce(writer, workspace, read, bucket, earlier),
        key="doc_id",
        sources=[RowSource(generations, ("text",))],
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(quality.ref(), generations.ref(), prompts.ref(bucket), seeds.ref()),
        fixed=(index.ref(),),
        params=params(workspace.recipe),
        depends=lambda params: params["rules"],
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `decontaminated` depends on."""
    return {**rule_params(recipe), "seeds": recipe.decontamination.seeds}


def rule_params(recipe: Recipe) -> dict[str, Any]:
    """The rules, as a stage's parameters."""
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
    writer: DatasetWriter, workspace: Workspace, inputs: Sequence[Dataset], bucket: str, earlier: Earlier
) -> None:
    quality, generations, prompts, seeds, benchmarks = inputs
    columns = ["prompt_id", "prompt", "seed_id", "source"]
    asked = {row["prompt_id"]: row for row in prompts.table(columns, bucket=bucket).to_pylist()}
    search = _Documents(open_search(benchmarks, workspace.recipe.decontamination), asked)
    marks = _Marks(workspace.recipe.decontamination.seeds == "drop", _seeds(seeds, asked))
    kept = {row["doc_id"] for table in quality.tables(["doc_id", "keep"]) for row in table.to_pylist() if row["keep"]}
    tally, cases = Tally(), Cases()
    for table in generations.tables(["doc_id", "prompt_id", "text", "completion_tokens"]):
        documents = [row for row in table.to_pylist() if row["doc_id"] in kept]
        known = earlier.take([document["doc_id"] for document in documents])
        writer.reused_rows += len(known)
        searched = search.rows([document for document in documents if document["doc_id"] not in known])
        rows = []
        for document in documents:
            key, prompt = document["doc_id"], asked[document["prompt_id"]]
            row = marks.applied(known[key][0] if key in known else searched[key], prompt)
            tally.add(row, document["completion_tokens"])
            if not row["keep"]:
                writer.reject(key, f"contaminated_{row['benchmark']}", field=row["place"], detail=row["item"])
                text = {"text": document["text"], "prompt": prompt["prompt"]}.get(row["place"])
                if text is not None:  # a seed's text is shown by contaminated_seeds
                    cases.add([({"key": key, **{name: row[name] for name in ("place", *CLEAN)}}, text)])
            rows.append(row)
        writer.write(pa.Table.from_pylist(rows, schema=DECONTAMINATED))
        workspace.progress(tally.documents, len(kept), "documents")
    flow = quality.manifest.flow
    dropped = {f"contaminated_{name}": count for name, count in tally.removed.items()}
    kept_now = tally.documents - sum(tally.removed.values())
    writer.flow("documents", flow.rows_out, kept_now, dropped=dropped, tokens=flow.tokens_through(tally.tokens))
    sizes = {row["benchmark"]: row["items"] for row in benchmarks.manifest.summary["benchmarks"]}
    writer.summary = {**tally.summary(sizes), "cases": cases.shown(benchmarks)}


def _seeds(seeds: Dataset, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The contaminated ones among the seeds of these prompts, by their ids."""
    wanted = pa.array(sorted({prompt["seed_id"] for prompt in asked.values()}), pa.string())
    tables = (table.filter(pc.is_in(table["seed_id"], value_set=wanted)) for table in seeds.tables())
    return {row["seed_id"]: row for table in tables for row in table.to_pylist()}


class _Documents:
    """Searches documents of one bucket, and each of their prompts once."""

    def __init__(self, search: Search, prompts: Mapping[str, Mapping[str, Any]]) -> None:
        self._search = search
        self._prompts = prompts
        self._of_prompt: dict[str, list[Match]] = {}

    def rows(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The rows of documents, by their ids."""
        asked = [key for key in dict.fromkeys(row["prompt_id"] for row in documents) if key not in self._of_prompt]
        prompts = (self._prompts[key]["prompt"] for key in asked)
        found = self._search.matches([*(row["text"] for row in documents), *prompts])
        self._of_prompt |= {key: found[len(documents) + number] for number, key in enumerate(asked)}
        return {
            row["doc_id"]: self._row(row["doc_id"], found[number], self._of_prompt[row["prompt_id"]])
            for number, row in enumerate(documents)
        }

    def _row(self, key: str, of_text: Sequence[Match], of_prompt: Sequence[Match]) -> dict[str, Any]:
        place, matches = ("text", of_text) if of_text else ("prompt", of_prompt)
        return {
            "doc_id": key,
            "keep": not matches,
            "place": place if matches else None,
            **self._search.worst(matches),
            "items": names([*of_text, *of_prompt]),
        }


class _Marks:
    """What rows say about the seeds of their documents. It is of today for every row: one that was taken over may have
    been marked, or dropped, for a seed that holds another item now, or none."""

    def __init__(self, drop: bool, seeds: Mapping[str, Mapping[str, Any]]) -> None:
        self._drop = drop
        self._seeds = seeds

    def applied(self, row: Mapping[str, Any], prompt: Mapping[str, Any]) -> dict[str, Any]:
        """A row with its source and its seed's item; dropped for that item where the recipe says so."""
        seed = self._seeds.get(prompt["seed_id"])
        found_in_itself = row if row["place"] != "seed" else {**row, "keep": True, "place": None, **CLEAN}
        item = f"{seed['benchmark']}:{seed['item']}" if seed else None
        marked = {**found_in_itself, "source": prompt["source"], "seed_item": item}
        if seed and self._drop and marked["keep"]:
            marked |= {"keep": False, "place": "seed", **{name: seed[name] for name in CLEAN}}
        return marked
