"""Generation jobs for tests: prepared folders, workers in this process and in others, a pool without processes."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cosmo_assets.generation.plan import GenerationPlan, make_plan, prepare
from cosmo_assets.generation.worker import Worker
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.pools.jobs import Job
from cosmo_resources.storage.ledger import ShardLedger
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import ReplayServer
from tests.unit.cosmo_assets.synthetic import MODEL, prompts, put_prompts


def workspace(folder: Path, recipe: Recipe) -> Workspace:
    return Workspace(CorpusStore(folder / "corpus"), recipe, run_id="test")


def job(folder: Path, recipe: Recipe, count: int, *, bucket: str = "b000") -> tuple[GenerationPlan, Path]:
    """A prepared job over `count` prompts: its plan and its folder."""
    space = workspace(folder, recipe)
    put_prompts(space, prompts(count))
    plan = make_plan(recipe, space.store.open("prompt_table"), bucket)
    place = space.store.work("generations", bucket) / plan.digest
    prepare(plan, place, space.store)
    return plan, place


def work(folder: Path, server: ReplayServer, **options: Any) -> None:
    """Run a worker in this process to the end of the job."""
    client = CompletionClient([server.url], MODEL, ClientOptions(**{"concurrency": 4, "backoff": 0.005, **options}))
    Worker(folder, client, "test engine").run()


def start_worker(folder: Path, server: ReplayServer, *, concurrency: int = 4) -> "subprocess.Popen[str]":
    """Run a worker in a process of its own."""
    command = [sys.executable, "-m", "cosmo_assets.generation.worker", str(folder), "--endpoint", server.url]
    command += ["--concurrency", str(concurrency), "--engine", "test engine"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asked(server: ReplayServer) -> list[str]:
    """The prompts that a server was asked for, in order of arrival."""
    return [call["messages"][0]["content"] for call in server.calls]


def sealed_rows(plan: GenerationPlan, folder: Path) -> list[dict[str, Any]]:
    """All rows of a finished job, in the order of its shards."""
    ledger = ShardLedger(folder)
    assert all(ledger.done(index) for index in range(plan.shards)), "a shard is not sealed"
    return [dict(row) for row in ledger.rows()]


def wait_until(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class HerePool:
    """A pool that does its jobs in this process."""

    def __init__(self, server: ReplayServer, **options: Any) -> None:
        self.server = server
        self.options = options

    def run(self, job: Job) -> Iterator[int]:
        work(job.folder, self.server, **self.options)
        yield ShardLedger(job.folder).finished_rows()
