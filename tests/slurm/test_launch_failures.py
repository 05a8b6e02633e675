"""Jobs that Slurm cannot launch on a node and holds: nobody waits for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import Corpus
from tests.slurm.cluster import Cluster
from tests.slurm.sites import generate, site


@pytest.fixture
def without_spool(cluster: Cluster) -> Iterator[None]:
    """Nodes whose disk is gone: a batch script cannot be put there."""
    spools = sorted((cluster.folder / "spool").iterdir())
    for spool in spools:
        spool.rename(spool.with_suffix(".away"))
        spool.touch()
    yield
    for spool in spools:
        spool.unlink()
        spool.with_suffix(".away").rename(spool)
    for node in cluster.nodes:
        cluster.restart_slurmd(node)


def test_a_batch_whose_tasks_cannot_be_launched_says_so(
    cluster: Cluster, corpus: Corpus, tmp_path: Path, without_spool: None
) -> None:
    process = generate(corpus, site(tmp_path, "batch", tasks=2))
    output, _ = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "0 of 60 rows are done" in output
    assert "Slurm could not launch them: launch failed requeued held" in output
    assert not Slurm(LocalCommands()).jobs("cosmo-tiny")


def test_a_service_whose_servers_cannot_be_launched_says_so(
    cluster: Cluster, corpus: Corpus, tmp_path: Path, without_spool: None
) -> None:
    process = generate(corpus, site(tmp_path, "service", tasks=4, rows_per_server=15))
    output, _ = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "Slurm could not launch job" in output
    assert "launch failed requeued held" in output
    assert not Slurm(LocalCommands()).jobs("cosmo-pool")
