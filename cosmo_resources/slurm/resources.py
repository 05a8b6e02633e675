"""Slurm as Dagster configures it, and a login node reached through dagster-slurm's SSH connection.

Belongs here: everything about Slurm that needs Dagster or dagster-slurm. Does not belong here: behaviour towards jobs
(`slurm`, `programs`).
"""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import dagster_slurm
from dagster_slurm import (
    BashLauncher,
    ComputeResource,
    SlurmMetricsContext,
    SlurmQueueConfig,
    SSHConnectionResource,
)
from dagster_slurm.config.environment import ExecutionMode
from dagster_slurm.helpers.ssh_pool import SSHConnectionPool
from dagster_slurm.launchers.base import ExecutionPlan
from pydantic import Field

from cosmo_resources.errors import CosmoError
from cosmo_resources.slurm.commands import Commands, LocalCommands, SlurmError, failed, timed_out
from cosmo_resources.slurm.programs import Program, run_program
from cosmo_resources.slurm.records import EndRecord
from cosmo_resources.slurm.slurm import Slurm

_FAILURE = re.compile(r"SSH command failed \(exit (-?\d+)\).*?\nstdout: (.*?)\nstderr: (.*)", re.DOTALL)
_NO_CONNECTION = 255
_FOREVER_SECONDS = 10 * 365 * 24 * 3600
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


class ProgramLauncher(BashLauncher):
    """dagster-slurm's own job script, with a module of the deployed environment in the place of an uploaded file.

    The job is never requeued: dagster-slurm takes the end of its first life for its end, and cancels the second."""

    module: str = Field(description="What `python -m` runs")
    arguments: list[str] = Field(default=[], description="Its arguments")

    def prepare_execution(self, *args: Any, **kwargs: Any) -> ExecutionPlan:
        """See `ComputeLauncher.prepare_execution`."""
        plan = super().prepare_execution(*args, **kwargs)
        shebang, *lines = plan.payload
        launch = max(number for number, line in enumerate(lines) if line.startswith("exec "))
        python = shlex.split(lines[launch])[1]
        lines[launch] = "exec " + shlex.join([python, "-u", "-m", self.module, *self.arguments])
        return replace(plan, payload=[shebang, "#SBATCH --no-requeue", *lines])


class ProgramResource(dg.ConfigurableResource[None]):
    """Where programs that are heavy on a CPU run: as jobs of a cluster.

    With local commands a job is submitted and waited for by `run_program`; with a login node dagster-slurm's
    `ComputeResource` does it, which streams the log and attaches usage to the run."""

    slurm: SlurmResource
    python: str = Field(default=sys.executable, description="With local commands: the interpreter, on every node")
    folder: str = Field(description="For logs, on a file system that the nodes share")
    environment: str = Field(
        default="", description="With a login node: folder on the cluster that holds activate.sh and env/bin/python"
    )
    partition: str = Field(default="", description="Slurm's partition; empty takes the default one")
    cpus: int = Field(default=1, description="Cores per program")
    memory: str = Field(default="4G", description="Memory per program, as sbatch writes it")
    time_limit: str = Field(default="1-00:00:00", description="Longest run of a program, as sbatch writes it")

    def run(self, context: dg.AssetExecutionContext, program: Program) -> EndRecord:
        """Run a program to its end and return how that was. The asset must return a `MaterializeResult`: Dagster wants
        one of whoever opened a Pipes session.

        Raises:
            CosmoError: it failed, or nobody can say that it ended well.
        """
        slurm = self.slurm.create()
        if self.slurm.ssh is not None:
            return self._run_at(self.slurm.ssh, slurm, context, program)
        options = {"cpus-per-task": str(self.cpus), "mem": self.memory, "time": self.time_limit}
        options |= {"partition": self.partition} if self.partition else {}
        chosen = replace(program, options={**options, **program.options})
        return run_program(slurm, chosen, python=self.python, folder=self.folder)

    def _run_at(
        self, ssh: SSHConnectionResource, slurm: Slurm, context: dg.AssetExecutionContext, program: Program
    ) -> EndRecord:
        """Through dagster-slurm, whose word that a job ended well is not taken: without accounting it takes any end
        for a good one."""
        jobs: list[str] = []

        def remember(told: SlurmMetricsContext) -> dict[str, Any]:
            jobs.append(str(told.job_id))
            return {}

        try:
            self._compute(ssh).run(
                context=context,
                # Nothing is uploaded; it insists on a file that is there.
                payload_path=f"{program.name}.py",
                skip_payload_upload=True,
                remote_payload_path=f"{self.environment}/activate.sh",
                launcher=ProgramLauncher(module=program.module, arguments=list(program.arguments)),
                extra_env=dict(program.environment),
                metrics_collector=remember,
                # It counts from the submission, the queue included, and cancels the job when it is over.
                poll_timeout=_FOREVER_SECONDS,
            )
        except RuntimeError as error:
            raise CosmoError(
                f"{program.module} failed as a job at {ssh.host}: {error}",
                remedy="the log is in this run's events; to run the same again starts a new job",
            ) from error
        while (outcome := slurm.outcome(jobs[-1])).live:
            time.sleep(1)
        (end,) = outcome.ended
        if not end.succeeded:
            raise CosmoError(
                f"{program.module}: dagster-slurm calls it done, Slurm says that {end}",
                remedy=f"look at `sacct --jobs={end.id}`; to run the same again starts a new job",
            )
        return end

    def _compute(self, ssh: SSHConnectionResource) -> ComputeResource:
        queue = SlurmQueueConfig(
            partition=self.partition,
            cpus=self.cpus,
            mem=self.memory,
            time_limit=self.time_limit,
            # Its supervisor for this signal would replace the job script, and the launcher's #SBATCH line with it.
            signal_before_timeout=None,
        )
        return ComputeResource(
            mode=ExecutionMode.SLURM,
            slurm=dagster_slurm.SlurmResource(ssh=ssh, queue=queue, remote_base=self.folder),
            default_launcher=BashLauncher(),
            pre_deployed_env_path=self.environment,
        )
