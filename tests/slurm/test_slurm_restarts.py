"""Submissions and questions while Slurm itself fails: each job once, and a clear error in the end."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from cosmo_resources.slurm.commands import LocalCommands, SlurmError
from cosmo_resources.slurm.slurm import JobSpec, Slurm
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import until


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., JobSpec]:
    def specify(name: str, script: str = "#!/bin/bash\nexec sleep 300\n", **options: str | None) -> JobSpec:
        return JobSpec(name, script, options={"output": str(tmp_path / "log"), "chdir": str(tmp_path), **options})

    return specify


def submit_once(spec: JobSpec) -> str:
    return Slurm(LocalCommands()).submit_once(spec)


def test_processes_that_race_agree_on_one_job(cluster: Cluster, job: Callable[..., JobSpec]) -> None:
    slurm = Slurm(LocalCommands())
    with get_context("spawn").Pool(4) as processes:
        for turn in range(3):
            spec = job(f"cosmo-race-{turn}")
            agreed = set(processes.map(submit_once, [spec] * 4, chunksize=1))
            assert len(agreed) == 1
            until(lambda spec=spec: len(slurm.jobs(spec.name)) == 1, 10, "one job")  # type: ignore[misc]
            assert {record.id for record in slurm.jobs(spec.name)} == agreed
            slurm.cancel(*agreed)


class Spy:
    """The commands of this machine, written down."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def run(self, arguments: Sequence[str], *, input: str = "", timeout: float = 60.0) -> str:
        self.seen.append(arguments[0])
        return LocalCommands().run(arguments, input=input, timeout=timeout)


@pytest.fixture
def thawed(cluster: Cluster) -> Iterator[Cluster]:
    yield cluster
    cluster.thaw_controller()


def test_a_submission_whose_answer_was_lost_is_found_and_not_repeated(
    thawed: Cluster, job: Callable[..., JobSpec]
) -> None:
    """The controller takes the request, but is too busy to answer before the command is given up."""
    spy = Spy()
    slurm = Slurm(spy, patience=60, timeout=3)
    thawed.freeze_controller()
    with ThreadPoolExecutor(1) as thread:
        submission = thread.submit(slurm.submit, job("cosmo-lost", comment="kept"))
        until(lambda: "squeue" in spy.seen, 20, "the look for what was submitted")
        thawed.thaw_controller()
        number = submission.result(60)
    (record,) = slurm.jobs("cosmo-lost")
    assert (record.id, record.comment) == (number, "kept")
    assert spy.seen.count("sbatch") == 1


def test_a_controller_that_restarts_is_waited_for(slurm: Slurm, cluster: Cluster, job: Callable[..., JobSpec]) -> None:
    before = slurm.submit(job("cosmo-before"))
    until(lambda: slurm.jobs("cosmo-before")[0].state == "RUNNING", 20, "a running job")
    cluster.stop_controller()
    with ThreadPoolExecutor(2) as threads:
        submission = threads.submit(slurm.submit, job("cosmo-meanwhile"))
        seen = threads.submit(slurm.jobs, "cosmo-before")
        with pytest.raises(SlurmError, match=r"(?s)Unable to contact.*scontrol ping") as given_up:
            Slurm(slurm.commands, patience=1).cancel(before)
        assert given_up.value.temporary
        cluster.start_controller()
        (found,) = seen.result(60)
        number = submission.result(60)
    assert (found.id, found.state) == (before, "RUNNING")
    assert {record.id for record in slurm.jobs("cosmo-")} == {before, number}


def test_without_accounting_the_controller_still_tells_how_a_job_ended(
    cluster: Cluster, job: Callable[..., JobSpec]
) -> None:
    slurm = Slurm(LocalCommands())
    cluster.kill_accounting()
    try:
        number = slurm.submit(job("cosmo-unaccounted", "#!/bin/bash\nexit 4\n"))
        until(lambda: slurm.outcome(number).over, 30, "the end of the job")
        (end,) = slurm.outcome(number).ended
        assert slurm.ended(number) is None
        assert (end.state, end.exit_code) == ("FAILED", 4)
        assert not slurm.outcome(number).succeeded
    finally:
        cluster.start_accounting()
