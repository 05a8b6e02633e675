"""Slurm as Dagster configures it, and a login node reached through dagster-slurm's SSH connection.

Belongs here: everything about Slurm that needs Dagster or dagster-slurm. Does not belong here: behaviour towards jobs
(`slurm`, `programs`).
"""

import re
import shlex
import subprocess
from collections.abc import Sequence

import dagster as dg
from dagster_slurm import SSHConnectionResource
from dagster_slurm.helpers.ssh_pool import SSHConnectionPool
from pydantic import Field

from cosmo_resources.slurm.commands import Commands, LocalCommands, SlurmError, failed, timed_out
from cosmo_resources.slurm.slurm import Slurm

_FAILURE = re.compile(r"SSH command failed \(exit (-?\d+)\).*?\nstdout: (.*?)\nstderr: (.*)", re.DOTALL)
_NO_CONNECTION = 255
_REFUSED = re.compile(r"permission denied|host key verification failed|could not resolve", re.IGNORECASE)


class SshCommands:
    """The commands of a login node, over the connection that dagster-slurm keeps open for all its own."""

    def __init__(self, connection: SSHConnectionResource) -> None:
        self._connection = connection

    def run(self, arguments: Sequence[str], *, input: str = "", timeout: float = 60.0) -> str:
        """See `Commands.run`. A login node that cannot be reached is temporary, one that refuses the key is not."""
        command = shlex.join(arguments)
        if input:
            command = f"printf %s {shlex.quote(input)} | {command}"
        try:
            # A new pool finds the open connection by its socket; an old one never tries again once it lost it.
            with SSHConnectionPool(self._connection) as pool:
                output: str = pool.run(command, timeout=round(timeout))
        except subprocess.TimeoutExpired:
            raise timed_out(arguments, timeout) from None
        except RuntimeError as error:
            raise self._failed(arguments, str(error)) from None
        except OSError as error:
            raise SlurmError(f"ssh cannot be run here: {error.strerror}", remedy="install OpenSSH's client") from None
        return output.replace("\r\n", "\n")

    def _failed(self, arguments: Sequence[str], message: str) -> SlurmError:
        told = _FAILURE.search(message)
        code, said = (int(told[1]), told[3].strip() or told[2].strip()) if told else (_NO_CONNECTION, message)
        if code != _NO_CONNECTION:
            return failed(arguments, code, said)
        return SlurmError(
            f"no SSH connection to {self._connection.user}@{self._connection.host}: {said}",
            remedy=f"check that `ssh -p {self._connection.port} {self._connection.user}@{self._connection.host}` "
            "works without a question",
            temporary=_REFUSED.search(said) is None,
        )


class SlurmResource(dg.ConfigurableResource[Slurm]):
    """A cluster: this machine's own commands, or those of a login node."""

    ssh: SSHConnectionResource | None = Field(default=None, description="The login node; none uses local commands")
    patience: float = Field(default=120.0, description="Seconds to go on asking while Slurm restarts")

    def create(self) -> Slurm:
        commands: Commands = LocalCommands() if self.ssh is None else SshCommands(self.ssh)
        return Slurm(commands, patience=self.patience)
