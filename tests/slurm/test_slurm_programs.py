"""Programs as jobs: here by sbatch, and at a login node through dagster-slurm."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster_slurm import ComputeResource, SSHConnectionResource

from cosmo_resources.errors import CosmoError
from cosmo_resources.slurm.commands import Commands, LocalCommands
from cosmo_resources.slurm.programs import Program, run_program
from cosmo_resources.slurm.records import JobRecord
from cosmo_resources.slurm.resources import ProgramResource, SlurmResource
from cosmo_resources.slurm.slurm import JobSpec, Slurm
from tests.corpora import ROOT
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import until

WRITES = "import os, sys; print('says hello'); open(sys.argv[1], 'a').write(os.environ['COSMO_WORD'] + ' on Slurm')"
FAILS = "import sys; print('reading'); sys.exit('the input is empty\\n  remedy: write a line into it')"
SLEEPS = "import time; print('asleep', flush=True); time.sleep(300)"


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder of modules that jobs can run."""
    for name, text in {"writes": WRITES, "fails": FAILS, "sleeps": SLEEPS}.items():
        (tmp_path / f"{name}.py").write_text(text + "\n", encoding="utf-8")
    return tmp_path


def program(modules: Path, module: str, *arguments: str) -> Program:
    environment = {"PYTHONPATH": str(modules), "COSMO_WORD": "it's done"}
    return Program("cosmo-test", module, arguments, environment, {"chdir": str(modules)})


def run(commands: Commands, work: Program, folder: Path, seen: list[JobRecord] | None = None) -> None:
    watch = (lambda job: None) if seen is None else seen.append
    run_program(Slurm(commands), work, python=sys.executable, folder=str(folder), watch=watch, poll=0.2)


def test_a_program_runs_as_a_job_and_is_waited_for(commands: Commands, modules: Path) -> None:
    work = program(modules, "writes", str(modules / "written"))
    run(commands, work, modules)
    assert (modules / "written").read_text(encoding="utf-8") == "it's done on Slurm"
    assert (modules / f"{work.job_name}.log").read_text(encoding="utf-8") == "says hello\n"


def test_a_program_that_fails_quotes_its_log_and_its_own_remedy(commands: Commands, modules: Path) -> None:
    with pytest.raises(CosmoError) as failed:
        run(commands, program(modules, "fails"), modules)
    assert "ended as FAILED: exit code 1" in failed.value.message
    assert failed.value.message.endswith("reading\nthe input is empty")
    assert failed.value.remedy == "write a line into it"


def test_a_program_that_is_cancelled_from_outside_failed(commands: Commands, modules: Path) -> None:
    def cancel(job: JobRecord) -> None:
        if job.state == "RUNNING":
            Slurm(commands).cancel(job.id)

    with pytest.raises(CosmoError, match="CANCELLED"):
        run_program(
            Slurm(commands), program(modules, "sleeps"), python=sys.executable, folder=str(modules), watch=cancel
        )


def test_an_interrupted_wait_cancels_the_job(commands: Commands, modules: Path) -> None:
    def interrupt(job: JobRecord) -> None:
        if job.state == "RUNNING":
            raise KeyboardInterrupt

    slurm, work = Slurm(commands), program(modules, "sleeps")
    with pytest.raises(KeyboardInterrupt):
        run_program(slurm, work, python=sys.executable, folder=str(modules), watch=interrupt, poll=0.2)
    until(lambda: not slurm.jobs(work.job_name), 20, "the end of the job")


WAITER = """
import sys
from pathlib import Path
from tests.slurm.test_slurm_programs import program, run
from cosmo_resources.slurm.commands import LocalCommands
run(LocalCommands(), program(Path(sys.argv[1]), "sleeps"), Path(sys.argv[1]))
"""


def test_whoever_waits_again_after_a_kill_finds_the_same_job(cluster: Cluster, modules: Path) -> None:
    slurm, work = Slurm(LocalCommands()), program(modules, "sleeps")
    waiter = subprocess.Popen([sys.executable, "-c", WAITER, str(modules)], cwd=ROOT)
    try:
        until(lambda: [job.state for job in slurm.jobs(work.job_name)] == ["RUNNING"], 30, "the job")
    finally:
        waiter.send_signal(signal.SIGKILL)
        waiter.wait()
    (alive,) = slurm.jobs(work.job_name)

    def end(job: JobRecord) -> None:
        assert (job.id, job.restarts) == (alive.id, 0)
        slurm.cancel(job.id)

    with pytest.raises(CosmoError, match="CANCELLED"):
        run_program(slurm, work, python=sys.executable, folder=str(modules), watch=end, poll=0.2)


@pytest.fixture
def deployed(modules: Path) -> Path:
    """An environment as an operator leaves it on a cluster: activate.sh beside env/bin/python."""
    folder = modules / "deployed"
    (folder / "env" / "bin").mkdir(parents=True)
    (folder / "env" / "bin" / "python").symlink_to(sys.executable)
    (folder / "activate.sh").write_text(f'export PATH="{folder}/env/bin:$PATH"\n', encoding="utf-8")
    return folder


def materialize(resource: ProgramResource, work: Program) -> dg.ExecuteInProcessResult:
    @dg.asset
    def heavy(context: dg.AssetExecutionContext, programs: ProgramResource) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"node": programs.run(context, work).nodes})

    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([heavy], instance=instance, resources={"programs": resource}, raise_on_error=False)


@pytest.mark.parametrize("way", ["local", "ssh"])
def test_an_asset_runs_its_program_on_the_cluster(way: str, cluster: Cluster, modules: Path, deployed: Path) -> None:
    slurm = SlurmResource(ssh=SSHConnectionResource.from_env() if way == "ssh" else None)
    resource = ProgramResource(
        slurm=slurm, folder=str(modules), environment=str(deployed), partition="main", memory="200M", time_limit="10:00"
    )
    assert materialize(resource, program(modules, "writes", str(modules / "written"))).success
    assert (modules / "written").read_text(encoding="utf-8") == "it's done on Slurm"
    failed = materialize(resource, program(modules, "fails"))
    assert not failed.success
    (failure,) = failed.filter_events(lambda event: event.is_step_failure)
    assert "cosmo_resources.errors.CosmoError" in str(failure.step_failure_data.error)


def test_the_word_of_dagster_slurm_is_not_taken(
    cluster: Cluster, modules: Path, deployed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reports a job that in truth failed as done, as it does where there is no accounting."""
    slurm = SlurmResource(ssh=SSHConnectionResource.from_env())
    job = slurm.create().submit(JobSpec("cosmo-failed", "#!/bin/bash\nexit 3\n", {"output": "/dev/null"}))

    def run(self: ComputeResource, *, metrics_collector: Callable[..., object], **options: object) -> None:
        metrics_collector(SimpleNamespace(job_id=int(job)))

    monkeypatch.setattr(ComputeResource, "run", run)
    resource = ProgramResource(slurm=slurm, folder=str(modules), environment=str(deployed))
    with pytest.raises(CosmoError, match=r"calls it done, Slurm says that job .* FAILED: exit code 3"):
        resource.run(dg.build_asset_context(), program(modules, "writes"))
