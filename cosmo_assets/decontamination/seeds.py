"""Contaminated seeds: which seeds hold a benchmark item; what is made of them is marked.

Belongs here: the stage. Does not belong here: what becomes of a marked document (`stage`). No prompt depends on this: a
benchmark that is added makes nothing be generated again.
"""

from collections import Counter
from typing import Any

import pyarrow as pa

from cosmo_assets.decontamination.cases import Cases
from cosmo_assets.decontamination.search import CLEAN, Search, names, open_search
from cosmo_assets.decontamination.stage import rule_params
from cosmo_assets.schemas.screening import CONTAMINATED_SEEDS
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
ROWS_AT_ONCE = 100_000
"""Rows of a part file, about: those of a part of the seeds are few."""


def build(workspace: Workspace) -> Manifest:
    """Build `contaminated_seeds`: a row for every seed whose title and text hold an item, none for the others.

    Cost: linear in the text of seeds that no earlier version searched for the same benchmarks; reading the others.
    Memory: one part of the seeds, the ids of those that were searched before, and the index, mapped.
    """
    seeds, index = workspace.store.open("seed_documents"), workspace.store.open("benchmark_index")
    return workspace.build_rows(
        "contaminated_seeds",
        lambda writer, earlier: _produce(writer, workspace, seeds, index, earlier),
        key="seed_id",
        sources=[RowSource(seeds, ("title", "text"))],
        stage_version=STAGE_VERSION,
        inputs=(seeds.ref(),),
        fixed=(index.ref(),),
        params=rule_params(workspace.recipe),
    )


def _produce(writer: DatasetWriter, workspace: Workspace, seeds: Dataset, index: Dataset, earlier: Earlier) -> None:
    search = open_search(index, workspace.recipe.decontamination)
    total, done, searched = seeds.manifest.rows, 0, 0
    seeds_of: Counter[str] = Counter()
    contaminated: Counter[str] = Counter()
    by_benchmark: Counter[str] = Counter()
    items: set[str] = set()
    cases = Cases()
    waiting: list[dict[str, Any]] = []
    for table in seeds.tables(["seed_id", "source", "title", "text"]):
        rows = table.to_pylist()
        new = [row for row in rows if row["seed_id"] not in earlier.unchanged]
        known = {row["seed_id"]: row for row in earlier.rows([row["seed_id"] for row in rows]).to_pylist()}
        found = {**known, **_found(search, new)}
        hits = [found[row["seed_id"]] for row in rows if row["seed_id"] in found]
        text_of = {row["seed_id"]: _searched(row) for row in rows if row["seed_id"] in found}
        cases.add(
            ({"key": hit["seed_id"], **{name: hit[name] for name in CLEAN}}, text_of[hit["seed_id"]]) for hit in hits
        )
        for hit in hits:
            by_benchmark[hit["benchmark"]] += 1
            items.update(hit["items"])
        seeds_of.update(row["source"] for row in rows)
        contaminated.update(row["source"] for row in rows if row["seed_id"] in found)
        waiting += hits
        if len(waiting) >= ROWS_AT_ONCE:
            writer.write(pa.Table.from_pylist(waiting, schema=CONTAMINATED_SEEDS))
            waiting = []
        writer.reused_rows += len(known)
        searched += len(new)
        done += len(rows)
        workspace.progress(done, total, "seeds")
    writer.write(pa.Table.from_pylist(waiting, schema=CONTAMINATED_SEEDS))
    writer.flow("seeds", total, done)
    writer.run = {"searched_seeds": searched}
    held = Counter(item.split(":", 1)[0] for item in items)
    writer.summary = {
        "contaminated": sum(by_benchmark.values()),
        "sources": [
            {"source": name, "seeds": count, "contaminated": contaminated[name]}
            for name, count in sorted(seeds_of.items())
        ],
        "benchmarks": [
            {
                "benchmark": row["benchmark"],
                "seeds": by_benchmark[row["benchmark"]],
                "unique_items": held[row["benchmark"]],
            }
            for row in index.manifest.summary["benchmarks"]
        ],
        "cases": cases.shown(index),
    }


def _found(search: Search, seeds: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of seeds that hold an item, by their ids."""
    found = search.matches([_searched(seed) for seed in seeds])
    return {
        seed["seed_id"]: {"seed_id": seed["seed_id"], **search.worst(matches), "items": names(matches)}
        for seed, matches in zip(seeds, found, strict=True)
        if matches
    }


def _searched(seed: dict[str, Any]) -> str:
    """What a prompt may show of a seed."""
    return "\n".join(part for part in (seed["title"], seed["text"]) if part)
