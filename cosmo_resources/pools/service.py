"""The service pool: long-lived servers in Slurm that jobs, topic labels and pilots share.

Belongs here: being a client of such a pool, and keeping it at its size while being one. Does not belong here: the
decision how many servers there are (`reconcile`), or one server (`agent`).
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence

from cosmo_resources.inference.client import ClientOptions
from cosmo_resources.inference.endpoints import Endpoint
from cosmo_resources.inference.leases import LeasedEndpoints
from cosmo_resources.pools.agent import DEMANDS, LEASES
from cosmo_resources.pools.demand import DemandWriter, demand
from cosmo_resources.pools.jobs import Job, failure, worker_command
from cosmo_resources.pools.local import running_workers
from cosmo_resources.pools.reconcile import Reconciler
from cosmo_resources.storage.ledger import ShardLedger

POLL_SECONDS = 0.5
TICK_SECONDS = 5.0


class ServicePool:
    """Workers here, servers in Slurm: `per_server` requests in flight on each, `timeout` seconds for an answer."""

    def __init__(
        self,
        reconciler: Callable[[], Reconciler],
        *,
        workers: int = 1,
        per_server: int = 128,
        engine: str = "vllm",
        timeout: float = ClientOptions.timeout,
    ) -> None:
        self._reconciler, self._workers, self._per_server, self._engine = reconciler, workers, per_server, engine
        self._timeout = timeout

    def run(self, job: Job) -> Generator[int, None, None]:
        """See `Pool.run`. Servers may come, go and be replaced meanwhile; with none alive the workers wait.

        Raises:
            CosmoError: a worker failed, or no server stays alive.
        """
        pool = self._reconciler()
        pool.prepare()
        command = worker_command(
            job.module,
            job.folder,
            ["--leases", str(pool.folder / LEASES), "--per-endpoint", str(self._per_server)],
            concurrency=self._per_server * 1024,
            engine=self._engine,
            parent=os.getpid(),
            timeout=self._timeout,
            patient=True,
        )
        ledger = ShardLedger(job.folder)
        ticked = -TICK_SECONDS
        with (
            demand(pool.folder / DEMANDS, f"{job.name}-{uuid.uuid4().hex[:8]}") as wanted,
            running_workers(command, job.folder, self._workers) as workers,
        ):
            while any(worker.poll() is None for worker, _ in workers):
                rows = ledger.finished_rows()
                if time.monotonic() - ticked >= TICK_SECONDS:
                    wanted.renew(job.rows - rows)
                    pool.tick()
                    ticked = time.monotonic()
                yield rows
                time.sleep(POLL_SECONDS)
            for worker, log in workers:
                if worker.returncode != 0:
                    raise failure("a worker", log, worker.returncode)
        yield ledger.finished_rows()

    def endpoints(self) -> "PoolEndpoints":
        """For a client in this process: whoever looks for endpoints keeps the pool alive."""
        return PoolEndpoints(self._reconciler())


class PoolEndpoints:
    """The live servers of a pool. Asking for them renews the demand and reconciles the pool now and then, in a thread
    of its own, so that asking is quick; when nobody asks any more, the demand lapses."""

    def __init__(self, pool: Reconciler, rows: int = 1) -> None:
        self._pool, self._rows = pool, rows
        self._leased = LeasedEndpoints(pool.folder / LEASES)
        self._demand = DemandWriter(pool.folder / DEMANDS, f"client-{uuid.uuid4().hex[:12]}")
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._ticked = -TICK_SECONDS
        pool.prepare()

    def live(self) -> Sequence[Endpoint]:
        """See `Endpoints.live`.

        Raises:
            CosmoError: no server of the pool stays alive.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        idle = self._thread is None or not self._thread.is_alive()
        if idle and time.monotonic() - self._ticked >= TICK_SECONDS:
            self._ticked = time.monotonic()
            self._thread = threading.Thread(target=self._tick, daemon=True)
            self._thread.start()
        return self._leased.live()

    def _tick(self) -> None:
        try:
            self._demand.renew(self._rows)
            self._pool.tick()
        except Exception as error:  # noqa: BLE001 - raised again where it can be heard
            self._error = error
