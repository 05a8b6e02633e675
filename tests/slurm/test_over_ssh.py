"""Buckets made on a cluster that is reached through a login node: nothing here finds Slurm by itself."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster_slurm import SSHConnectionResource

from cosmo_resources.slurm.commands import LocalCommands, SlurmError
from cosmo_resources.slurm.resources import SshCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import Corpus, contents, wait_until
from tests.doubles.replay_program import calls
from tests.slurm.cluster import Cluster
from tests.slurm.sites import ROWS, Contents, end, generate, site, state_of

IN_FLIGHT = 4


@pytest.fixture
def far(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """The cluster of the login node, of which the environment here says nothing."""
    for name in cluster.environment:
        if name != "DAGSTER_SLURM_SSH_CONTROL_DIR":
            monkeypatch.delenv(name)
    with pytest.raises(SlurmError):
        Slurm(LocalCommands(), patience=0).jobs("cosmo")
    yield Slurm(SshCommands(SSHConnectionResource(**cluster.login_node)))


@pytest.fixture
def jobs(far: Slurm) -> Callable[[], list[str]]:
    return lambda: [job.id for job in far.jobs("cosmo")]


def test_a_bucket_by_an_array(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path, jobs: Callable[[], list[str]]
) -> None:
    where = site(tmp_path, "batch", tasks=3, server={"gpus": 1}, delay=0.1, ssh=cluster.login_node)
    process = generate(corpus, where)
    wait_until(lambda: len(jobs()) == 3, process=process)
    end(process)
    assert jobs() == []
    assert contents(corpus) == undisturbed
    assert Counter(Counter(calls(state_of(where))).values()) == {1: ROWS}


def test_a_bucket_by_servers_that_all_share(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path, jobs: Callable[[], list[str]]
) -> None:
    where = site(tmp_path, "service", tasks=2, rows_per_server=20, idle_seconds=3, delay=0.2, ssh=cluster.login_node)
    process = generate(corpus, where)
    wait_until(lambda: len(jobs()) == 2, process=process)
    end(process)
    assert contents(corpus) == undisturbed
    assert Counter(Counter(calls(state_of(where))).values()) == {1: ROWS}
    wait_until(lambda: jobs() == [])


@pytest.mark.parametrize("way", ["batch", "service"])
def test_the_login_node_is_away_for_a_while(
    cluster: Cluster,
    corpus: Corpus,
    undisturbed: Contents,
    tmp_path: Path,
    jobs: Callable[[], list[str]],
    way: str,
) -> None:
    """As when it is booted anew: every connection ends, and for some seconds there is none."""
    where = site(tmp_path, way, tasks=2, delay=0.4, idle_seconds=3, ssh=cluster.login_node)
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 8, process=process)
    cluster.stop_login_node()
    asked = len(calls(state_of(where)))
    wait_until(lambda: len(calls(state_of(where))) > asked + 2 * IN_FLIGHT, process=process)
    cluster.start_login_node()
    end(process)
    assert contents(corpus) == undisturbed
    assert Counter(Counter(calls(state_of(where))).values()) == {1: ROWS}
    wait_until(lambda: jobs() == [])


def test_a_run_that_is_cancelled_cancels_its_array(
    cluster: Cluster, corpus: Corpus, tmp_path: Path, jobs: Callable[[], list[str]]
) -> None:
    where = site(tmp_path, "batch", tasks=2, delay=2.0, ssh=cluster.login_node)
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 8, process=process)
    process.terminate()
    process.communicate(timeout=60)
    wait_until(lambda: jobs() == [])
    assert len(calls(state_of(where))) < ROWS


def test_a_key_that_is_not_there(cluster: Cluster, corpus: Corpus, tmp_path: Path) -> None:
    where = site(tmp_path, "batch", ssh={**cluster.login_node, "key_path": str(tmp_path / "key")})
    process = generate(corpus, where)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"{tmp_path / 'key'}" in output.replace("\n", "")
    assert "slurm.ssh: key_path: Value error, SSH key not found at" in " ".join(output.split())
    assert "remedy mend the section" in output
