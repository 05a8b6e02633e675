"""What happens to jobs on clusters, as Cosmo sees it: preemption, dead nodes, restarts."""

from pathlib import Path

import pytest

from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import until, with_environment
from tests.slurm.lives import spec, told


@pytest.fixture
def here(cluster: Cluster) -> Slurm:
    return Slurm(LocalCommands())


def test_a_preempted_job_is_warned_requeued_and_ends_well_elsewhere(
    here: Slurm, cluster: Cluster, tmp_path: Path
) -> None:
    job = here.submit(
        spec("cosmo-spot", tmp_path, partition="spot", requeue=None, signal="B:USR1@60", open_mode="append")
    )
    until(lambda: told(tmp_path), 20, "the first life")
    (running,) = here.jobs("cosmo-spot")
    # With the notice ignored, the job dies at the end of its grace: here it heeds it, and ends by itself.
    cluster.preempt(running.node, seconds=2)
    until(lambda: "notice" in told(tmp_path), 20, "the notice of the preemption")
    until(lambda: here.outcome(job).over, 30, "the end of the job")
    assert here.outcome(job).ended[0].state in ("COMPLETED", "PREEMPTED")


def test_a_preempted_job_that_heeds_no_notice_comes_back(here: Slurm, cluster: Cluster, tmp_path: Path) -> None:
    job = here.submit(spec("cosmo-spot", tmp_path, partition="spot", requeue=None))
    until(lambda: told(tmp_path), 20, "the first life")
    (running,) = here.jobs("cosmo-spot")
    cluster.preempt(running.node, seconds=1)
    until(lambda: here.outcome(job).over, 60, "the end of the job")
    assert [line.split(" on ")[0] for line in told(tmp_path)] == ["life 0", "life 1"]
    assert here.outcome(job).succeeded
    assert next(row.state for row in here.ended(job) or []) == "PREEMPTED"


def test_a_dead_node_takes_all_of_its_processes_and_its_job_lives_again(
    here: Slurm, cluster: Cluster, tmp_path: Path
) -> None:
    job = here.submit(spec("cosmo-dead", tmp_path, requeue=None))
    single = here.submit(spec("cosmo-single", tmp_path / "", no_requeue=None, nodelist="n2"))
    until(lambda: len(told(tmp_path)) == 2, 20, "both jobs")
    (first,) = here.jobs("cosmo-dead")
    cluster.kill_node(first.node)
    assert not with_environment(f"SLURM_CONF={cluster.layout.slurm_conf}", f"SLURMD_NODENAME={first.node}")
    if first.node != "n2":
        cluster.kill_node("n2")
    until(lambda: here.outcome(single).over, 20, "the end of the job that may not be requeued")
    assert [end.state for end in here.outcome(single).ended] == ["NODE_FAIL"]
    until(lambda: here.outcome(job).over, 40, "the end of the job that may")
    assert here.outcome(job).succeeded
    second = told(tmp_path)[-1]
    assert second.startswith("life 1 on ")
    assert second != f"life 1 on {first.node}"


def test_a_restarted_slurmd_keeps_its_job(here: Slurm, cluster: Cluster, tmp_path: Path) -> None:
    job = here.submit(spec("cosmo-kept", tmp_path))
    until(lambda: told(tmp_path), 20, "the job")
    (running,) = here.jobs("cosmo-kept")
    cluster.restart_slurmd(running.node)
    here.signal(job)
    until(lambda: here.outcome(job).over, 20, "the end of the job")
    assert here.outcome(job).succeeded
    assert told(tmp_path) == [f"life 0 on {running.node}", "notice"]
