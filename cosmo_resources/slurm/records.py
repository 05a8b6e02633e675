"""What Slurm tells of jobs, as values: the output of squeue and sacct, read.

Belongs here: the columns asked for, their parsing, and what a state means. Does not belong here: when to ask
(`slurm`).
"""

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

SEPARATOR = "\x1f"

ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "REVOKED", "TIMEOUT"),
    }
)
"""States of squeue that are final. Everything else, unknown words included, counts as alive: COMPLETING too, as a job
that dies in order to be requeued passes through it."""

UNKNOWN = "UNKNOWN"
"""How a job ended of which neither the controller nor the accounting knows the end."""

# squeue pads and cuts each column to its width; only this form knows the restarts.
_SQUEUE = {
    "JobID": 16,
    "ArrayJobID": 16,
    "ArrayTaskID": 16,
    "Name": 128,
    "State": 20,
    "RestartCnt": 8,
    "NodeList": 128,
    "Reason": 64,
    "Comment": 256,
    "exit_code": 12,
    "TimeUsed": 16,
    "tres-alloc": 128,
}
SQUEUE_FORMAT = ",".join(f"{column}:{width}{SEPARATOR}" for column, width in _SQUEUE.items())

_SACCT = ("JobID", "JobName", "State", "ExitCode", "ElapsedRaw", "NodeList", "AllocTRES", "Reason", "Start", "End")
SACCT_FORMAT = ",".join(_SACCT)

# sacct's word for the name of a job of which it has the end, but not yet the start: nor the task of an array.
_NAMELESS = "allocation"

_TAG = re.compile(r" ?submission=([0-9a-f]+)$")


@dataclass(frozen=True)
class JobRecord:
    """A job, or one task of a job array, as the controller has it. `elapsed` is in seconds of this life; `raw` is what
    the job itself finds in SLURM_JOB_ID; `submission` marks which call submitted it."""

    job: str
    task: int | None
    name: str
    state: str
    node: str = ""
    reason: str = ""
    comment: str = ""
    restarts: int = 0
    raw: str = ""
    elapsed: float = 0.0
    exit_code: int = 0
    signal: int = 0
    gpus: int = 0
    submission: str = ""

    @property
    def id(self) -> str:
        """How Slurm's commands name it: `17`, or `17_3` for a task of an array."""
        return self.job if self.task is None else f"{self.job}_{self.task}"

    @property
    def live(self) -> bool:
        return self.state not in ENDED

    @property
    def held(self) -> bool:
        """Whether it waits for a person. Slurm holds a job itself when its launch fails on a node."""
        return self.state == "PENDING" and bool(re.search("held", self.reason, re.IGNORECASE))

    @property
    def unstartable(self) -> bool:
        """Whether its launch failed on a node, so that Slurm holds it: by itself it never starts again."""
        return self.held and "launch failed" in self.reason


@dataclass(frozen=True)
class EndRecord:
    """How one life of a job ended; a requeued job has several. `elapsed` is in seconds, `reason` in Slurm's words."""

    job: str
    task: int | None
    name: str
    state: str
    exit_code: int = 0
    signal: int = 0
    elapsed: float = 0.0
    nodes: str = ""
    gpus: int = 0
    reason: str = ""

    @property
    def id(self) -> str:
        """See `JobRecord.id`."""
        return self.job if self.task is None else f"{self.job}_{self.task}"

    @property
    def succeeded(self) -> bool:
        return self.state == "COMPLETED" and self.exit_code == 0 and self.signal == 0

    def __str__(self) -> str:
        told = [f"exit code {self.exit_code}"] if self.exit_code else []
        told += [f"signal {_signal_name(self.signal)}"] if self.signal else []
        told += [f"after {self.elapsed:.0f} s"]
        told += [f"on {self.nodes}"] if self.nodes else []
        told += [f"because of {self.reason}"] if self.reason else []
        return f"job {self.id} ended as {self.state}: {', '.join(told)}"


def tagged(comment: str, submission: str) -> str:
    """A comment that carries the mark of the call that submits the job."""
    return f"{comment} submission={submission}".strip()


def read_squeue(output: str) -> list[JobRecord]:
    """The records in the output of `squeue --noheader --array --Format=SQUEUE_FORMAT`."""
    records = []
    for line in output.splitlines():
        parts = line.split(SEPARATOR)
        if len(parts) <= len(_SQUEUE):
            continue  # a login node's greeting, or a warning
        values = dict(zip(_SQUEUE, (part.strip() for part in parts), strict=False))
        task = values["ArrayTaskID"]
        comment = "" if values["Comment"] == "(null)" else values["Comment"]
        tag = _TAG.search(comment)
        status = int(values["exit_code"] or 0)
        records.append(
            JobRecord(
                job=values["ArrayJobID"] if task.isdigit() else values["JobID"],
                task=int(task) if task.isdigit() else None,
                name=values["Name"],
                state=values["State"].split(" ")[0],
                node=values["NodeList"],
                reason="" if values["Reason"] == "None" else values["Reason"],
                comment=_TAG.sub("", comment),
                restarts=int(values["RestartCnt"] or 0),
                raw=values["JobID"],
                elapsed=seconds(values["TimeUsed"]),
                exit_code=status >> 8,
                signal=status & 0x7F,
                gpus=gpus(values["tres-alloc"]),
                submission=tag[1] if tag else "",
            )
        )
    return records


def read_sacct(output: str) -> list[EndRecord]:
    """The lives that ended, oldest first, in the output of
    `sacct --parsable2 --noheader --allocations --duplicates --delimiter=SEPARATOR --format=SACCT_FORMAT`.

    Tasks of an array that ended before they started share one row; each gets a record here, unless it has a row of its
    own: Slurm writes such a shared row for tasks that did start, too."""
    rows = [line.split(SEPARATOR) for line in output.splitlines()]
    own: list[EndRecord] = []
    shared: list[EndRecord] = []
    for row in rows:
        if len(row) != len(_SACCT):
            continue
        values = dict(zip(_SACCT, row, strict=True))
        state, _, by = values["State"].partition(" ")
        unfinished = state in ("PENDING", "RUNNING", "SUSPENDED") or values["End"] == "Unknown"
        if unfinished or values["JobName"] == _NAMELESS:
            continue
        code, _, number = values["ExitCode"].partition(":")
        job, _, tasks = values["JobID"].partition("_")
        record = EndRecord(
            job=job,
            task=int(tasks) if tasks.isdigit() else None,
            name=values["JobName"],
            state=state,
            exit_code=int(code or 0),
            signal=int(number or 0),
            elapsed=float(values["ElapsedRaw"] or 0),
            nodes="" if values["NodeList"] == "None assigned" else values["NodeList"],
            gpus=gpus(values["AllocTRES"]),
            reason=by or ("" if values["Reason"] == "None" else values["Reason"]),
        )
        if tasks.startswith("["):
            shared += [replace(record, task=task) for task in task_numbers(tasks)]
        else:
            own.append(record)
    known = {record.id for record in own}
    return own + [record for record in shared if record.id not in known]


def from_controller(job: JobRecord) -> EndRecord:
    """The end of a job as the controller alone tells it, while accounting lags behind or is off."""
    return EndRecord(
        job=job.job,
        task=job.task,
        name=job.name,
        state=job.state,
        exit_code=job.exit_code,
        signal=job.signal,
        elapsed=job.elapsed,
        nodes=job.node,
        gpus=job.gpus,
        reason=job.reason,
    )


def task_numbers(tasks: str) -> Iterator[int]:
    """The numbers in `[0-3,7,10-20:5%2]`, where `:5` is a step and `%2` a limit on how many run at once."""
    for part in tasks.strip("[]").split("%")[0].split(","):
        span = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", part)
        if span is None:
            continue  # a list too long for its column ends in "..."
        yield from range(int(span[1]), int(span[2] or span[1]) + 1, int(span[3] or 1))


def seconds(duration: str) -> float:
    """Seconds of `2-03:04:05`, `03:04:05` or `4:05`; 0 for anything else."""
    span = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", duration)
    if span is None:
        return 0.0
    days, hours, minutes, rest = (float(part or 0) for part in span.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def gpus(tres: str) -> int:
    """How many GPUs are in `cpu=4,mem=8G,node=1,billing=4,gres/gpu=2,gres/gpu:h100=2`."""
    count = re.search(r"(?:^|,)gres/gpu=(\d+)", tres)
    typed = re.findall(r"(?:^|,)gres/gpu:[^=]+=(\d+)", tres)
    return int(count[1]) if count else sum(map(int, typed))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
