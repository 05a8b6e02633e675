"""Programs of Cosmo as Slurm jobs: submitted once, waited for, and told how they ended.

Belongs here: one program, one job. Does not belong here: pools of workers, or what a program does; it must bear to be
run again, and finds its whole task in its arguments.
"""

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cosmo_resources.errors import CosmoError
from cosmo_resources.slurm.commands import SlurmError
from cosmo_resources.slurm.records import EndRecord, JobRecord
from cosmo_resources.slurm.slurm import JobSpec, Slurm

_TAIL_LINES = 20


@dataclass(frozen=True)
class Program:
    """`python -m <module> <arguments>`. `options` are sbatch's; they do not tell one program from another."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def job_name(self) -> str:
        """The name and a digest of what runs: whoever wants the same finds the job that does it."""
        task = json.dumps([self.module, self.arguments, dict(self.environment)], sort_keys=True)
        return f"{self.name}-{hashlib.blake2b(task.encode(), digest_size=6).hexdigest()}"


def run_program(
    slurm: Slurm,
    program: Program,
    *,
    python: str,
    folder: str,
    watch: Callable[[JobRecord], None] = lambda job: None,
    poll: float = 2.0,
) -> EndRecord:
    """Run a program as a job and wait for its end. Where a job already does this very work, wait for that one.

    `python` and `folder` (where the log goes) are paths on the cluster. `watch` is called with the job every `poll`
    seconds. When the wait is interrupted, the job is cancelled; when Slurm does not answer, it is left alone, and the
    next call finds it.

    Raises:
        SlurmError: Slurm refused the job, or did not answer in time.
        CosmoError: the program failed; the end of its log is quoted.
    """
    spec = _spec(program, python, folder)
    job = slurm.submit_once(spec)
    try:
        while (outcome := slurm.outcome(job, name=spec.name)).live:
            watch(_startable(outcome.live[0]))
            time.sleep(poll)
    except CosmoError:
        raise
    except BaseException:
        slurm.cancel(job)
        raise
    (end,) = outcome.ended
    if not end.succeeded:
        raise _failure(slurm, program, end, _log(program, folder))
    return end


def _spec(program: Program, python: str, folder: str) -> JobSpec:
    command = shlex.join([python, "-u", "-m", program.module, *program.arguments])
    return JobSpec(
        program.job_name,
        f"#!/bin/bash\nexec {command}\n",
        options={"output": _log(program, folder), "open-mode": "append", **program.options},
        environment=program.environment,
    )


def _log(program: Program, folder: str) -> str:
    return str(PurePosixPath(folder) / f"{program.job_name}.log")


def _startable(job: JobRecord) -> JobRecord:
    if job.unstartable:
        raise CosmoError(
            f"job {job.id} could not be started on its node, and Slurm holds it: {job.reason}",
            remedy=f"`scontrol release {job.id}` tries again, `scancel {job.id}` gives up",
        )
    return job


def _failure(slurm: Slurm, program: Program, end: EndRecord, log: str) -> CosmoError:
    """The log is read where the job was submitted, which may be another machine."""
    try:
        tail = slurm.commands.run(["tail", f"--lines={_TAIL_LINES}", log])
    except SlurmError as error:
        tail = f"(its log cannot be read: {error.message})"
    told, _, remedy = tail.strip().partition("  remedy: ")
    return CosmoError(
        f"{program.module}: {end}\n{told.strip()}",
        remedy=remedy.strip() or f"read {log}; to run the same again starts a new job",
    )
