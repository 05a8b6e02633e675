"""What goes on while the shared disk takes no file, and what is said of it."""

import time
from pathlib import Path

import pytest

from cosmo_resources.inference.leases import Lease, read_leases
from cosmo_resources.pools import jobs
from cosmo_resources.pools.agent import LeaseKeeper

LEASE = Lease(
    url="", model="m", engine="vllm", job="7", restart=0, node="n1", gpus=0, state="starting", beat=0, ttl=0.05
)


def point(link: Path, target: Path) -> None:
    draft = link.with_suffix(".draft")
    draft.symlink_to(target)
    draft.replace(link)


def beat(folder: Path) -> int:
    deadline = time.monotonic() + 10
    while not (leases := read_leases(folder)):
        assert time.monotonic() < deadline, "no lease"
        time.sleep(0.01)
    return leases[0].beat


def test_a_lease_is_renewed_when_the_disk_takes_files_again(tmp_path: Path) -> None:
    folder, good, bad = tmp_path / "leases", tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.write_text("no folder, so that no file can be written", encoding="utf-8")
    point(folder, good)
    keeper = LeaseKeeper(folder, LEASE)
    keeper.start()
    beat(folder)
    point(folder, bad)
    time.sleep(5 * LEASE.ttl)
    keeper.state("ready", "http://n1:8000/v1")
    point(folder, good)
    deadline = time.monotonic() + 10
    while [lease.state for lease in read_leases(folder)] != ["ready"]:
        assert time.monotonic() < deadline, "it is not renewed any more"
        time.sleep(0.01)
    keeper.close()
    keeper.join(10)
    assert read_leases(folder) == []


def test_a_process_that_could_not_write_its_log_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "worker.log"
    log.touch()
    error = jobs.failure("a worker", log, 1)
    assert error.message == "a worker ended with exit code 1:\nits log is empty"
    assert str(log) in error.remedy
    monkeypatch.setattr(jobs, "FULL_BYTES", 1 << 60)
    error = jobs.failure("a worker", log, 1)
    assert error.message.endswith(f"its log is empty, as the disk of {tmp_path} is full")
    assert error.remedy.startswith("free space there")
