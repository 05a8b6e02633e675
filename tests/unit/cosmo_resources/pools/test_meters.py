"""Meters: differences that add up over all lives of all workers."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cosmo_resources.pools import meters
from cosmo_resources.pools.meters import Meter, read_meters, read_series


@dataclass
class Stats:
    running: int = 0
    waiting: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Client:
    def __init__(self) -> None:
        self.now = Stats()

    def stats(self) -> Stats:
        return self.now


def line(seconds: float, answered: int, tokens: int, running: int = 0) -> str:
    fields = dict.fromkeys(meters.TOTALS, 0)
    fields |= {"answered": answered, "completion_tokens": tokens}
    return (
        json.dumps({"seconds": seconds, "gpu_seconds": 2 * seconds, **fields, "running": running, "waiting": 1}) + "\n"
    )


def test_no_meter_measures_nothing(tmp_path: Path) -> None:
    found = read_meters(tmp_path)
    assert (found.workers, found.tokens_per_second, found.totals["answered"]) == (0, 0.0, 0)


def test_a_worker_writes_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "INTERVAL_SECONDS", 0.05)
    client = Client()
    with Meter(tmp_path, client):
        client.now = Stats(running=3, waiting=1, answered=10, completion_tokens=100)
        deadline = time.monotonic() + 5
        while read_meters(tmp_path).totals["answered"] < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (read_meters(tmp_path).running, read_meters(tmp_path).waiting) == (3, 1)
        client.now = Stats(answered=25, completion_tokens=240, failed=2)
    found = read_meters(tmp_path)
    assert found.totals == {
        "answered": 25,
        "failed": 2,
        "refused": 0,
        "retried": 0,
        "prompt_tokens": 0,
        "completion_tokens": 240,
    }
    assert found.running == 0
    assert found.worker_seconds > 0.05


def test_all_lives_are_added_and_only_the_living_have_a_rate(tmp_path: Path) -> None:
    (tmp_path / "meter-a-1.jsonl").write_text(line(10, 4, 400, 9) + line(10, 6, 600, 5), encoding="utf-8")
    (tmp_path / "meter-a-2.jsonl").write_text(line(5, 5, 100, 2), encoding="utf-8")
    living = read_meters(tmp_path)
    assert (living.workers, living.running, living.waiting) == (2, 7, 2)
    assert (living.tokens_per_second, living.requests_per_second) == (70.0, 1.5)
    later = read_meters(tmp_path, clock=lambda: time.time() + 1000)
    assert (later.workers, later.running, later.tokens_per_second) == (0, 0, 0.0)
    assert later.totals == living.totals
    assert later.totals["completion_tokens"] == 1100
    assert (later.worker_seconds, later.gpu_seconds) == (25.0, 50.0)


def test_the_rate_is_that_of_the_last_minutes(tmp_path: Path) -> None:
    old = line(1000, 0, 0) * 3
    new = line(60, 60, 6000) * 2
    (tmp_path / "meter-a-1.jsonl").write_text(old + new, encoding="utf-8")
    assert read_meters(tmp_path).tokens_per_second == 100.0


def test_the_series_is_the_rate_of_all_workers_over_time(tmp_path: Path) -> None:
    for worker, start in (("a", 1000.0), ("b", 1100.0)):
        lines = [line(10, 1, 500) for _ in range(10)]
        dated = [json.dumps({"at": start + 10 * (n + 1), **json.loads(text)}) + "\n" for n, text in enumerate(lines)]
        (tmp_path / f"meter-{worker}-1.jsonl").write_text("".join(dated), encoding="utf-8")
    series = read_series(tmp_path, points=4)
    assert series == [(0.0, 50.0), (50.0, 50.0), (100.0, 50.0), (150.0, 50.0)]
    assert read_series(tmp_path / "nothing") == []


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "meter-a-1.jsonl").write_text(line(1, 1, 1) + line(1, 1, 1)[:20], encoding="utf-8")
    assert read_meters(tmp_path).totals["answered"] == 1
