"""The local pool: worker processes on this machine, beside the server that they ask.

Belongs here: starting workers for a job, watching its ledger and its server, ending them. Does not belong here: what a
worker does (the job's own module), which runs without Dagster and finds its whole task in the job's folder.
"""

import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosmo_resources.inference.client import ClientOptions
from cosmo_resources.inference.servers import Server
from cosmo_resources.pools.jobs import Job, failure, worker_command
from cosmo_resources.pools.serving import usage
from cosmo_resources.storage.ledger import ShardLedger

POLL_SECONDS = 0.2


class LocalPool:
    """`workers` processes on this machine, each with `concurrency` requests in flight and `timeout` seconds for an
    answer, and a server with `gpus` devices. A server that dies is started again; the requests that it took with it are
    sent anew."""

    def __init__(
        self,
        server: Callable[[], Server],
        *,
        workers: int = 1,
        concurrency: int = 32,
        gpus: int = 0,
        timeout: float = ClientOptions.timeout,
    ) -> None:
        self._server = server
        self._gpus = gpus
        self._workers = workers
        self._concurrency = concurrency
        self._timeout = timeout

    def run(self, job: Job) -> Generator[int, None, None]:
        """See `Pool.run`.

        Raises:
            CosmoError: a worker failed, or the server does and cannot be restarted.
        """
        server = self._server()
        endpoints = server.start()
        where = [part for endpoint in endpoints for part in ("--endpoint", endpoint)]
        command = worker_command(
            job.module,
            job.folder,
            where,
            concurrency=self._concurrency,
            engine=server.name,
            parent=os.getpid(),
            timeout=self._timeout,
            patient=server.name != "remote",  # nobody here starts a remote one again
        )
        ledger = ShardLedger(job.folder)
        with usage(job.folder, self._gpus, endpoints), running_workers(command, job.folder, self._workers) as workers:
            while any(worker.poll() is None for worker, _ in workers):
                yield ledger.finished_rows()
                server.start()  # as it is, or anew where it has died
                time.sleep(POLL_SECONDS)
            for worker, log in workers:
                if worker.returncode != 0:
                    raise failure("a worker", log, worker.returncode)
        yield ledger.finished_rows()


@contextmanager
def running_workers(
    command: list[str], folder: Path, count: int
) -> Iterator[list[tuple["subprocess.Popen[bytes]", Path]]]:
    """Worker processes with a log file each; those that still run at the end are told to stop, and waited for."""
    workers: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for index in range(count):
            log = folder / f"worker-{index}.log"
            with log.open("wb") as stream:
                process = subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
            workers.append((process, log))
        yield workers
    finally:
        for worker, _ in workers:
            if worker.poll() is None:
                worker.kill()
        for worker, _ in workers:
            worker.wait()
