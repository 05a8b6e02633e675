"""Jobs, and what every pool does with one: run workers on its ledger until nothing is left.

Belongs here: the job, the pool interface, how a worker is called and how its end is read. Does not belong here: where
workers run (`local`, `batch`, `service`), or what a worker does (the job's own module).
"""

import shutil
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cosmo_resources.errors import CosmoError

UNFINISHED = 75
"""Exit code of a worker that was told to stop before its job was done (EX_TEMPFAIL): it lost nothing."""

QUOTED_LINES = 20

FULL_BYTES = 1 << 20
"""A disk with less left counts as full."""

AGAIN = "finished rows are kept, run the same command again"


@dataclass(frozen=True)
class Job:
    """Work on one ledger: `python -m <module> <folder> --endpoint URL ...` in any number of processes, each of which
    claims shards until none is left. Running it again goes on where it ended.

    `shards` is how many the ledger will have; `label` names the job to people: the corpus and the bucket."""

    module: str
    folder: Path
    rows: int
    shards: int = 0
    label: str = ""

    @property
    def name(self) -> str:
        """The job's name in a queue: the folder is named by the plan's digest, so equal plans have equal names."""
        return "-".join(part for part in ("cosmo", self.label, self.folder.name[:16]) if part)


class Pool(Protocol):
    """Where jobs run."""

    def run(self, job: Job) -> Generator[int, None, None]:
        """Run a job to its end, yielding the number of finished rows from time to time. Closing the iterator early ends
        what was started for the job; finished rows are kept.

        Raises:
            CosmoError: it cannot be ended; the log of the worker or server that is to blame is quoted.
        """
        ...


def worker_command(
    job_module: str,
    folder: Path,
    where: Sequence[str],
    *,
    concurrency: int,
    engine: str,
    parent: int,
    timeout: float,
    python: str = sys.executable,
    leave: bool = False,
    patient: bool = False,
) -> list[str]:
    """The command of one worker. `where` says whom to ask: `--endpoint URL ...` or `--leases FOLDER`. With `leave` it
    ends when no shard can be claimed, instead of waiting for those that others hold. `timeout` is in seconds, for one
    request. A `patient` worker waits for servers as long as it takes: the pool says when none will come."""
    command = [python, "-m", job_module, str(folder), "--concurrency", str(concurrency), *where]
    command += ["--engine", engine, "--parent", str(parent), "--timeout", f"{timeout:g}"]
    return command + ["--leave"] * leave + ["--patient"] * patient


def failure(what: str, log: Path, code: int | None = None) -> CosmoError:
    """The error of a process that ended badly: the end of its log, and the remedy that stands in it. On a full disk it
    could not write one."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    if not text.strip():
        text = "its log is empty"
        if log.parent.is_dir() and shutil.disk_usage(log.parent).free < FULL_BYTES:
            text += f", as the disk of {log.parent} is full\n  remedy: free space there; {AGAIN}"
    message, _, remedy = "\n".join(text.strip().splitlines()[-QUOTED_LINES:]).partition("  remedy: ")
    ended = what if code is None else f"{what} ended with exit code {code}"
    return CosmoError(
        f"{ended}:\n{message.strip()}",
        remedy=remedy.strip() or f"read {log}; {AGAIN}",
    )
