"""The generations of one bucket: plan, take over what exists, let the pool do the rest, publish.

Belongs here: the stage from prompts to a published version. Does not belong here: the worker's loop (`worker`).
"""

import shutil
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from cosmo_assets.generation.accounting import account
from cosmo_assets.generation.plan import GenerationPlan, make_plan, prepare
from cosmo_assets.generation.worker import Worker
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.generation import GENERATIONS
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import CompletionClient
from cosmo_resources.pools.jobs import Job, Pool
from cosmo_resources.pools.meters import read_series
from cosmo_resources.storage.ledger import ShardLedger, work_folders
from cosmo_resources.storage.manifest import Manifest, Tokens
from cosmo_resources.storage.store import BuildPlan, CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "2"
SPENT = ("gpu_hours", "cost", "energy_kwh", "tokens_per_second_per_gpu", "prefix_hits", "retried", "device")
"""Figures of the account that a version's manifest keeps."""
WORKER = "cosmo_assets.generation.worker"


def generate(workspace: Workspace, pool: Pool, bucket: str, *, retry_refused: bool = False) -> Manifest:
    """Build `generations` of a bucket. What a killed run had finished is not asked again, nor is any row whose prompt,
    model and sampling stand unchanged in an earlier version; rows that failed for reasons of the moment are, and with
    `retry_refused` those, too, that a server would not take.

    Cost: one request per new document; reading ids of earlier versions of the bucket.
    """
    prompts = workspace.store.open("prompt_table")
    again = {"failed", "refused"} if retry_refused else {"failed"}

    def produce(writer: DatasetWriter) -> None:
        _produce(writer, workspace, pool, make_plan(workspace.recipe, prompts, bucket, retry_refused=retry_refused))

    manifest = workspace.build(
        "generations",
        produce,
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(prompts.ref(bucket),),
        params=_params(workspace.recipe),
        fresh=lambda manifest: again.isdisjoint(manifest.flow.failed),
    )
    with workspace.store.lock("generations", bucket, wait=False) as held:
        if held:
            _sweep(workspace.store, bucket)
    return manifest


def build_plan(recipe: Recipe, prompts: Dataset, bucket: str) -> BuildPlan:
    """What `generate` would build of a bucket now: a version that carries its digest is up to date."""
    inputs = (prompts.ref(bucket),)
    return BuildPlan("generations", STAGE_VERSION, TABLES["generations"], _params(recipe), inputs, bucket)


def _params(recipe: Recipe) -> dict[str, Any]:
    generation = recipe.generation
    return {
        "model": generation.model.name,
        "revision": generation.model.revision,
        "sampling": generation.sampling.given,
        "samples": generation.samples,
        **({} if generation.rollout.name == "single" else {"rollout": generation.rollout.model_dump()}),
    }


def _produce(writer: DatasetWriter, workspace: Workspace, pool: Pool, plan: GenerationPlan) -> None:
    store = workspace.store
    folder = store.work("generations", plan.bucket) / plan.digest
    reused, reused_tokens = prepare(plan, folder, store)
    started = time.monotonic()
    budget = workspace.recipe.budget
    job = Job(WORKER, folder, plan.rows, plan.shards, f"{workspace.recipe.name}-{plan.bucket}")
    with closing(pool.run(job) if reused < plan.rows else _seal_reused(folder)) as progress:
        for done in progress:  # closed at once when this run is cancelled: the pool then ends what it started
            workspace.progress(done, plan.rows, "documents", lambda: account(folder, budget).figures())
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
    spent = account(folder, budget)
    writer.run = {
        **{name: value for name, value in spent.figures().items() if name in SPENT},
        "throughput": read_series(folder),
        "reused_tokens": reused_tokens,
        "generated_tokens": new,
        "generation_seconds": round(seconds, 3),
        "tokens_per_second": round(new / seconds, 1) if seconds and new else 0.0,
    }


def _seal_reused(folder: Path) -> Generator[int, None, None]:
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
