"""What Slurm itself notices late: time limits, and nodes that nobody reported dead."""

from pathlib import Path

import pytest

from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import until
from tests.slurm.lives import spec, told


@pytest.fixture
def here(cluster: Cluster) -> Slurm:
    return Slurm(LocalCommands())


@pytest.mark.slow
def test_a_dead_node_is_noticed_by_the_controller_itself(here: Slurm, cluster: Cluster, tmp_path: Path) -> None:
    job = here.submit(spec("cosmo-unnoticed", tmp_path, no_requeue=None))
    until(lambda: told(tmp_path), 20, "the job")
    (running,) = here.jobs("cosmo-unnoticed")
    cluster.kill_node(running.node, noticed=False)
    assert here.outcome(job).live, "the controller knows nothing yet"
    until(lambda: here.outcome(job).over, 90, "the controller's notice")
    assert [end.state for end in here.outcome(job).ended] == ["NODE_FAIL"]


@pytest.mark.slow
def test_a_time_limit_gives_notice_and_then_ends_the_job(here: Slurm, cluster: Cluster, tmp_path: Path) -> None:
    deaf, heeding = tmp_path / "deaf", tmp_path / "heeding"
    deaf.mkdir()
    heeding.mkdir()
    overrun = here.submit(spec("cosmo-overrun", deaf, time="00:10:00"))
    warned = here.submit(spec("cosmo-warned", heeding, time="00:10:00", signal="B:USR1@50"))
    until(lambda: told(deaf) and told(heeding), 20, "both jobs")
    cluster.near_time_limit(overrun, 1)
    cluster.near_time_limit(warned, 49)
    until(lambda: here.outcome(warned).over and here.outcome(overrun).over, 90, "both ends")
    assert told(heeding)[-1] == "notice"
    assert here.outcome(warned).succeeded
    assert [end.state for end in here.outcome(overrun).ended] == ["TIMEOUT"]
