"""How Slurm's commands are run: here, or wherever something else that keeps to `Commands` runs them.

Belongs here: running one command, and reading from what it said whether asking again may help. Does not belong here:
which commands (`slurm`), or connections to a login node (`resources`).
"""

import re
import shlex
import subprocess
from collections.abc import Sequence
from typing import Protocol

from cosmo_resources.errors import CosmoError

# What the commands say while slurmctld or slurmdbd is down, starting, or too busy to answer in time.
_TEMPORARY = re.compile(
    r"unable to contact slurm controller|socket timed out|connection (refused|reset|timed out)|connect failure"
    r"|zero bytes were transmitted|unexpected message received|transport endpoint is not connected"
    r"|(communication|message) (connection|send|receive) (failure|error)|in standby mode|temporarily unable to accept"
    r"|resource temporarily unavailable|unexpected missing socket|no route to host|network is unreachable",
    re.IGNORECASE,
)

_REMEDIES = (
    (r"invalid partition|partition .* not", "`sinfo --summarize` lists the partitions of this cluster"),
    (
        r"node configuration is not available|more processors|node count specification",
        "ask for less per node: `sinfo --Node --format='%N %c %m %G'` shows what nodes have",
    ),
    (
        r"policy|limit|qos|account",
        "`sacctmgr show associations user=$USER` and `sacctmgr show qos` show your accounts and limits",
    ),
    (r"invalid job id", "`squeue --me` lists your jobs"),
    (r"permission denied|host key|could not resolve", "check that `ssh` to the login node works without a question"),
)


class SlurmError(CosmoError):
    """A command of Slurm failed. `temporary`: it may succeed when asked again, and may even have taken effect."""

    def __init__(self, message: str, *, remedy: str, temporary: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.temporary = temporary


class Commands(Protocol):
    """A place where Slurm's commands are installed."""

    def run(self, arguments: Sequence[str], *, input: str = "", timeout: float = 60.0) -> str:
        """Run one command and return its stdout; `timeout` is in seconds.

        Raises:
            SlurmError: it failed, its stderr is quoted; or it did not end in time, which is temporary.
        """
        ...


class LocalCommands:
    """The commands of this machine."""

    def run(self, arguments: Sequence[str], *, input: str = "", timeout: float = 60.0) -> str:
        """See `Commands.run`."""
        try:
            done = subprocess.run(
                list(arguments), input=input, capture_output=True, text=True, errors="replace", timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise timed_out(arguments, timeout) from None
        except OSError as error:
            raise SlurmError(
                f"`{arguments[0]}` cannot be run here: {error.strerror}",
                remedy="install Slurm's client commands, or set up SSH to a login node that has them",
            ) from None
        if done.returncode != 0:
            raise failed(arguments, done.returncode, done.stderr.strip() or done.stdout.strip())
        return done.stdout


def failed(arguments: Sequence[str], code: int, said: str) -> SlurmError:
    """What to raise for a command that ended with another exit code than 0."""
    temporary = _TEMPORARY.search(said) is not None
    remedy = "wait until `scontrol ping` says UP, then run the same again" if temporary else "mend what it says"
    for pattern, advice in () if temporary else _REMEDIES:
        if re.search(pattern, said, re.IGNORECASE):
            remedy = advice
            break
    return SlurmError(
        f"`{shlex.join(arguments)}` ended with exit code {code}: {said or 'it said nothing'}",
        remedy=remedy,
        temporary=temporary,
    )


def timed_out(arguments: Sequence[str], timeout: float) -> SlurmError:
    """What to raise for a command that did not end in time."""
    return SlurmError(
        f"`{shlex.join(arguments)}` did not end within {timeout:g} s",
        remedy="`scontrol ping` and `sdiag` show whether the controller answers; then run the same again",
        temporary=True,
    )
