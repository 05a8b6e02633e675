"""The shipped deployment files on a Slurm with one large node: it would take their jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cosmo_resources.deployment_file import read_deployment
from cosmo_resources.pools.sites import slurm_options
from cosmo_resources.slurm.commands import LocalCommands, SlurmError
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import ROOT
from tests.slurm.cluster import Cluster, Reservation
from tests.slurm.configuration import Shape

FILES = sorted((ROOT / "deploy" / "slurm").glob("*.yaml"))


@pytest.fixture(scope="module")
def large(session_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster of one node with eight devices. The other one shows that this machine can have a Slurm."""
    reservation = Reservation()
    cluster = Cluster(reservation.port, Shape(nodes=1, cpus=128, memory=2_000_000, gpus=8))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        reservation.release()


@pytest.mark.slurm
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_slurm_would_take_the_jobs_of_a_file(
    large: Cluster, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in large.environment.items():
        monkeypatch.setenv(name, value)
    site, slurm = read_deployment(path), Slurm(LocalCommands())
    for servers in {1, site.servers_per_task}:
        options = slurm_options(site, servers)
        array = f"0-{site.tasks - 1}"
        here = {"partition": "main", "array": array}
        slurm.check(options.spec("cosmo-test", "module", tmp_path, tmp_path / "log", comment="", **here))
    more = slurm_options(site, 9)
    with pytest.raises(SlurmError, match="not available"):
        slurm.check(more.spec("cosmo-test", "module", tmp_path, tmp_path / "log", comment="", partition="main"))
