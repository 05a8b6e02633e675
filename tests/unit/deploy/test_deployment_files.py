"""The shipped deployment files: each is read, becomes a pool, and asks Slurm for what its servers need."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cosmo_resources.deployment_file import DeploymentFile, read_deployment
from cosmo_resources.inference.engines import command_of
from cosmo_resources.pools.batch import BatchPool
from cosmo_resources.pools.service import ServicePool
from cosmo_resources.pools.sites import slurm_options, slurm_pool
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import ROOT

FOLDER = ROOT / "deploy" / "slurm"
FILES = sorted(FOLDER.glob("*.yaml"))
GPUS = {
    "a100": (1, 1),
    "h100": (1, 1),
    "h100-node": (8, 1),
    "h100-tp2": (4, 2),
    "h100-tp4": (1, 4),
    "h200": (1, 1),
    "service": (1, 1),
}
"""Servers of a task, and GPUs of a server."""


class Unreachable:
    """Nothing is to be asked of Slurm."""

    def run(self, arguments: Sequence[str], *, input: str = "", timeout: float = 60.0) -> str:
        raise AssertionError(f"Slurm was asked: {arguments}")


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def site(path: Path) -> DeploymentFile:
    return read_deployment(path)


def test_every_file_is_known_here() -> None:
    assert {path.stem for path in FILES} == GPUS.keys()


def test_a_file_becomes_a_pool(site: DeploymentFile, tmp_path: Path) -> None:
    pool = slurm_pool(site, Slurm(Unreachable()), tmp_path)
    assert isinstance(pool, ServicePool if site.way == "service" else BatchPool)


def test_a_job_asks_for_the_devices_of_its_servers(path: Path, site: DeploymentFile, tmp_path: Path) -> None:
    servers, gpus = GPUS[path.stem]
    assert (site.servers_per_task, site.server.gpus) == (servers, gpus)
    options = slurm_options(site, servers)
    spec = options.spec("name", "module", tmp_path, tmp_path / "log", comment="")
    assert spec.options["gres"] == f"gpu:{servers * gpus}"
    assert spec.options["signal"] == f"B:USR1@{site.slurm.notice_seconds}"
    assert {"partition", "account", "time", "requeue"} <= spec.options.keys()
    assert slurm_options(site, 1).options["gres"] == f"gpu:{gpus}", "labels and pilots take one server"
    assert spec.full_script.splitlines()[-1].startswith(f"exec {site.python} -m module")


def test_a_server_spreads_over_its_devices(site: DeploymentFile, tmp_path: Path) -> None:
    server = site.server.model_copy(update={"python": ""})
    command = command_of(server, tmp_path, "127.0.0.1", 8000)
    spread = ["--tensor-parallel-size", str(site.server.gpus)]
    assert (" ".join(spread) in " ".join(command)) == (site.server.gpus > 1)


def test_there_is_time_to_leave_and_work_for_a_full_batch(site: DeploymentFile) -> None:
    assert site.slurm.notice_seconds >= site.grace_seconds + 60
    assert int(str(site.server.arguments["max-num-seqs"])) < site.concurrency


def test_the_first_file_explains_every_field() -> None:
    text = (FOLDER / "h100.yaml").read_text(encoding="utf-8") + (FOLDER / "service.yaml").read_text(encoding="utf-8")
    site = read_deployment(FOLDER / "h100.yaml")
    fields = {*type(site).model_fields, *type(site.server).model_fields, *type(site.slurm).model_fields}
    # `command` and `revision` are for other engines, and `programs` for other assets.
    assert {name for name in fields - {"command", "revision", "programs"} if f"{name}:" not in text} == set()


def test_the_folder_says_which_file_is_for_what() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in FILES if f"[{path.name}]({path.name})" not in readme} == set()
