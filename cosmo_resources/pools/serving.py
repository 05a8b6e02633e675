"""Servers inside a Slurm job: started on the job's devices, restarted when they die, drained when the job is told to
go.

Belongs here: what a task of a batch and a server of a service have in common. Does not belong here: the server's own
process (`cosmo_resources.inference.servers`), or submitting (`batch`, `service`).
"""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.metrics import COUNTERS, scrape
from cosmo_resources.inference.server_process import ModelServer
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.storage.files import write_text
from cosmo_resources.storage.manifest import Frozen

RECORD_SECONDS = 5.0
POWER_SECONDS = 10.0
SCRAPE_SECONDS = 5.0
LAST_SCRAPE_SECONDS = 2.0
"""Of the last one, before servers are stopped: a job that is told to go has little time."""


class SlurmPlace(Frozen):
    """Where in Slurm this process runs, from its environment."""

    job: str
    restart: int
    node: str
    requeue: str
    """What `scontrol requeue` takes: a task of an array has a number of its own."""

    @property
    def name(self) -> str:
        return f"{self.job}.{self.restart}"


def place(environment: Mapping[str, str]) -> SlurmPlace:
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job = environment.get("SLURM_JOB_ID", f"pid{os.getpid()}")
    return SlurmPlace(
        job=f"{array}_{task}" if array else job,
        restart=int(environment.get("SLURM_RESTART_COUNT", "0")),
        node=environment.get("SLURMD_NODENAME") or socket.gethostname(),
        requeue=job,
    )


class Notice:
    """The signals by which a job is told to go. USR1: its time is nearly up, or it is preempted with notice; it comes
    back. TERM: it is cancelled, or preempted without notice, and Slurm puts it back itself."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._given = threading.Event()
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._give)

    @property
    def given(self) -> bool:
        return self._given.is_set()

    @property
    def comes_back(self) -> bool:
        return self.signal is signal.SIGUSR1

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, at most so long; whether there was one."""
        return self._given.wait(seconds)

    def _give(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)
        self._given.set()


def requeue(where: SlurmPlace) -> None:
    """Put this job back into the queue. Harmless where Slurm does so itself; it ends this process soon after."""
    subprocess.run(["scontrol", "requeue", where.requeue], check=False, stdin=subprocess.DEVNULL)


def start_servers(spec: ServerSpec, count: int, folder: Path, host: str, *, kept: bool = False) -> list[ModelServer]:
    """Start `count` equal servers at once, each with its share of the job's devices.

    Raises:
        CosmoError: one of them does not come up; the others are stopped.
    """
    shares = device_shares(os.environ.get("CUDA_VISIBLE_DEVICES", ""), count, spec.gpus)
    servers = [
        ModelServer(spec, folder / f"server-{index}", host=host, devices=share, kept=kept)
        for index, share in enumerate(shares)
    ]
    try:
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(ModelServer.start, servers))
    except BaseException:
        stop_servers(servers)
        raise
    return servers


def stop_servers(servers: Sequence[ModelServer]) -> None:
    with ThreadPoolExecutor(max(len(servers), 1)) as threads:
        list(threads.map(ModelServer.stop, servers))


def device_shares(visible: str, count: int, gpus: int) -> list[list[str]]:
    """Each of `count` servers' own `gpus` of the visible devices; where Slurm names none, there is nothing to share."""
    devices = [device for device in visible.split(",") if device]
    return [devices[index * gpus : (index + 1) * gpus] for index in range(count)]


class UsageRecord(Frozen):
    """How long some devices were held by one life of a job, and what they drew. `joules` is null where no device says.
    `metrics` is what the servers said of themselves, added up (see `cosmo_resources.inference.metrics`): of counters
    what they grew by in this life, of all else the last figure."""

    job: str
    restart: int
    node: str
    device: str
    gpus: int
    seconds: float
    joules: float | None
    metrics: Mapping[str, float] = {}


class UsageKeeper(threading.Thread):
    """Writes a `UsageRecord` into `folder` every few seconds, so that a kill loses no more than those.

    Seconds are those of the monotonic clock: a clock that jumps changes nothing."""

    def __init__(self, folder: Path, where: SlurmPlace, gpus: int) -> None:
        super().__init__(daemon=True)
        self._path = folder / f"usage-{where.name}.json"
        self._where, self._gpus = where, gpus
        self._since = time.monotonic()
        self._ended = threading.Event()
        self._said: dict[str, dict[str, float]] = {}
        self._grown = dict.fromkeys(COUNTERS, 0.0)
        self._lock = threading.Lock()
        self._device = _ask_device("name") if gpus else ""
        self._joules: float | None = None

    def run(self) -> None:
        measured = time.monotonic()
        while True:
            last = self._ended.wait(RECORD_SECONDS)
            now = time.monotonic()
            if self._gpus and (last or now - measured >= POWER_SECONDS):
                watts = _ask_device("power.draw")
                if watts:
                    drawn = sum(float(part) for part in watts.splitlines()) * (now - measured)
                    self._joules = (self._joules or 0.0) + drawn
                measured = now
            self._write()
            if last:
                return

    def watch(self, endpoints: Sequence[str]) -> None:
        """Ask these servers for their metrics from now on. What they did before is not counted: a server may serve
        many jobs, and the answer to a warm-up is nobody's."""
        with self._lock:
            self._said = _ask_servers(endpoints, SCRAPE_SECONDS)

    def look(self, timeout: float = SCRAPE_SECONDS) -> None:
        """Ask them now, and each at most `timeout` seconds; before they are stopped, for the last time."""
        with self._lock:
            for endpoint, said in _ask_servers(list(self._said), timeout).items():
                before = self._said[endpoint]
                for name in COUNTERS & said.keys() & before.keys():
                    grown = said[name] - before[name]
                    self._grown[name] += grown if grown >= 0 else said[name]  # it was started anew
                self._said[endpoint] = said or before  # one that is gone keeps what it said last

    def close(self) -> None:
        """Write the last record."""
        self._ended.set()
        self.join(timeout=30)

    def _write(self) -> None:
        self.look()
        said = list(self._said.values())
        now = {name: sum(one.get(name, 0.0) for one in said) for name in set().union(*said)}
        record = UsageRecord(
            job=self._where.job,
            restart=self._where.restart,
            node=self._where.node,
            device=self._device.splitlines()[0] if self._device else "",
            gpus=self._gpus,
            seconds=round(time.monotonic() - self._since, 3),
            joules=self._joules,
            metrics={**now, **{name: self._grown[name] for name in COUNTERS & now.keys()}},
        )
        with suppress(CosmoError):  # the disk is full: the row log says so, and it matters there
            write_text(self._path, record.model_dump_json() + "\n")


@contextmanager
def usage(folder: Path, gpus: int, endpoints: Sequence[str]) -> Iterator[None]:
    """Record the use of servers while the block runs: all that they do in this time, for whomever."""
    where = SlurmPlace(
        job=f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}", restart=0, node=socket.gethostname(), requeue=""
    )
    keeper = UsageKeeper(folder, where, gpus)
    keeper.watch(endpoints)
    keeper.start()
    try:
        yield
    finally:
        keeper.close()


def usage_records(folder: Path) -> list[UsageRecord]:
    """All records in a folder, of all lives of all jobs that worked for it."""
    return [
        UsageRecord.model_validate_json(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("usage-*.json"))
    ]


def _ask_servers(endpoints: Sequence[str], timeout: float) -> dict[str, dict[str, float]]:
    """What each of them says, at the same time: one that hangs holds up nobody."""
    with ThreadPoolExecutor(max(len(endpoints), 1)) as threads:
        return dict(zip(endpoints, threads.map(lambda endpoint: scrape(endpoint, timeout), endpoints), strict=True))


def _ask_device(field: str) -> str:
    """What nvidia-smi says of the visible devices, a line each; nothing, where it is not there or does not know."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        command += ["--id", visible]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (subprocess.SubprocessError, OSError):
        return ""
    return "" if "N/A" in found or "Not Supported" in found else found
