"""The batch pool: one Slurm job array per job, each task with its own servers, until the ledger is full.

Belongs here: submitting, watching and cancelling the array of a job. Does not belong here: what a task does on its node
(`task`), or Slurm's commands (`cosmo_resources.slurm`).
"""

import shlex
import time
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.pools.jobs import Job, failure
from cosmo_resources.pools.task import SPEC_NAME, TaskSpec
from cosmo_resources.slurm.records import JobRecord
from cosmo_resources.slurm.slurm import JobSpec, Slurm
from cosmo_resources.storage.files import write_text
from cosmo_resources.storage.ledger import ShardLedger

POLL_SECONDS = (0.5, 15.0)
"""Between two looks at the queue: doubling from the first to the second while nothing changes."""

END_SECONDS = 60.0
"""What the tasks of a finished job have to stop their servers."""

FRUITLESS_SUBMISSIONS = 2
"""Arrays in a row that may end without one new row before the job is given up."""


EXPORTED = "PATH,HOME,USER,LANG,SLURM_CONF"
"""What a job inherits of the environment that submits it: no secret that happens to stand there."""


@dataclass(frozen=True)
class SlurmOptions:
    """How a deployment's jobs are submitted. `options` are long options of sbatch; `setup` are lines of shell that come
    first in every job (module load ...); `notice_seconds` is how long before its time limit a job is told to go."""

    python: str
    options: Mapping[str, str | None] = field(default_factory=dict)
    setup: str = ""
    notice_seconds: int = 120

    def spec(self, name: str, module: str, folder: Path, log: Path, *, comment: str, **more: str | None) -> JobSpec:
        """A job that runs `python -m module folder`, told of its end by USR1, put back when its node dies or another
        needs its place; its output is appended to `log` over all its lives."""
        command = shlex.join([self.python, "-m", module, str(folder)])
        lines = ["#!/bin/bash", *self.setup.splitlines(), f"exec {command}"]
        options = {
            "export": EXPORTED,
            **self.options,
            "requeue": None,
            "open-mode": "append",
            "signal": f"B:USR1@{self.notice_seconds}",
            "output": str(log),
            "chdir": str(folder),  # else Python would import what lies where the job was submitted
            "comment": comment,
            **more,
        }
        return JobSpec(name=name, script="\n".join(lines) + "\n", options=options)


class BatchPool:
    """Up to `tasks` tasks at once for each job. The array's name carries the plan's digest: who runs the same job
    again, after whatever death, finds the array that is there."""

    def __init__(self, slurm: Slurm, options: SlurmOptions, task: TaskSpec, *, tasks: int) -> None:
        self._slurm, self._options, self._task, self._tasks = slurm, options, task, tasks
        self._not_launched = ""

    def run(self, job: Job) -> Generator[int, None, None]:
        """See `Pool.run`. A task that is lost is made good by those that are left; when none is, a new array takes what
        there still is to do, as long as each brings some rows.

        Raises:
            CosmoError: arrays end without bringing a row.
        """
        task = self._task.model_copy(update={"module": job.module, "shards": job.shards})
        write_text(job.folder / SPEC_NAME, task.model_dump_json())
        ledger = ShardLedger(job.folder)
        self._not_launched = ""
        finished, arrays, pause = False, list[str](), POLL_SECONDS[0]
        rows = before = ledger.finished_rows()
        try:
            while not finished:
                live = self._startable(job)
                finished = not ledger.unsealed(job.shards)
                now = ledger.finished_rows()
                pause = POLL_SECONDS[0] if now != rows else min(2 * pause, POLL_SECONDS[1])
                rows = now
                if not live and not finished:
                    if rows > before:
                        arrays, before = [], rows
                    if len(arrays) >= FRUITLESS_SUBMISSIONS:
                        raise self._blame(job, rows, arrays[-1])
                    arrays.append(self._submit(job, ledger))
                    pause = POLL_SECONDS[0]
                yield rows
                if not finished:
                    time.sleep(pause)
        finally:
            self._end(job, END_SECONDS if finished else 0.0)

    def _startable(self, job: Job) -> list[JobRecord]:
        """The job's tasks in the queue. Those whose launch failed would wait there for ever: they are lost."""
        live = self._slurm.jobs(job.name)
        lost = [record for record in live if record.unstartable]
        if lost:
            self._slurm.cancel(*(record.id for record in lost))
            self._not_launched = f". Slurm could not launch them: {lost[0].reason}"
        return [record for record in live if not record.unstartable]

    def _submit(self, job: Job, ledger: ShardLedger) -> str:
        """An array no larger than what is left, and its id."""
        logs = job.folder / "tasks"
        logs.mkdir(exist_ok=True)
        count = min(self._tasks, len(ledger.unsealed(job.shards)))
        spec = self._options.spec(
            job.name,
            "cosmo_resources.pools.task",
            job.folder,
            logs / "%A_%a.log",
            comment=job.label,
            array=f"0-{count - 1}",
        )
        return self._slurm.submit_once(spec)

    def _end(self, job: Job, patience: float) -> None:
        """Cancel tasks that wait in the queue, so that none begins when there is nothing left to do; let the others go
        by themselves for so many seconds, then cancel them, too."""
        deadline = time.monotonic() + patience
        while live := self._slurm.jobs(job.name):
            if time.monotonic() >= deadline:
                self._slurm.cancel(*{record.job for record in live})
                return
            self._slurm.cancel(*(record.id for record in live if record.state == "PENDING"))
            time.sleep(POLL_SECONDS[0])

    def _blame(self, job: Job, rows: int, array: str) -> CosmoError:
        """The error of a job whose arrays come to nothing: how far it is, how the last array's tasks ended, and the log
        of the last one that wrote any."""
        states = Counter(end.state for end in self._slurm.outcome(array, name=job.name).ended)
        ended = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        what = (
            f"{job.label}: {rows} of {job.rows} rows are done, and {FRUITLESS_SUBMISSIONS} Slurm arrays in a row ended "
            f"without a new one (tasks of the last, {array}: {ended}){self._not_launched}"
        )
        logs = sorted((job.folder / "tasks").glob(f"{array}_*.log"), key=lambda path: path.stat().st_mtime)
        if logs:
            return failure(f"{what}; its last task", logs[-1])
        return CosmoError(
            f"{what}; they wrote no log", remedy=f"look at `sacct --jobs {array}`; finished rows are kept, run again"
        )
