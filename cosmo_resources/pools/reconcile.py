"""Reconciling a service pool: what is there, what should be, and the difference as jobs to submit and to cancel.

Belongs here: the decision, as a pure function of what is seen, and carrying it out. Does not belong here: one server's
life (`agent`), or whoever calls this (`service`, a sensor).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.leases import Lease, LeaseWatch
from cosmo_resources.pools.agent import (
    DEMANDS,
    FAILURES,
    LEASES,
    SPEC_NAME,
    UNKNOWN_NODE,
    Failure,
    ServiceSpec,
    record_failure,
)
from cosmo_resources.pools.batch import SlurmOptions
from cosmo_resources.pools.demand import DemandReader
from cosmo_resources.slurm.records import JobRecord
from cosmo_resources.slurm.slurm import Slurm
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.files import exclusive, write_text

BAD_NODE_FAILURES = 2
"""Servers that must fail on a node, none coming up there between them, before it is left out."""

POOL_FAILURES = 4
"""Servers that must fail with none alive before the pool is given up."""


@dataclass(frozen=True)
class PoolSize:
    """How many servers a pool may have: none without demand; with it at least `floor`, at most `ceiling`, and no more
    than there is work for, at `rows_per_server`."""

    floor: int = 1
    ceiling: int = 4
    rows_per_server: int = 200

    def wanted(self, rows: int | None) -> int:
        if rows is None or self.ceiling < 1:
            return 0
        return min(self.ceiling, max(1, self.floor, math.ceil(rows / self.rows_per_server)))


@dataclass(frozen=True)
class View:
    """What is seen of a pool: its jobs in the queue, its live leases and those that are long overdue, rows in demand
    (None: nobody asks), failures."""

    jobs: Sequence[JobRecord]
    leases: Sequence[Lease]
    overdue: Sequence[Lease]
    rows: int | None
    failures: Sequence[Failure]


@dataclass(frozen=True)
class Actions:
    """What is to be done: servers to submit, and on which nodes not; jobs to cancel at once; servers to be drained."""

    submit: int = 0
    exclude: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()


def decide(view: View, size: PoolSize) -> Actions:
    """The difference between what is there and what is wanted. A server that is draining counts as gone, and one whose
    lease is overdue, on a node that died or hangs, is cancelled: its place is filled before Slurm notices. Where there
    are too many, those that wait in the queue go first, then the youngest.

    Without demand nothing is cancelled but what waits in the queue: idle servers end by themselves in their own time.
    A job whose launch failed is lost as well.
    """
    draining = {lease.job for lease in view.leases if lease.state == "draining"}
    lives = {(lease.job, lease.restart) for lease in view.overdue}
    lost = [job.id for job in view.jobs if job.state == "RUNNING" and (job.id, job.restarts) in lives]
    lost += [job.id for job in view.jobs if job.unstartable]
    alive = [job for job in view.jobs if job.state != "COMPLETING" and job.id not in {*draining, *lost}]
    wanted = size.wanted(view.rows)
    failures = Counter(failure.node for failure in view.failures)
    bad = (node for node, count in failures.items() if count >= BAD_NODE_FAILURES and node != UNKNOWN_NODE)
    exclude = tuple(sorted(bad))
    if len(alive) < wanted:
        return Actions(submit=wanted - len(alive), exclude=exclude, cancel=tuple(lost))
    pending = [job.id for job in alive if job.state == "PENDING" and not job.restarts]
    running = [job.id for job in alive if job.state == "RUNNING"]
    surplus = len(alive) - wanted
    cancel = tuple(pending[::-1][:surplus])
    drain = tuple(running[::-1][: surplus - len(cancel)]) if view.rows is not None else ()
    return Actions(cancel=(*lost, *cancel), drain=drain, exclude=exclude)


def _not_launched(job: JobRecord) -> Failure:
    return Failure(
        job=job.id,
        node=UNKNOWN_NODE,
        error=f"Slurm could not launch job {job.id}: {job.reason}",
        remedy="`sinfo --list-reasons` shows nodes that Slurm drained for it; slurm.options.exclude leaves nodes out",
    )


class Reconciler:
    """Brings one pool to its wanted size. Any number of processes may do so: one at a time gets the lock, and none
    needs to remember anything; what is remembered (when a beat last moved) only delays, never decides wrongly.

    The pool's folder, on the shared file system, is named by the digest of what its servers are: whoever asks for the
    same servers shares them."""

    def __init__(self, slurm: Slurm, options: SlurmOptions, spec: ServiceSpec, size: PoolSize, root: Path) -> None:
        digest = json_digest(spec.model_dump(mode="json"))[:16]
        self.name, self.folder = f"cosmo-pool-{digest}", root / digest
        self._slurm, self._options, self._spec, self._size = slurm, options, spec, size
        self._demands = DemandReader(self.folder / DEMANDS)
        self._leases = LeaseWatch(self.folder / LEASES)

    def prepare(self) -> None:
        """Write what servers read."""
        for name in (DEMANDS, LEASES, FAILURES, "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        write_text(self.folder / SPEC_NAME, self._spec.model_dump_json(indent=1) + "\n")

    def tick(self) -> Actions | None:
        """Look and act once; None where another process is at it.

        Raises:
            CosmoError: no server stays alive; the last one's error is quoted. The record of failures is cleared, so
                that the next call tries again.
        """
        with exclusive(self.folder / "reconcile.lock", wait=False) as held:
            if not held:
                return None
            view = self.look()
            for job in view.jobs:
                if job.unstartable:
                    record_failure(self.folder, job.id, _not_launched(job))
            self._give_up_when_broken(view)
            actions = decide(view, self._size)
            self._act(actions)
            return actions

    def look(self) -> View:
        fresh, overdue = self._leases.look()
        return View(self._slurm.jobs(self.name), fresh, overdue, self._demands.rows(), self._failures())

    def cancel(self) -> None:
        """End all servers of the pool at once."""
        self._slurm.cancel(*{job.job for job in self._slurm.jobs(self.name)})

    def _act(self, actions: Actions) -> None:
        more = {"exclude": ",".join(actions.exclude)} if actions.exclude else {}
        for _ in range(actions.submit):
            log = self.folder / "logs" / "%j.log"
            spec = self._options.spec(
                self.name, "cosmo_resources.pools.agent", self.folder, log, comment=self._spec.server.name, **more
            )
            self._slurm.submit(spec)
        if actions.cancel:
            self._slurm.cancel(*actions.cancel)
        for job in actions.drain:
            self._slurm.signal(job, "TERM")

    def _failures(self) -> list[Failure]:
        paths = sorted((self.folder / FAILURES).glob("*.json"), key=lambda path: path.stat().st_mtime)
        return [Failure.model_validate_json(path.read_text(encoding="utf-8")) for path in paths]

    def _give_up_when_broken(self, view: View) -> None:
        ready = any(lease.state == "ready" for lease in view.leases)
        if ready or len(view.failures) < POOL_FAILURES:
            return
        for path in (self.folder / FAILURES).glob("*.json"):
            path.unlink(missing_ok=True)
        self.cancel()
        last = view.failures[-1]
        raise CosmoError(
            f"{len(view.failures)} servers of pool {self.name} failed and none is alive; the last one, on {last.node}: "
            f"{last.error}",
            remedy=last.remedy,
        )
