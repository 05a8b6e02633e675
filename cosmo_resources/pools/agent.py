"""The program of one server of a service pool: a server, its lease, and the manners to leave in time.

Belongs here: one server's life inside its Slurm job, without Dagster. Does not belong here: how many servers there are
(`reconcile`), or who asks them.

Usage: python -m cosmo_resources.pools.agent FOLDER, in a Slurm job; the pool's folder holds `service.json`.
"""

import argparse
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.leases import Lease, LeaseState, write_lease
from cosmo_resources.inference.server_process import ModelServer
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.pools.demand import DemandReader
from cosmo_resources.pools.serving import (
    LAST_SCRAPE_SECONDS,
    Notice,
    SlurmPlace,
    UsageKeeper,
    place,
    requeue,
    start_servers,
    stop_servers,
)
from cosmo_resources.storage.files import replace_text
from cosmo_resources.storage.manifest import Frozen

SPEC_NAME = "service.json"
LEASES, DEMANDS, FAILURES, USAGE = "leases", "demands", "failures", "usage"
POLL_SECONDS = 1.0
SICK_LOOKS = 10
"""Looks at a living server in a row that it does not answer, after which it is started again: it hangs."""


class ServiceSpec(Frozen):
    """What every server of a pool is. A lease not renewed for `ttl` seconds is void; a server that nobody has wanted
    for `idle_seconds` ends; one that is told to go has `grace_seconds` for what it is answering. `host` is what servers
    listen on and are reached at; empty takes the node's address."""

    server: ServerSpec
    ttl: float = 15.0
    idle_seconds: float = 600.0
    grace_seconds: float = 60.0
    host: str = ""


UNKNOWN_NODE = "unknown"
"""The node of a failure that Slurm tells without it."""


class Failure(Frozen):
    """A server that did not live: on which node, and its error with the end of its log."""

    job: str
    node: str
    error: str
    remedy: str


class LeaseKeeper(threading.Thread):
    """Renews a lease several times in its `ttl`, whatever the main thread waits for. While the disk takes no file the
    lease lapses; as soon as it does again, it is renewed."""

    def __init__(self, folder: Path, lease: Lease) -> None:
        super().__init__(daemon=True)
        self._folder, self._lease = folder, lease
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._forget_earlier_lives()

    def run(self) -> None:
        while not self._ended.wait(self._lease.ttl / 5):
            self._renew()

    def state(self, state: LeaseState, url: str = "") -> None:
        """Publish another state at once."""
        self._renew(state=state, url=url or self._lease.url)

    def close(self) -> None:
        """Take the lease back."""
        self._ended.set()
        with self._lock:
            self._path(self._lease.restart).unlink(missing_ok=True)

    def _renew(self, **changes: str) -> None:
        with self._lock:
            if self._ended.is_set() and not changes:
                return
            self._lease = self._lease.model_copy(update={**changes, "beat": self._lease.beat + 1})
            with suppress(OSError):
                write_lease(self._folder, self._lease)

    def _forget_earlier_lives(self) -> None:
        for restart in range(self._lease.restart):
            self._path(restart).unlink(missing_ok=True)

    def _path(self, restart: int) -> Path:
        return self._folder / f"{self._lease.job}.{restart}.json"


def run_agent(folder: Path, spec: ServiceSpec) -> int:
    """Serve until nobody wants it or Slurm says to go; then 0.

    Raises:
        CosmoError: the server does not come up, or dies too often. It is recorded for the pool.
    """
    notice, where = Notice(), place(os.environ)
    usage = UsageKeeper(folder / USAGE, where, spec.server.gpus)
    usage.start()
    lease = LeaseKeeper(folder / LEASES, _lease(where, spec))
    lease.state("starting")
    lease.start()
    servers: list[ModelServer] = []
    try:
        servers = start_servers(spec.server, 1, folder / "servers" / where.name, spec.host or _address())
        lease.state("ready", servers[0].url)
        usage.watch([servers[0].url])
        _clear_failures(folder, where.node)
        wanted = _serve(folder, spec, servers[0], lease, notice)
        lease.state("draining")
        servers[0].drain(spec.grace_seconds)
    except CosmoError as error:
        record_failure(
            folder, where.name, Failure(job=where.job, node=where.node, error=error.message, remedy=error.remedy)
        )
        raise
    finally:
        lease.close()
        usage.look(LAST_SCRAPE_SECONDS)
        stop_servers(servers)
        usage.close()
    if notice.comes_back and wanted:
        requeue(where)
    return 0


def _serve(folder: Path, spec: ServiceSpec, server: ModelServer, lease: LeaseKeeper, notice: Notice) -> bool:
    """Watch the server until it is to go. A dead or hanging one is started again, out of the clients' sight.

    Returns: whether somebody was seen to want it. What a dead client has left looks like a demand for half a minute: a
    server whose lives are short would come back for it for ever.
    """
    demands = DemandReader(folder / DEMANDS)
    wanted, sick = time.monotonic(), 0
    while not notice.wait(POLL_SECONDS):
        sick = 0 if server.healthy(POLL_SECONDS * 5) else sick + 1
        if not server.alive() or sick >= SICK_LOOKS:
            lease.state("starting")
            server.restart()
            lease.state("ready", server.url)
            sick = 0
        if demands.rows() is not None:
            wanted = time.monotonic()
        elif time.monotonic() - wanted > spec.idle_seconds:
            break
    return demands.renewed


def _lease(where: SlurmPlace, spec: ServiceSpec) -> Lease:
    return Lease(
        url="",
        model=spec.server.name,
        engine=spec.server.engine,
        job=where.job,
        restart=where.restart,
        node=where.node,
        gpus=spec.server.gpus,
        state="starting",
        beat=0,
        ttl=spec.ttl,
    )


def _address() -> str:
    """This node's address as other nodes know it."""
    return socket.gethostbyname(socket.gethostname())


def record_failure(folder: Path, life: str, failure: Failure) -> None:
    """Tell whoever reconciles the pool that one life of a server came to nothing."""
    replace_text(folder / FAILURES / f"{failure.node}-{life}.json", failure.model_dump_json() + "\n")


def _clear_failures(folder: Path, node: str) -> None:
    """A server came up here: what failed before is no sign against the node any more."""
    for path in (path for where in (node, UNKNOWN_NODE) for path in (folder / FAILURES).glob(f"{where}-*.json")):
        path.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cosmo_resources.pools.agent", description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        spec = ServiceSpec.model_validate_json((options.folder / SPEC_NAME).read_text(encoding="utf-8"))
        return run_agent(options.folder, spec)
    except CosmoError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
