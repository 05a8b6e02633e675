"""A Slurm for the tests in this folder: one for each process that runs tests, free of jobs before each test."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dagster_slurm import SSHConnectionResource

from cosmo_resources.slurm.commands import Commands, LocalCommands
from cosmo_resources.slurm.resources import SshCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import Corpus
from tests.slurm.cluster import Cluster, NoClusterError, Reservation, install_packages
from tests.slurm.daemons import kill_all, with_environment
from tests.slurm.sites import answered, waiting_corpus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[Cluster]:
    with ExitStack() as ends:
        try:
            install_packages()
            reservation = Reservation()
            ends.callback(reservation.release)
            cluster = Cluster(reservation.port)
            ends.callback(cluster.down)
            cluster.up()
        except NoClusterError as error:
            if os.environ.get("CI"):
                pytest.fail(f"no Slurm, and CI is set: {error}")
            pytest.skip(f"no Slurm: {error}")
        yield cluster


@pytest.fixture
def cluster(session_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster without jobs, which Slurm's own commands find, and dagster-slurm through `SLURM_SSH_*`."""
    for name, value in session_cluster.environment.items():
        monkeypatch.setenv(name, value)
    session_cluster.reset()
    return session_cluster


@pytest.fixture(params=["local", "ssh"])
def commands(cluster: Cluster, request: pytest.FixtureRequest) -> Commands:
    return LocalCommands() if request.param == "local" else SshCommands(SSHConnectionResource.from_env())


@pytest.fixture
def slurm(commands: Commands) -> Slurm:
    return Slurm(commands, patience=60)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose prompts wait to be answered; not to be touched, but copied."""
    return waiting_corpus(tmp_path_factory.mktemp("made") / "corpus").folder


@pytest.fixture(scope="session")
def undisturbed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, ...]]:
    """The rows of that corpus, generated where nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed") / "corpus"
    shutil.copytree(made, folder)
    return answered(Corpus(folder, buckets=1))


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Iterator[Corpus]:
    """A copy of that corpus for one test, whose commands end with it: after a failure they would go on asking for
    Slurm, and find that of another test."""
    shutil.copytree(made, tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus", buckets=1)
    yield corpus
    kill_all(with_environment(f"COSMO_RECIPE={corpus.recipe_path}"))
