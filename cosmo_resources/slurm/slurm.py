"""Slurm as Cosmo uses it: jobs submitted, seen, ended, and the truth about how they ended.

Belongs here: what is asked of Slurm, and patience while it restarts. Does not belong here: how commands reach it
(`commands`), how their output reads (`records`), or what jobs do.
"""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cosmo_resources.errors import CosmoError
from cosmo_resources.slurm.commands import Commands, SlurmError
from cosmo_resources.slurm.records import (
    SACCT_FORMAT,
    SEPARATOR,
    SQUEUE_FORMAT,
    UNKNOWN,
    EndRecord,
    JobRecord,
    from_controller,
    read_sacct,
    read_squeue,
    tagged,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GONE = re.compile(r"invalid job id|already completing or completed", re.IGNORECASE)
# A controller that was too busy to answer still works through the requests that it accepted.
_SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class JobSpec:
    """What to submit. `options` are sbatch's long options without dashes; None is a flag. `array` is sbatch's `--array`
    (`0-9%4`). `environment` is exported at the head of the script, whatever is in the values; no secrets: Slurm keeps
    the script, and shows it.

    Raises:
        CosmoError: the name or a variable's name is none, or the comment has lines or too many characters.
    """

    name: str
    script: str
    options: Mapping[str, str | None] = field(default_factory=dict)
    array: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise CosmoError(
                f"{self.name!r} is not a job's name",
                remedy="use up to 100 letters, digits, dots, dashes, underscores and pluses",
            )
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise CosmoError(f"{name!r} is not a variable's name", remedy="use letters, digits and underscores")
        comment = self.options.get("comment") or ""
        if len(comment) > 200 or not comment.isprintable():
            raise CosmoError(
                f"job {self.name}: its comment has {len(comment)} characters or more than one line",
                remedy="keep it to one line of at most 200 characters",
            )
        if not self.script.startswith("#!"):
            raise CosmoError(f"job {self.name}: its script names no interpreter", remedy="begin it with #!/bin/bash")

    @property
    def full_script(self) -> str:
        """The script with its environment: after the head of comments, where sbatch looks for #SBATCH lines."""
        lines = self.script.splitlines(keepends=True)
        head = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
        exports = [f"export {name}={_quoted(value)}\n" for name, value in self.environment.items()]
        if lines and not lines[head - 1].endswith("\n"):
            lines[head - 1] += "\n"
        return "".join(lines[:head] + exports + lines[head:])


@dataclass(frozen=True)
class Outcome:
    """Where a job stands: the tasks that still live, and how the others ended, each by its last life."""

    live: tuple[JobRecord, ...]
    ended: tuple[EndRecord, ...]

    @property
    def over(self) -> bool:
        return not self.live

    @property
    def succeeded(self) -> bool:
        """Whether every task ended well, as somebody who knows said."""
        return self.over and bool(self.ended) and all(record.succeeded for record in self.ended)


class Slurm:
    """The jobs of one user on one cluster.

    While slurmctld restarts, commands fail: each method asks again for up to `patience` seconds, then raises what it
    heard last. A submission is marked, so that one whose answer was lost is found again instead of repeated."""

    def __init__(self, commands: Commands, *, patience: float = 120.0, timeout: float = 60.0) -> None:
        self.commands = commands
        self._patience = patience
        self._timeout = timeout

    def submit(self, spec: JobSpec) -> str:
        """Submit a job once, even where Slurm's answer is lost, and return its id.

        Raises:
            SlurmError: Slurm refused it, or did not answer in time; then it may still have been submitted, which
                `submit_once` sees.
        """
        submission = secrets.token_hex(6)
        arguments = _sbatch(spec, submission)
        deadline = time.monotonic() + self._patience
        lost_answer = False
        while True:
            try:
                job = _job_id(self.commands.run(arguments, input=spec.full_script, timeout=self._timeout))
                return self._only(spec.name, submission, job) if lost_answer else job
            except SlurmError as error:
                if not error.temporary or time.monotonic() > deadline:
                    raise
            lost_answer = True
            if found := self._settled(spec.name, submission):
                return found

    def check(self, spec: JobSpec) -> None:
        """Ask whether Slurm would take a job now; nothing is submitted.

        Raises:
            SlurmError: it would not, and why.
        """
        program, *options = _sbatch(spec, "")
        self.commands.run([program, "--test-only", *options], input=spec.full_script, timeout=self._timeout)

    def submit_once(self, spec: JobSpec) -> str:
        """The id of the live job of this name, which is submitted where there is none.

        Callers that race agree on the oldest and cancel their own. Until they have, Slurm keeps two jobs of one name
        from running at once (`--dependency=singleton`, which does not hold the tasks of one array apart).

        Raises:
            SlurmError: as `submit`.
        """
        if found := self._oldest(spec.name):
            return found
        waits_for = ",".join(filter(None, (spec.options.get("dependency"), "singleton")))
        submitted = self.submit(replace(spec, options={**spec.options, "dependency": waits_for}))
        return self._keep(submitted, self._oldest(spec.name))

    def jobs(self, name_prefix: str) -> list[JobRecord]:
        """This user's live jobs, each task of an array by itself, whose names begin so."""
        return [job for job in self._squeue("--me") if job.live and job.name.startswith(name_prefix)]

    def ended(self, job: str, *, name: str = "") -> list[EndRecord] | None:
        """How the lives of a job (`17`, or the task `17_3`) ended, oldest first, by the accounting, which lags behind
        by a second or so. None where accounting is off or does not answer.

        Slurm gives ids out again after the loss of its state: with `name`, only rows of that name are taken."""
        arguments = ["sacct", "--parsable2", "--noheader", "--allocations", "--duplicates", "--starttime=1970-01-01"]
        try:
            output = self.commands.run(
                [*arguments, f"--delimiter={SEPARATOR}", f"--format={SACCT_FORMAT}", f"--jobs={job}"],
                timeout=self._timeout,
            )
        except SlurmError:
            return None
        return [record for record in read_sacct(output) if not name or record.name == name]

    def outcome(self, job: str, *, name: str = "") -> Outcome:
        """Where a job stands, by the controller first and the accounting second.

        That squeue no longer lists a job says nothing of how it ended: the controller forgets it some minutes after
        its end, and at once when it loses its state. A task whose end nobody knows ended as UNKNOWN."""
        known = [record for record in self._squeue(f"--jobs={job}") if not name or record.name == name]
        live = {record.id: record for record in known if record.live}
        ended = {record.id: from_controller(record) for record in known if not record.live}
        seen = dict(ended)
        for record in self.ended(job, name=name) or ():
            # Of the lives in the accounting, those before the one that the controller tells of do not count.
            if record.id not in live and (record.id not in seen or record.state == seen[record.id].state):
                ended[record.id] = record
        final = [replace(end, state=UNKNOWN) if end.state == "REQUEUED" else end for end in ended.values()]
        if not live and not final:
            final = [EndRecord(job, None, name, UNKNOWN)]
        return Outcome(tuple(live.values()), tuple(sorted(final, key=lambda record: record.task or 0)))

    def cancel(self, *ids: str) -> None:
        """End jobs. Those that are gone are passed over."""
        if ids:
            self._tolerant(["scancel", *ids])

    def signal(self, job: str, name: str = "USR1") -> None:
        """Send a signal to a job's batch shell, not to its steps. A job that is gone is passed over."""
        self._tolerant(["scancel", "--batch", f"--signal={name}", job])

    def requeue(self, job: str) -> None:
        """Put a running job back into the queue, under its id. One that ended stays ended: without `incomplete`, Slurm
        would run it once more."""
        self._tolerant(["scontrol", "requeue", "incomplete", job])

    def throttle(self, job: str, running: int) -> None:
        """How many tasks of an array may run at once, from now on; 0 for any number. None is ended by it."""
        self._ask(["scontrol", "update", f"jobid={job}", f"ArrayTaskThrottle={running}"])

    def _ask(self, arguments: Sequence[str]) -> str:
        """Run a command that may be repeated, until Slurm answers."""
        deadline = time.monotonic() + self._patience
        pause = 0.5
        while True:
            try:
                return self.commands.run(arguments, timeout=self._timeout)
            except SlurmError as error:
                if not error.temporary or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _tolerant(self, arguments: Sequence[str]) -> None:
        try:
            self._ask(arguments)
        except SlurmError as error:
            if not _GONE.search(error.message):
                raise

    def _squeue(self, *which: str) -> list[JobRecord]:
        """Jobs in every state: the controller remembers those that ended for some minutes (MinJobAge)."""
        try:
            return read_squeue(
                self._ask(["squeue", "--noheader", "--array", "--states=all", f"--Format={SQUEUE_FORMAT}", *which])
            )
        except SlurmError as error:
            if _GONE.search(error.message):
                return []
            raise

    def _oldest(self, name: str) -> str | None:
        """Tasks of an array share the array's id."""
        return min((job.job for job in self.jobs(name) if job.name == name), key=int, default=None)

    def _submitted(self, name: str, submission: str) -> str | None:
        """The oldest job, live or just ended, that a submission made."""
        mine = {record.job for record in self._squeue("--me", f"--name={name}") if record.submission == submission}
        return min(mine, key=int, default=None)

    def _settled(self, name: str, submission: str) -> str | None:
        """What a submission without an answer made, once the controller answers again and has caught up."""
        if (found := self._submitted(name, submission)) is None:
            time.sleep(_SETTLE_SECONDS)
            found = self._submitted(name, submission)
        return found

    def _only(self, name: str, submission: str, job: str) -> str:
        return self._keep(job, self._submitted(name, submission))

    def _keep(self, job: str, oldest: str | None) -> str:
        """Of two jobs for one purpose, the older; the other is cancelled."""
        if oldest is None or oldest == job:
            return job
        self.cancel(job)
        return oldest


def _sbatch(spec: JobSpec, submission: str) -> list[str]:
    options = {key: value for key, value in spec.options.items() if key != "comment"}
    comment = tagged(spec.options.get("comment") or "", submission)
    arguments = ["sbatch", "--parsable", f"--job-name={spec.name}", f"--comment={comment}"]
    arguments += [f"--array={spec.array}"] if spec.array is not None else []
    return arguments + [f"--{key}" if value is None else f"--{key}={value}" for key, value in options.items()]


def _job_id(output: str) -> str:
    """sbatch says `17`, or `17;cluster`; a site's own greeting may stand above it."""
    last = output.strip().rpartition("\n")[2].partition(";")[0]
    if not last.isdigit():
        raise SlurmError(f"sbatch said {output.strip()!r} instead of a job's id", remedy="look at `squeue --me`")
    return last


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
