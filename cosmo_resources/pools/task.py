"""The program of one batch task: its own servers, and a worker beside them, until no shard is left to claim.

Belongs here: the life of a task on its node, without Dagster. Does not belong here: submitting tasks (`batch`), or what
the worker does.

Usage: python -m cosmo_resources.pools.task FOLDER, in a Slurm job; the folder holds `task.json` (a `TaskSpec`).
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions
from cosmo_resources.inference.server_process import ModelServer
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.pools.jobs import UNFINISHED, failure, worker_command
from cosmo_resources.pools.serving import (
    LAST_SCRAPE_SECONDS,
    Notice,
    UsageKeeper,
    place,
    requeue,
    start_servers,
    stop_servers,
)
from cosmo_resources.storage.ledger import ShardLedger
from cosmo_resources.storage.manifest import Frozen

SPEC_NAME = "task.json"
POLL_SECONDS = 0.5


class TaskSpec(Frozen):
    """What every task of a job does: `servers` equal servers, and one worker with `concurrency` requests in flight for
    each of them, that waits `timeout` seconds for an answer. `grace_seconds` is what a worker has to finish its
    requests when the task is told to go. `shards` are those of the job: a task that starts when all are sealed starts
    no server."""

    module: str
    server: ServerSpec
    servers: int = 1
    concurrency: int = 64
    timeout: float = ClientOptions.timeout
    grace_seconds: float = 60.0
    shards: int = 0


def run_task(folder: Path, spec: TaskSpec) -> int:
    """Work until nothing can be claimed, or until Slurm says to go; then 0.

    Raises:
        CosmoError: the server or the worker failed.
    """
    if not ShardLedger(folder).unsealed(spec.shards):
        return 0
    notice, where = Notice(), place(os.environ)
    usage = UsageKeeper(folder, where, spec.servers * spec.server.gpus)
    usage.start()
    servers: list[ModelServer] = []
    try:
        servers = start_servers(spec.server, spec.servers, folder / "tasks" / where.name, "127.0.0.1", kept=True)
        usage.watch([server.url for server in servers])
        if not notice.given:
            _work(folder, spec, servers, notice, folder / "tasks" / where.name / "worker.log")
    finally:
        usage.look(LAST_SCRAPE_SECONDS)
        stop_servers(servers)
        usage.close()
    if notice.comes_back:
        requeue(where)
    return 0


def _work(folder: Path, spec: TaskSpec, servers: Sequence[ModelServer], notice: Notice, log: Path) -> None:
    """One worker to its end; servers that die or hang meanwhile are started again."""
    command = worker_command(
        spec.module,
        folder,
        [part for server in servers for part in ("--endpoint", server.url)],
        concurrency=spec.concurrency * len(servers),
        engine=servers[0].name,
        parent=os.getpid(),
        timeout=spec.timeout,
        leave=True,
        patient=True,
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        worker = subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
    try:
        while worker.poll() is None and not notice.wait(POLL_SECONDS):
            for server in servers:
                server.start()  # as it is, or anew where it has died
        if notice.given:
            worker.terminate()
            _wait(worker, spec.grace_seconds)
    finally:
        if worker.poll() is None:
            worker.kill()
        worker.wait()
    if worker.returncode not in (0, UNFINISHED) and not notice.given:
        raise failure("the worker", log, worker.returncode)


def _wait(worker: "subprocess.Popen[bytes]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cosmo_resources.pools.task", description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        spec = TaskSpec.model_validate_json((options.folder / SPEC_NAME).read_text(encoding="utf-8"))
        return run_task(options.folder, spec)
    except CosmoError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
