"""`cosmo doctor --slurm` on a real Slurm: all is well, and each thing that is not, by its own finding."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.operations.doctor import examine_slurm
from cosmo_resources.examination import cluster as cluster_examination
from cosmo_resources.examination.findings import Finding
from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import ROOT, wait_until
from tests.slurm.cluster import Cluster
from tests.slurm.sites import site

MOUNT_ALONE = '[ -n "$ALONE" ] || ALONE=1 exec unshare --mount bash "$0"\n'
"""Lines of a job's script after which it mounts for itself alone."""

STATES = ("ok", "warn", "bad")


def environment(folder: Path, deployment: Path) -> dict[str, str]:
    return {
        "COSMO_DEPLOYMENT": str(deployment),
        "COSMO_DATA": str(folder / "data"),
        "COSMO_STATE": str(folder / "state"),
    }


def live() -> list[str]:
    return [job.id for job in Slurm(LocalCommands()).jobs("cosmo-doctor")]


def examined(folder: Path, deployment: Path, *, gpus: bool = False) -> dict[str, Finding]:
    """The findings by subject; of several, the worst. Nothing is left behind."""
    worst: dict[str, Finding] = {}
    for finding in examine_slurm(environment(folder, deployment), gpus=gpus):
        before = worst.get(finding.subject, finding)
        worst[finding.subject] = max(before, finding, key=lambda one: STATES.index(one.state))
        assert finding.remedy or finding.state == "ok", finding
    wait_until(lambda: live() == [], seconds=20)
    assert list((folder / "data" / ".pools").glob("doctor-*")) == []
    return worst


def faults(found: dict[str, Finding]) -> dict[str, str]:
    return {subject: finding.state for subject, finding in found.items() if finding.state != "ok"}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter without packages."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def nvidia_smi(tmp_path: Path) -> str:
    """The folder of an nvidia-smi for nodes with pretended GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Pretended GPU\necho Pretended GPU\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program.parent)


def test_a_cluster_on_which_all_is_well(cluster: Cluster, tmp_path: Path, nvidia_smi: str) -> None:
    started = time.monotonic()
    setup = f"export PATH=$PATH:{nvidia_smi}"
    found = examined(tmp_path, site(tmp_path, "service", tasks=3, setup=setup, server={"gpus": 2}), gpus=True)
    assert faults(found) == {}
    assert time.monotonic() - started < 60
    assert "n1 and n2" in found["data root"].detail
    assert found["GPUs"].detail == "2 visible (Pretended GPU)"
    assert {"locks", "renames", "server address", "notice", "requeue", "clocks", "ends of jobs"} <= found.keys()


def test_over_ssh(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = site(tmp_path, "batch", tasks=2, ssh=cluster.login_node)
    with monkeypatch.context() as away:
        away.delenv("SLURM_CONF")
        findings = list(examine_slurm(environment(tmp_path, where)))
    assert {finding.state for finding in findings} == {"ok"}, findings
    assert "requeue" in {finding.subject for finding in findings}
    wait_until(lambda: live() == [], seconds=20)


@pytest.mark.parametrize(
    ("options", "detail", "remedy"),
    [
        pytest.param({"partition": "none"}, "invalid partition", "sinfo --summarize", id="partition"),
        pytest.param({"mem": "900G"}, "configuration is not available", "ask for less per node", id="memory"),
        pytest.param({"gres": "gpu:3"}, "configuration is not available", "ask for less per node", id="devices"),
        pytest.param({"no-such-option": 1}, "unrecognized option", "slurm.options", id="option"),
    ],
)
def test_what_sbatch_refuses(
    cluster: Cluster, tmp_path: Path, options: dict[str, Any], detail: str, remedy: str
) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", options=options))
    assert faults(found) == {"sbatch": "bad"}
    assert detail in found["sbatch"].detail
    assert remedy in found["sbatch"].remedy
    assert "data root" not in found, "no job was tried"


def test_a_deployment_that_is_not_on_slurm(tmp_path: Path) -> None:
    (finding,) = examine_slurm({"COSMO_DEPLOYMENT": "laptop"})
    assert (finding.subject, finding.state) == ("deployment", "bad")
    (finding,) = examine_slurm(environment(tmp_path, site(tmp_path, "local")))
    assert (finding.subject, finding.state) == ("deployment", "bad")


def test_the_interpreter_is_missing(cluster: Cluster, tmp_path: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", python=str(tmp_path / "env" / "bin" / "python")))
    assert faults(found) == {"worker environment": "bad"}
    assert "cannot be run on n1" in found["worker environment"].detail
    assert "make worker-env" in found["worker environment"].remedy


def test_the_environment_lacks_cosmo(cluster: Cluster, tmp_path: Path, bare_python: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", python=str(bare_python), setup="unset PYTHONPATH"))
    assert faults(found) == {"worker environment": "bad"}
    assert "No module named" in found["worker environment"].detail


def test_the_environment_lacks_a_package(cluster: Cluster, tmp_path: Path, bare_python: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", python=str(bare_python)))
    assert faults(found) == {"worker environment": "bad", "server": "bad"}
    assert "cannot import the worker: ModuleNotFoundError" in found["worker environment"].detail


def test_the_data_root_is_another_folder_on_nodes(cluster: Cluster, tmp_path: Path) -> None:
    setup = f"{MOUNT_ALONE}mount -t tmpfs none {tmp_path / 'data'}"
    found = examined(tmp_path, site(tmp_path, "batch", setup=setup))
    assert faults(found) == {"data root": "bad"}
    assert "not the same folder on n1" in found["data root"].detail


def test_the_data_root_cannot_be_written_to_on_nodes(cluster: Cluster, tmp_path: Path) -> None:
    data = tmp_path / "data"
    setup = f"{MOUNT_ALONE}mount --bind {data} {data} && mount -o remount,ro,bind {data}"
    found = examined(tmp_path, site(tmp_path, "batch", setup=setup))
    assert faults(found) == {"data root": "bad"}
    assert "not writable on n1" in found["data root"].detail


@pytest.fixture
def n2_without_data(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The file system of the data root is not mounted on the node n2."""
    (tmp_path / "data").mkdir()
    cluster.kill_node("n2")
    cluster.start_node("n2", unmounted=tmp_path / "data")
    wait_until(lambda: "n2" in cluster.idle_nodes())
    yield cluster
    cluster.kill_node("n2")
    cluster.start_node("n2")


def test_a_node_does_not_mount_the_data_root(n2_without_data: Cluster, tmp_path: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch"))
    assert faults(found) == {"data root": "bad"}
    assert "cannot be written to on n2" in found["data root"].detail


def test_a_job_may_not_put_itself_back(cluster: Cluster, tmp_path: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", setup="scontrol update jobid=$SLURM_JOB_ID requeue=0"))
    assert faults(found) == {"requeue": "bad"}
    assert "may not put itself back" in found["requeue"].detail


def test_nodes_have_no_scontrol(cluster: Cluster, tmp_path: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", setup=f"export PATH={tmp_path}"))
    assert faults(found) == {"requeue": "bad"}
    assert "no scontrol on nodes" in found["requeue"].detail


def test_something_stands_between_the_job_and_its_program(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_examination, "NOTICE_SECONDS", 4.0)
    wrapper = tmp_path / "container"
    wrapper.write_text(f"#!/bin/sh\ntrap '' USR1\n{sys.executable} \"$@\"\n", encoding="utf-8")
    wrapper.chmod(0o755)
    found = examined(tmp_path, site(tmp_path, "batch", python=str(wrapper)))
    assert faults(found) == {"notice": "bad"}


def test_nodes_cannot_import_vllm(cluster: Cluster, tmp_path: Path, bare_python: Path) -> None:
    server = {"engine": "vllm", "model": str(tmp_path), "command": [], "python": str(bare_python)}
    found = examined(tmp_path, site(tmp_path, "batch", server=server))
    assert faults(found) == {"server": "bad"}
    assert "No module named 'vllm'" in found["server"].detail


def test_nodes_import_vllm_but_have_no_model(cluster: Cluster, tmp_path: Path, bare_python: Path) -> None:
    (tmp_path / "vllm.py").write_text('__version__ = "0.1.2"\n', encoding="utf-8")
    server = {"engine": "vllm", "model": str(tmp_path / "model"), "command": [], "python": str(bare_python)}
    where = site(tmp_path, "batch", server={**server, "environment": {"PYTHONPATH": str(tmp_path)}})
    findings = [one for one in examine_slurm(environment(tmp_path, where)) if one.subject == "server"]
    assert [one.detail for one in findings] == ["vLLM 0.1.2 can be started", f"{tmp_path / 'model'} is not there"]
    assert [one.state for one in findings] == ["ok", "bad"]


def test_several_faults_are_found_in_one_go(cluster: Cluster, tmp_path: Path) -> None:
    for package in ("cosmo_assets", "cosmo_resources"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "cosmo_assets" / "new.py").write_text("", encoding="utf-8")
    where = site(
        tmp_path,
        "service",
        setup=f"export PYTHONPATH={tmp_path}",
        server={"gpus": 2},
        options={"gres": "gpu:1"},
        host="192.0.2.1",
    )
    found = examined(tmp_path, where, gpus=True)
    assert faults(found) == {"worker environment": "warn", "GPUs": "bad", "server address": "bad"}
    assert "other code" in found["worker environment"].detail
    assert "asks for 2, its job sees 1" in found["GPUs"].detail
    assert "192.0.2.1: Cannot assign requested address" in found["server address"].detail


def test_one_node_that_others_do_not_reach(cluster: Cluster, tmp_path: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", options={"nodelist": "n3"}, host="192.0.2.1"))
    assert faults(found) == {"data root": "warn", "server address": "warn"}
    assert "no second node was free" in found["data root"].detail
    assert "buckets do not need it" in found["server address"].detail


def test_a_probe_that_waits_in_the_queue(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_examination, "START_SECONDS", 2.0)
    found = examined(tmp_path, site(tmp_path, "batch", options={"begin": "now+1hour"}))
    assert faults(found) == {"probe": "warn"}
    assert "BeginTime" in found["probe"].detail


def test_preemption_with_less_grace_than_requests_are_given(cluster: Cluster, tmp_path: Path) -> None:
    found = examined(tmp_path, site(tmp_path, "batch", partition="spot"))
    assert faults(found) == {"preemption": "warn"}
    assert "told by USR1, have 4 s" in found["preemption"].detail
    assert "grace_seconds below 4" in found["preemption"].remedy


def test_without_accounting(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_examination, "ACCOUNTING_SECONDS", 2.0)
    cluster.kill_accounting()
    try:
        found = examined(tmp_path, site(tmp_path, "batch"))
    finally:
        cluster.start_accounting()
    assert faults(found) == {"accounting": "warn", "ends of jobs": "warn"}


def test_without_a_controller(cluster: Cluster, tmp_path: Path) -> None:
    where = site(tmp_path, "batch")
    cluster.stop_controller()
    try:
        (finding,) = examine_slurm(environment(tmp_path, where))
    finally:
        cluster.start_controller()
    assert (finding.subject, finding.state) == ("Slurm's commands", "bad")
    assert "scontrol ping" in finding.remedy


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_whoever_ends_the_doctor_ends_its_jobs(cluster: Cluster, tmp_path: Path, number: signal.Signals) -> None:
    where = site(tmp_path, "batch", options={"begin": "now+1hour"})
    process = subprocess.Popen(
        [sys.executable, "-m", "cosmo_assets.cli.main", "doctor", "--slurm"],
        env={**os.environ, **environment(tmp_path, where)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(live, process=process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "ok   sbatch: would be accepted" in output
    assert live() == []
    assert list((tmp_path / "data" / ".pools").glob("doctor-*")) == []
