"""Slurm as Cosmo asks it, on a real one: by the commands of this machine, and by those of a login node over SSH."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster_slurm import SSHConnectionResource

from cosmo_resources.slurm.commands import SlurmError
from cosmo_resources.slurm.records import EndRecord, JobRecord
from cosmo_resources.slurm.resources import SshCommands
from cosmo_resources.slurm.slurm import JobSpec, Slurm
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import until

SLEEP = "#!/bin/bash\nexec sleep 300\n"


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., JobSpec]:
    """A job's specification whose log is `<name>.log` in the test's folder."""

    def specify(name: str, script: str = SLEEP, *, array: str | None = None, **options: str | None) -> JobSpec:
        named = {key.replace("_", "-"): value for key, value in options.items()}
        output = {"output": str(tmp_path / f"{name}.log"), "chdir": str(tmp_path)}
        return JobSpec(name, script, options={**output, **named}, array=array)

    return specify


def states(slurm: Slurm, name: str) -> dict[str, str]:
    return {record.id: record.state for record in slurm.jobs(name)}


def one(slurm: Slurm, name: str) -> JobRecord:
    (record,) = slurm.jobs(name)
    return record


def wait_for_state(slurm: Slurm, job: str, state: str, seconds: float = 20) -> None:
    until(
        lambda: state in (record.state for record in slurm.jobs("") if job in (record.id, record.job)), seconds, state
    )


def wait_for_end(slurm: Slurm, job: str, seconds: float = 30) -> list[EndRecord]:
    until(lambda: slurm.outcome(job).over, seconds, f"the end of job {job}")
    return list(slurm.outcome(job).ended)


def wait_for_accounting(slurm: Slurm, job: str, rows: int = 1) -> list[EndRecord]:
    until(lambda: len(slurm.ended(job) or []) >= rows, 20, f"{rows} rows of job {job} in the accounting")
    return slurm.ended(job) or []


def test_a_job_lives_and_ends_with_everything_that_was_said_about_it(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    spec = job("cosmo-life", "#!/bin/bash\nuntil [ -e go ]; do sleep 0.1; done; exit 3\n", comment="bucket=b007, plan")
    number = slurm.submit(JobSpec(spec.name, spec.script, options={**spec.options, "gres": "gpu:1", "hold": None}))
    held = one(slurm, "cosmo-life")
    assert (held.id, held.state, held.held, held.comment) == (number, "PENDING", True, "bucket=b007, plan")
    slurm.commands.run(["scontrol", "release", number])
    wait_for_state(slurm, number, "RUNNING")
    running = one(slurm, "cosmo-life")
    assert (running.job, running.task, running.raw, running.restarts) == (number, None, number, 0)
    assert running.node in ("n1", "n2", "n3", "n4")
    assert running.gpus == 1
    assert not slurm.outcome(number).over
    assert slurm.ended(number) == []
    (Path(spec.options["chdir"] or "") / "go").touch()
    (end,) = wait_for_end(slurm, number)
    assert (end.state, end.exit_code, end.signal, end.nodes, end.gpus) == ("FAILED", 3, 0, running.node, 1)
    assert not slurm.outcome(number).succeeded
    (recorded,) = wait_for_accounting(slurm, number)
    assert (recorded.state, recorded.exit_code, recorded.nodes, recorded.gpus) == ("FAILED", 3, running.node, 1)
    until(lambda: [r.name for r in slurm.ended(number) or []] == ["cosmo-life"], 5, "the name")
    assert 0 <= recorded.elapsed < 60
    assert slurm.jobs("cosmo-life") == []


def test_the_environment_reaches_the_job_whatever_is_in_it(
    slurm: Slurm, job: Callable[..., JobSpec], tmp_path: Path
) -> None:
    value = "two words, 'quoted' \"twice\" $HOME `date`\nand a second line \\"
    spec = job("cosmo-environment", '#!/bin/bash\n#SBATCH --comment=kept\n\nprintf %s "$COSMO_VALUE" > value')
    number = slurm.submit(JobSpec(spec.name, spec.script, options=spec.options, environment={"COSMO_VALUE": value}))
    (end,) = wait_for_end(slurm, number)
    assert end.succeeded
    assert (tmp_path / "value").read_text(encoding="utf-8") == value


def test_an_array_is_seen_by_task_and_throttled_while_it_runs(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    number = slurm.submit(job("cosmo-array", array="0-3%1"))
    until(lambda: "RUNNING" in states(slurm, "cosmo-array").values(), 20, "a first task")
    assert states(slurm, "cosmo-array") == {
        f"{number}_0": "RUNNING",
        **{f"{number}_{task}": "PENDING" for task in (1, 2, 3)},
    }
    slurm.throttle(number, 3)
    until(lambda: list(states(slurm, "cosmo-array").values()).count("RUNNING") == 3, 20, "three running tasks")
    tasks = slurm.jobs("cosmo-array")
    assert {(task.job, task.task) for task in tasks} == {(number, index) for index in range(4)}
    assert len({task.raw for task in tasks if task.state == "RUNNING"}) == 3
    slurm.cancel(f"{number}_1")
    until(lambda: states(slurm, "cosmo-array").get(f"{number}_3") == "RUNNING", 20, "the next task in its place")
    assert f"{number}_1" not in states(slurm, "cosmo-array")
    slurm.cancel(number)
    ends = wait_for_end(slurm, number)
    assert [(end.task, end.state) for end in ends] == [(task, "CANCELLED") for task in range(4)]


def test_a_cancelled_array_that_never_started_is_told_task_by_task(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    number = slurm.submit(job("cosmo-unborn", array="1-2,5", hold=None))
    assert set(states(slurm, "cosmo-unborn")) == {f"{number}_1", f"{number}_2", f"{number}_5"}
    slurm.cancel(number)
    rows = wait_for_accounting(slurm, number, 3)
    assert [(row.task, row.state, row.nodes, row.elapsed) for row in rows] == [
        (1, "CANCELLED", "", 0),
        (2, "CANCELLED", "", 0),
        (5, "CANCELLED", "", 0),
    ]


def test_names_are_prefixes_and_other_jobs_are_left_alone(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    ours, longer, other = (slurm.submit(job(name, hold=None)) for name in ("cosmo-a1", "cosmo-a12", "elsewhere"))
    assert {record.id for record in slurm.jobs("cosmo-a1")} == {ours, longer}
    assert {record.id for record in slurm.jobs("")} == {ours, longer, other}
    slurm.cancel(ours, longer)
    assert {record.id for record in slurm.jobs("")} == {other}
    slurm.cancel(ours, longer, "99999")
    slurm.signal("99999", "USR1")
    slurm.requeue("99999")


def test_a_signal_reaches_the_batch_shell_alone(slurm: Slurm, job: Callable[..., JobSpec], tmp_path: Path) -> None:
    script = "#!/bin/bash\ntrap 'touch noticed; exit 0' USR1\ntouch ready\nwhile :; do sleep 0.1; done\n"
    number = slurm.submit(job("cosmo-signal", script))
    until((tmp_path / "ready").exists, 20, "the job's trap")
    slurm.signal(number, "USR1")
    (end,) = wait_for_end(slurm, number)
    assert (end.state, end.exit_code) == ("COMPLETED", 0)
    assert (tmp_path / "noticed").exists()


def test_a_job_that_is_killed_by_a_signal_says_which(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    number = slurm.submit(job("cosmo-killed", "#!/bin/bash\nkill -9 $$\n"))
    (end,) = wait_for_end(slurm, number)
    assert (end.state, end.signal) == ("FAILED", signal.SIGKILL)
    assert "signal SIGKILL" in str(end)


def test_a_running_job_is_requeued_and_one_that_ended_is_not(
    slurm: Slurm, job: Callable[..., JobSpec], tmp_path: Path
) -> None:
    running = slurm.submit(job("cosmo-requeue", "#!/bin/bash\ntouch ready\nexec sleep 300\n", requeue=None))
    ended = slurm.submit(job("cosmo-ended", "#!/bin/bash\ntrue\n", requeue=None))
    until((tmp_path / "ready").exists, 20, "the first life")
    wait_for_end(slurm, ended)
    slurm.requeue(running)
    until(lambda: one(slurm, "cosmo-requeue").state == "PENDING", 20, "the queue")
    assert one(slurm, "cosmo-requeue").restarts == 1
    assert not slurm.outcome(running).over
    slurm.requeue(ended)
    assert slurm.jobs("cosmo-ended") == []
    assert slurm.outcome(ended).succeeded


def test_what_slurm_refuses_is_told_with_a_remedy(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    with pytest.raises(SlurmError, match=r"(?s)Invalid partition name.*sinfo") as refused:
        slurm.submit(job("cosmo-refused", partition="nowhere"))
    assert not refused.value.temporary
    with pytest.raises(SlurmError, match=r"(?s)not available.*less per node"):
        slurm.submit(job("cosmo-refused", gres="gpu:3"))
    assert slurm.jobs("cosmo-refused") == []


def test_a_job_that_nobody_knows_ended_as_unknown(slurm: Slurm) -> None:
    outcome = slurm.outcome("99999")
    assert outcome.over
    assert not outcome.succeeded
    assert [end.state for end in outcome.ended] == ["UNKNOWN"]


def test_the_id_of_a_job_of_another_name_tells_nothing(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    number = slurm.submit(job("cosmo-one", "#!/bin/bash\ntrue\n"))
    wait_for_accounting(slurm, number)
    assert slurm.outcome(number, name="cosmo-one").succeeded
    assert slurm.ended(number, name="cosmo-two") == []
    assert [end.state for end in slurm.outcome(number, name="cosmo-two").ended] == ["UNKNOWN"]


def test_submitting_once_finds_the_job_that_lives(slurm: Slurm, job: Callable[..., JobSpec]) -> None:
    spec = job("cosmo-once", array="0-1")
    first = slurm.submit_once(spec)
    until(lambda: list(states(slurm, "cosmo-once").values()) == ["RUNNING"] * 2, 20, "both tasks at once")
    assert slurm.submit_once(spec) == first
    assert {record.job for record in slurm.jobs("cosmo-once")} == {first}
    slurm.cancel(first)
    wait_for_end(slurm, first)
    assert slurm.submit_once(spec) != first


def test_a_login_node_that_is_not_trusted_is_not_asked_again(cluster: Cluster) -> None:
    """Under another name its key is unknown."""
    connection = SSHConnectionResource.from_env().model_copy(update={"host": "localhost"})
    with pytest.raises(SlurmError, match=r"(?s)no SSH connection to root@localhost.*verification failed") as refused:
        SshCommands(connection).run(["squeue"])
    assert not refused.value.temporary


def test_a_login_node_that_is_away_may_come_back(cluster: Cluster) -> None:
    connection = SSHConnectionResource.from_env().model_copy(update={"port": cluster.layout.port + 9})
    with pytest.raises(SlurmError, match="Connection refused") as away:
        SshCommands(connection).run(["squeue"])
    assert away.value.temporary
