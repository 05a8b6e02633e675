"""Meters: what workers measure of their own throughput, as small files beside the ledger, and their sum.

Belongs here: writing a meter, reading all of a job's. Does not belong here: what servers and devices say
(`serving`, `cosmo_resources.inference.metrics`), or showing it.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

INTERVAL_SECONDS = 5.0
WINDOW_SECONDS = 120.0
"""What counts as the last minutes."""
STALE_SECONDS = 30.0
"""A meter whose last line is older belongs to a worker that is gone."""

TOTALS = ("answered", "failed", "refused", "retried", "prompt_tokens", "completion_tokens")
GPU_SECONDS = "gpu_seconds"


class Measured(Protocol):
    """What has statistics: a `CompletionClient`."""

    def stats(self) -> Any: ...


class Meter:
    """Appends a line every few seconds: how long since the line before, how much was done in it, how much is under way,
    and how long how many devices served (`gpus` says how many do now). A line is a difference, so that lines of all
    lives of all workers can simply be added."""

    def __init__(self, folder: Path, client: Measured, gpus: Callable[[], int] = lambda: 0) -> None:
        self._gpus = gpus
        self._path = folder / f"meter-{socket.gethostname()}-{os.getpid()}.jsonl"
        self._client = client
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        before, then = dict.fromkeys(TOTALS, 0), time.monotonic()
        ended = False
        while not ended:
            ended = self._ended.wait(INTERVAL_SECONDS)
            stats, now = self._client.stats(), time.monotonic()
            totals = {name: int(getattr(stats, name)) for name in TOTALS}
            line = {name: totals[name] - before[name] for name in TOTALS}
            under_way = {"running": 0 if ended else stats.running, "waiting": 0 if ended else stats.waiting}
            seconds = round(now - then, 3)
            held = round(seconds * self._gpus(), 3)
            line_text = json.dumps(
                {"at": round(time.time(), 1), "seconds": seconds, GPU_SECONDS: held, **line, **under_way}
            )
            try:
                with self._path.open("a", encoding="utf-8") as stream:
                    stream.write(line_text + "\n")
            except OSError:  # the disk is full: the row log says so, and it matters there
                return
            before, then = totals, now


@dataclass(frozen=True)
class Throughput:
    """All meters of a job. Rates are over the last minutes of the workers that are alive; totals over all lives."""

    totals: Mapping[str, int]
    worker_seconds: float
    gpu_seconds: float
    workers: int
    running: int
    waiting: int
    tokens_per_second: float
    requests_per_second: float


def read_meters(folder: Path, clock: Callable[[], float] = time.time) -> Throughput:
    """The sum of a job's meters; a meter counts as alive while its file was written to lately, by the clock of this
    machine. Cost: reads all meters whole, a line per worker and five seconds."""
    totals = dict.fromkeys(TOTALS, 0)
    seconds = held = tokens = requests = 0.0
    workers = running = waiting = 0
    for path in sorted(folder.glob("meter-*.jsonl")):
        lines = _lines(path)
        for line in lines:
            for name in TOTALS:
                totals[name] += line[name]
            seconds += line["seconds"]
            held += line[GPU_SECONDS]
        if lines and abs(clock() - path.stat().st_mtime) <= STALE_SECONDS:
            recent = _recent(lines)
            span = sum(line["seconds"] for line in recent) or 1.0
            tokens += sum(line["completion_tokens"] for line in recent) / span
            requests += sum(line["answered"] for line in recent) / span
            workers += 1
            running += lines[-1]["running"]
            waiting += lines[-1]["waiting"]
    rates = {"tokens_per_second": round(tokens, 1), "requests_per_second": round(requests, 2)}
    return Throughput(totals, round(seconds, 3), round(held, 3), workers, running, waiting, **rates)


def read_series(folder: Path, points: int = 60) -> list[tuple[float, float]]:
    """Tokens per second of all workers over the time of a job, as (seconds since its first line, rate), in at most
    `points` equal steps; what the clocks of nodes differ by blurs it."""
    lines = [line for path in sorted(folder.glob("meter-*.jsonl")) for line in _lines(path)]
    if not lines:
        return []
    first = min(line["at"] - line["seconds"] for line in lines)
    step = max((max(line["at"] for line in lines) - first) / points, INTERVAL_SECONDS)
    sums: dict[int, float] = {}
    for line in lines:
        number = int(max(line["at"] - line["seconds"] / 2 - first, 0.0) / step)
        sums[number] = sums.get(number, 0.0) + line["completion_tokens"]
    return [(round(number * step, 1), round(sums.get(number, 0.0) / step, 1)) for number in range(max(sums) + 1)]


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(text))
        except ValueError:  # cut by a kill
            continue
    return found


def _recent(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seconds = 0.0
    for index in range(len(lines) - 1, -1, -1):
        seconds += lines[index]["seconds"]
        if seconds >= WINDOW_SECONDS:
            return lines[index:]
    return lines
