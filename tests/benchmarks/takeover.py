"""What one percent more seeds costs, stage by stage, against a build from nothing in the same process.

Belongs here: the times of the stages that take rows over, and of those that do not, on synthetic texts. Does not belong
here: a test (`tests/faults/test_one_percent_more.py` counts the rows).

    python -m tests.benchmarks.takeover [--documents 20000] [--buckets 4] [--words 400] [--embed]

One prompt per seed, answers from a function in this process, so `generations` shows its bookkeeping alone. Times are
CPU seconds of the process, all threads: other work on the machine disturbs them little. `--embed` embeds with the real
model instead of a function.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cosmo_assets.decontamination import search
from cosmo_assets.decontamination import seeds as contaminated_seeds
from cosmo_assets.decontamination import stage as decontamination
from cosmo_assets.deduplication import clusters, signatures, verdicts
from cosmo_assets.generation.generate import generate
from cosmo_assets.generation.worker import Worker
from cosmo_assets.ids import bucket_name
from cosmo_assets.lineage import index
from cosmo_assets.mixture import stage as mixture
from cosmo_assets.prompts import seed_extracts, table
from cosmo_assets.quality import stage as quality
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_assets.topics import embedding
from cosmo_assets.withdrawal import record
from cosmo_resources.embedding.minilm import MiniLmEmbedder
from cosmo_resources.inference.client import Answer, CompletionClient, Request
from cosmo_resources.pools.local import Job
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tokenizers import load_tokenizer
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe

TOKENIZER = "smollm2-135m-instruct"
ITEMS = 2000


class Embedder:
    """Vectors drawn from the text, in no time."""

    name, revision = "drawn", "1"

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        rows = [np.random.default_rng(int(digest(text)[:8], 16)).random(384, np.float32) for text in texts]
        return np.array(rows, np.float32).reshape(-1, 384)


class Answers:
    """A client whose answers are drawn from the request."""

    def __init__(self, words: int) -> None:
        self.words = words

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            text = prose(request.key, self.words)
            yield Answer(request.key, "ok", text, "stop", None, 300, self.words, 1, 0.0)


class HerePool:
    """One worker in this process."""

    def __init__(self, words: int) -> None:
        self.client = cast("CompletionClient", Answers(words))

    def run(self, job: Job) -> Iterator[int]:
        Worker(job.folder, self.client, "drawn").run()
        yield job.rows


def corpus(folder: Path, buckets: int) -> Workspace:
    items = [
        f'{{"id": "q{number}", "question": "{prose(f"item {number}", 40)}", "answer": "yes"}}'
        for number in range(ITEMS)
    ]
    (folder / "bench.jsonl").write_text("\n".join(items) + "\n", encoding="utf-8")
    made_of = recipe(
        buckets=buckets,
        folder=folder,
        generation={"shard_rows": 1000},
        decontamination={"benchmarks": [{"name": "bench", "path": "bench.jsonl", "licence": "CC0-1.0"}]},
        tokenization={"tokenizer": TOKENIZER, "shard_tokens": 5_000_000},
    )
    return Workspace(CorpusStore(folder / "store"), made_of)


def put_seeds(space: Workspace, count: int, words: int) -> None:
    """The inputs of the stages: seeds and their topic."""
    seeds: list[dict[str, Any]] = [
        {"seed_id": digest("seed", str(number)), "kind": "web", "source": "pages", "text": prose(f"s{number}", words)}
        for number in range(count)
    ]
    seeds.sort(key=lambda seed: str(seed["seed_id"]))
    put(space, "seed_documents", {None: seeds}, version=str(count))
    decided = [{"seed_id": seed["seed_id"], "cluster_id": 0, "topic": "Rivers"} for seed in seeds]
    put(space, "seed_topics", {None: decided}, version=str(count))


def stages(space: Workspace, words: int, embed: bool) -> dict[str, Callable[[], list[Manifest]]]:
    """Every stage over all buckets, in order."""
    tokenizer = load_tokenizer(TOKENIZER)
    embedder = MiniLmEmbedder() if embed else Embedder()
    names = [bucket_name(number) for number in range(space.recipe.buckets)]
    return {
        "seed_embeddings": lambda: [embedding.build(space, embedder)],
        "seed_extracts": lambda: [seed_extracts.build(space, tokenizer)],
        "prompt_table": lambda: [table.build(space)],
        "generations": lambda: [generate(space, HerePool(words), name) for name in names],
        "generation_quality": lambda: [quality.build(space, name) for name in names],
        "benchmark_index": lambda: [decontamination.build_benchmarks(space)],
        "contaminated_seeds": lambda: [contaminated_seeds.build(space)],
        "decontaminated": lambda: [decontamination.build(space, name) for name in names],
        "text_signatures": lambda: [signatures.build(space, name) for name in names],
        "duplicate_clusters": lambda: [clusters.build(space)],
        "deduplicated": lambda: [verdicts.build(space, name) for name in names],
        "mixture": lambda: [record.build(space), mixture.build(space)],
        "tokenized_shards": lambda: [shards.build(space, tokenizer)],
        "token_lineage": lambda: [index.build(space)],
    }


def measure(space: Workspace, count: int, words: int, embed: bool) -> dict[str, tuple[float, int, int]]:
    """Build with so many seeds: CPU seconds, rows computed and rows taken over, by stage."""
    put_seeds(space, count, words)
    search._opened.cache_clear()  # as in a process that has built nothing before
    found = {}
    for name, build in stages(space, words, embed).items():
        started = time.process_time()
        manifests = build()
        seconds = time.process_time() - started
        computed, reused = (sum(item.run[key] for item in manifests) for key in ("computed_rows", "reused_rows"))
        found[name] = (seconds, computed, reused)
        print(f"  {name}: {seconds:.1f} s, {computed} rows computed, {reused} taken over", flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--documents", type=int, default=20_000)
    arguments.add_argument("--buckets", type=int, default=4)
    arguments.add_argument("--words", type=int, default=400, help="of a seed and of an answer")
    arguments.add_argument("--embed", action="store_true", help="with the real embedding model")
    chosen = arguments.parse_args()
    more = max(chosen.documents // 100, 1)
    with tempfile.TemporaryDirectory(prefix="takeover-") as work:
        space = corpus(Path(work), chosen.buckets)
        print(f"{chosen.documents} seeds")
        full = measure(space, chosen.documents, chosen.words, chosen.embed)
        print(f"{more} seeds more")
        added = measure(space, chosen.documents + more, chosen.words, chosen.embed)
    print(f"\n{'stage':20} {'full, s':>8} {'+1 %, s':>8} {'ratio':>7} {'rows, full':>11} {'rows, +1 %':>11}")
    for name, (seconds, computed, _) in full.items():
        again, anew, _ = added[name]
        print(f"{name:20} {seconds:8.2f} {again:8.2f} {again / max(seconds, 1e-9):7.1%} {computed:11} {anew:11}")
    totals = [sum(seconds for seconds, _, _ in found.values()) for found in (full, added)]
    print(f"{'all':20} {totals[0]:8.2f} {totals[1]:8.2f} {totals[1] / totals[0]:7.1%}")


if __name__ == "__main__":
    main()
