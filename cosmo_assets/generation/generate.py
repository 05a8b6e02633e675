"""The generations of one bucket: plan, take over what exists, let the pool do the rest, publish.

Belongs here: the stage from prompts to a published version. Does not belong here: the worker's loop (`worker`).
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cosmo_assets.generation.plan import make_plan, prepare
from cosmo_assets.generation.worker import Worker
from cosmo_assets.schemas import GENERATIONS
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import CompletionClient
from cosmo_resources.pools.local import Job, Pool
from cosmo_resources.storage.ledger import ShardLedger, work_folders
from cosmo_resources.storage.manifest import Manifest, Tokens
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
WORKER = "cosmo_assets.generation.worker"


def generate(workspace: Workspace, pool: Pool, bucket: str) -> Manifest:
    """Build `generations` of a bucket. What a killed run had finished is not asked again, nor is any row whose prompt,
    model and sampling stand unchanged in an earlier version; rows that failed for reasons of the moment are.

    Cost: one request per new document; reading ids of earlier versions of the bucket.
    """
    prompts = workspace.store.open("prompt_table")
    recipe = workspace.recipe.generation
    params = {
        "model": recipe.model.name,
        "revision": recipe.model.revision,
        "sampling": recipe.sampling.given,
        "samples": recipe.samples,
    }

    def produce(writer: DatasetWriter) -> None:
        _produce(writer, workspace, pool, prompts, bucket)

    manifest = workspace.build(
        "generations",
        produce,
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(prompts.ref(bucket),),
        params=params,
        fresh=lambda manifest: "failed" not in manifest.flow.failed,
    )
    with workspace.store.lock("generations", bucket, wait=False) as held:
        if held:
            _sweep(workspace.store, bucket)
    return manifest


def _produce(writer: DatasetWriter, workspace: Workspace, pool: Pool, prompts: Dataset, bucket: str) -> None:
    store = workspace.store
    plan = make_plan(workspace.recipe, prompts, bucket)
    folder = store.work("generations", bucket) / plan.digest
    reused, reused_tokens = prepare(plan, folder, store)
    started = time.monotonic()
    for done in pool.run(Job(WORKER, folder, plan.rows)) if reused < plan.rows else _seal_reused(folder):
        workspace.progress(done, plan.rows, "documents")
    seconds = time.monotonic() - started
    counters: Counter[str] = Counter()
    ledger = ShardLedger(folder)
    for index in range(plan.shards):
        done_shard = ledger.done(index)
        if done_shard is None:
            raise CosmoError(
                f"{folder}: shard {index} is not sealed though its workers ended well",
                remedy="run the same command again; if it stays, report it with the worker's log",
            )
        counters.update(done_shard.counters)
        writer.adopt(ledger.parquet(index), rows=done_shard.rows, content=done_shard.content)
    if not plan.shards:
        writer.write(GENERATIONS.empty_table())
    failed = {status: counters[f"status_{status}"] for status in ("failed", "refused") if counters[f"status_{status}"]}
    tokens = Tokens(tokens_in=counters["completion_tokens"], tokens_out=counters["completion_tokens"])
    writer.flow("documents", plan.rows, counters["status_ok"], failed=failed, tokens=tokens)
    writer.summary = {key: counters[key] for key in sorted(counters)}
    new = counters["completion_tokens"] - reused_tokens
    writer.reused_rows = reused
    writer.run = {
        "reused_tokens": reused_tokens,
        "generated_tokens": new,
        "generation_seconds": round(seconds, 3),
        "tokens_per_second": round(new / seconds, 1) if seconds and new else 0.0,
    }


def _seal_reused(folder: Path) -> Iterator[int]:
    """Seal a job that needs no model: every row of it was taken over."""
    Worker(folder, CompletionClient(["unused"], ""), "").run()
    yield ShardLedger(folder).finished_rows()


def _sweep(store: CorpusStore, bucket: str) -> None:
    """Remove unfinished jobs all of whose rows are published; the bucket's lock is held, so none of them is alive. What
    a damaged version holds does not count as published."""
    published: set[str] = set()
    for version in store.versions("generations", bucket):
        with suppress(CosmoError):
            for table in version.tables(["doc_id"]):
                published.update(table["doc_id"].to_pylist())
    for work in work_folders(store.place("generations", bucket)):
        if all(row["doc_id"] in published for row in ShardLedger(work).rows()):
            shutil.rmtree(work)
