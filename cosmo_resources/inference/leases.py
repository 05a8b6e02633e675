"""Leases: files by which servers in jobs of their own say that they live, on a file system that all nodes share.

Belongs here: writing, reading and judging lease files. Does not belong here: starting the jobs, or asking the servers
(`client`).
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pydantic

from cosmo_resources.inference.endpoints import Endpoint
from cosmo_resources.storage.manifest import Frozen

LeaseState = Literal["starting", "ready", "draining"]


class Lease(Frozen):
    """What one server says of itself. `beat` grows each time that the lease is written; a server whose beat stands
    still for `ttl` seconds is taken for dead. `restart` counts how often its job was requeued."""

    url: str
    model: str
    engine: str
    job: str
    restart: int
    node: str
    gpus: int
    state: LeaseState
    beat: int
    ttl: float


def write_lease(folder: Path, lease: Lease) -> None:
    """Write or renew a lease: `<folder>/<job>.<restart>.json`, whole or not at all. It is not synced to disk: a lease
    that a crash of the node takes with it is one that nobody should read."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{lease.job}.{lease.restart}.json"
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(lease.model_dump_json(), encoding="utf-8")
    draft.replace(path)


def read_leases(folder: Path) -> list[Lease]:
    """The leases in a folder, by file name; files that cannot be read, or are no leases, are passed over."""
    leases = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            leases.append(Lease.model_validate_json(path.read_bytes()))
        except (OSError, pydantic.ValidationError):  # withdrawn between the look and the read, or half written
            continue
    return leases


class LeaseWatch:
    """The leases in a folder, and whether their beat goes on; of one job only the latest restart counts.

    Only this reader's own monotonic clock is used: no time that another node wrote is compared with it, so a clock
    that jumps, here or there, neither kills a server nor keeps a dead one. At first sight a lease counts as alive.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._beats: dict[tuple[str, int], tuple[int, float]] = {}  # (job, restart): (beat, when it was first seen)

    def look(self) -> tuple[list[Lease], list[Lease]]:
        """Those that live, and those that stood still for more than their `ttl`."""
        now = self._clock()
        latest: dict[str, Lease] = {}
        for lease in read_leases(self._folder):
            if lease.job not in latest or latest[lease.job].restart < lease.restart:
                latest[lease.job] = lease
        beats: dict[tuple[str, int], tuple[int, float]] = {}
        fresh: list[Lease] = []
        overdue: list[Lease] = []
        for lease in latest.values():
            beat, since = self._beats.get((lease.job, lease.restart), (None, now))
            since = now if beat != lease.beat else since
            beats[lease.job, lease.restart] = (lease.beat, since)
            (fresh if now - since <= lease.ttl else overdue).append(lease)
        self._beats = beats
        return fresh, overdue


class LeasedEndpoints:
    """The endpoints whose leases say `ready` and whose beat goes on (see `LeaseWatch`)."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._watch = LeaseWatch(folder, clock)

    def live(self) -> Sequence[Endpoint]:
        """See `Endpoints.live`."""
        fresh, _ = self._watch.look()
        return [
            Endpoint(lease.url, lease.engine, lease.node, lease.job, lease.gpus)
            for lease in fresh
            if lease.state == "ready"
        ]
