"""The local pool: worker processes on this machine, beside the server that they ask.

Belongs here: starting workers for a job, watching its ledger, ending them. Does not belong here: what a worker does
(the job's own module), which runs without Dagster and finds its whole task in the job's folder.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.servers import Server
from cosmo_resources.storage.ledger import ShardLedger

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """Work on one ledger: `python -m <module> <folder> --endpoint URL ...` in any number of processes, each of which
    claims shards until none is left. Running it again goes on where it ended."""

    module: str
    folder: Path
    rows: int


class Pool(Protocol):
    """Where jobs run."""

    def run(self, job: Job) -> Iterator[int]:
        """Run a job to its end, yielding the number of finished rows from time to time."""
        ...


class LocalPool:
    """`workers` processes on this machine, each with `concurrency` requests in flight."""

    def __init__(self, server: Callable[[], Server], *, workers: int = 1, concurrency: int = 32) -> None:
        self._server = server
        self._workers = workers
        self._concurrency = concurrency

    def run(self, job: Job) -> Iterator[int]:
        """See `Pool.run`.

        Raises:
            CosmoError: a worker failed; its own error is quoted. Finished rows are kept.
        """
        server = self._server()
        endpoints = server.start()
        command = [sys.executable, "-m", job.module, str(job.folder), "--concurrency", str(self._concurrency)]
        command += [part for endpoint in endpoints for part in ("--endpoint", endpoint)]
        command += ["--engine", server.name, "--parent", str(os.getpid())]
        ledger = ShardLedger(job.folder)
        logs = [job.folder / f"worker-{index}.log" for index in range(self._workers)]
        workers: list[subprocess.Popen[bytes]] = []
        try:
            for log in logs:
                with log.open("wb") as stream:
                    workers.append(subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL))
            while any(worker.poll() is None for worker in workers):
                yield ledger.finished_rows()
                time.sleep(POLL_SECONDS)
            for worker, log in zip(workers, logs, strict=True):
                if worker.returncode != 0:
                    raise _failure(worker.returncode, log)
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.terminate()
            for worker in workers:
                worker.wait()
        yield ledger.finished_rows()


def _failure(code: int, log: Path) -> CosmoError:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    message, _, remedy = "\n".join(lines[-20:]).partition("  remedy: ")
    return CosmoError(
        f"a worker ended with exit code {code}:\n{message.strip()}",
        remedy=remedy.strip() or f"read {log}; finished rows are kept, run the same command again",
    )
