"""Leases of servers in jobs: whole files, one clock, and no trust in what stands still."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from cosmo_resources.inference.endpoints import Endpoint
from cosmo_resources.inference.leases import Lease, LeasedEndpoints, read_leases, write_lease


def lease(**fields: Any) -> Lease:
    job = fields.get("job", "17_3")
    usual = {
        "url": f"http://node1:{8000 + len(job)}/v1",
        "model": "m",
        "engine": "vllm 0.33",
        "job": job,
        "restart": 0,
        "node": "node1",
        "gpus": 2,
        "state": "ready",
        "beat": 1,
        "ttl": 30.0,
    }
    return Lease.model_validate({**usual, **fields})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def urls(endpoints: LeasedEndpoints) -> list[str]:
    return [endpoint.url for endpoint in endpoints.live()]


def test_a_lease_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    write_lease(folder, lease())
    write_lease(folder, lease(job="18", restart=2))
    assert [path.name for path in sorted(folder.iterdir())] == ["17_3.0.json", "18.2.json"]
    assert read_leases(folder) == [lease(), lease(job="18", restart=2)]


def test_a_folder_that_is_not_there_holds_no_leases(tmp_path: Path) -> None:
    assert read_leases(tmp_path / "none") == []
    assert LeasedEndpoints(tmp_path / "none").live() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", lease().model_dump_json().encode()[:-9], b"[]", b"\xff\xfe", b'{"url": "http://x/v1"}'],
    ids=["empty", "a brace", "cut off", "a list", "not UTF-8", "fields missing"],
)
def test_what_is_no_lease_is_passed_over(tmp_path: Path, content: bytes) -> None:
    write_lease(tmp_path, lease())
    (tmp_path / "99.0.json").write_bytes(content)
    (tmp_path / ".17_4.0.json.77.tmp").write_text(lease(job="17_4").model_dump_json())
    (tmp_path / "folder.0.json").mkdir()
    (tmp_path / "gone.0.json").symlink_to(tmp_path / "nowhere")
    assert read_leases(tmp_path) == [lease()]


def test_readers_never_see_half_a_lease(tmp_path: Path) -> None:
    write_lease(tmp_path, lease())
    done = threading.Event()

    def renew() -> None:
        for beat in range(2, 400):
            write_lease(tmp_path, lease(beat=beat, engine="e" * (beat % 7) * 1000))
        done.set()

    writer = threading.Thread(target=renew)
    writer.start()
    seen = []
    while not done.is_set():
        (read,) = read_leases(tmp_path)
        seen.append(read.beat)
    writer.join()
    assert seen == sorted(seen)


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_only_servers_that_are_ready_are_asked(tmp_path: Path, state: str) -> None:
    write_lease(tmp_path, lease(job="a"))
    write_lease(tmp_path, lease(job="bb", state=state))
    assert LeasedEndpoints(tmp_path).live() == [Endpoint(lease(job="a").url, "vllm 0.33", "node1", "a", 2)]


def test_a_server_whose_beat_stands_still_is_dead_after_its_time_and_lives_when_it_beats_again(tmp_path: Path) -> None:
    clock = Clock()
    endpoints = LeasedEndpoints(tmp_path, clock)
    write_lease(tmp_path, lease(job="a", ttl=30))
    write_lease(tmp_path, lease(job="bb", ttl=60))
    assert len(urls(endpoints)) == 2, "the first sight counts as a beat"
    clock.now += 30
    assert len(urls(endpoints)) == 2
    clock.now += 1
    assert urls(endpoints) == [lease(job="bb").url]
    write_lease(tmp_path, lease(job="a", beat=2))
    assert len(urls(endpoints)) == 2
    clock.now += 29
    write_lease(tmp_path, lease(job="a", beat=3))
    clock.now += 29
    assert lease(job="a").url in urls(endpoints), "it beat 29 s ago at most, though it was not looked at then"
    clock.now += 31
    assert urls(endpoints) == []


def test_a_beat_that_begins_anew_is_a_beat(tmp_path: Path) -> None:
    clock = Clock()
    endpoints = LeasedEndpoints(tmp_path, clock)
    write_lease(tmp_path, lease(beat=500))
    endpoints.live()
    clock.now += 31
    write_lease(tmp_path, lease(beat=1))
    assert urls(endpoints) == [lease().url]


def test_no_clock_but_the_readers_counts(tmp_path: Path) -> None:
    """The times of the file lie in another century."""
    write_lease(tmp_path, lease())
    endpoints = LeasedEndpoints(tmp_path, Clock())
    for moment in (0, 4_000_000_000):
        os.utime(tmp_path / "17_3.0.json", (moment, moment))
        assert urls(endpoints) == [lease().url]


def test_of_one_job_only_the_latest_restart_counts(tmp_path: Path) -> None:
    for restart in (9, 10):
        write_lease(tmp_path, lease(restart=restart, url=f"http://node{restart}:8000/v1"))
    assert urls(LeasedEndpoints(tmp_path)) == ["http://node10:8000/v1"]
    write_lease(tmp_path, lease(restart=11, url="http://node11:8000/v1", state="starting"))
    assert urls(LeasedEndpoints(tmp_path)) == []


def test_a_lease_that_is_withdrawn_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    endpoints = LeasedEndpoints(tmp_path, clock)
    write_lease(tmp_path, lease())
    assert urls(endpoints) == [lease().url]
    (tmp_path / "17_3.0.json").unlink()
    assert urls(endpoints) == []
    clock.now += 100
    write_lease(tmp_path, lease())
    assert urls(endpoints) == [lease().url]


def test_a_lease_is_plain_json(tmp_path: Path) -> None:
    write_lease(tmp_path, lease())
    assert json.loads((tmp_path / "17_3.0.json").read_text(encoding="utf-8"))["state"] == "ready"
