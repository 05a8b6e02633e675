"""One model server as a supervised process: start, readiness, warm-up, health, restart, drain, stop.

Belongs here: the life of the process and what is asked of it over HTTP to know its state.
Does not belong here: command lines (`engines`), reading logs (`failures`), ending process trees (`guard`), requests for
text (`client`).
"""

import atexit
import errno
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference import guard, probes
from cosmo_resources.inference.engines import command_of, environment_of
from cosmo_resources.inference.failures import PORT_IN_USE, Diagnosis, diagnose
from cosmo_resources.inference.server_spec import ServerSpec

PORTS = range(10_000, 32_000)
"""Below those that systems hand out for outgoing connections: an engine binds its port seconds after it was found
free."""

PORT_TRIES = 3
POLL_SECONDS = 0.1
WATCH_SECONDS = 1.0
UNHEALTHY_SECONDS = 60.0
"""How long a server that lives may fail to answer before `keep` restarts it. One that says itself that its engine is
dead is restarted at once."""

STOP_SECONDS = 10.0
LOGS_KEPT = 4
TAIL_BYTES = 200_000
QUOTED_LINES = 8
PROBED = re.compile(r'"GET /(?:health|metrics|v1/models) HTTP')
"""What a server logs of being watched; never quoted."""


class ModelServer:
    """A server of `spec` at `url`, which stays the same over restarts. `folder` is its own: log, caches, converted
    model. `host` is what it binds and what clients use: this machine's name or address where they run elsewhere.
    `devices` are the GPUs that it sees. Once ready, a server that is `kept` is watched from a thread of its own, and
    restarted whenever it crashes or hangs, until it is stopped or the restarts are used up; the next `start` raises
    then.

    The process and everything below it end with `stop`, or when this process ends, however it ends. Methods may be
    called from any thread.
    """

    def __init__(
        self,
        spec: ServerSpec,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        devices: Sequence[str] = (),
        kept: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.name: str = spec.engine
        self.folder = folder.absolute()
        self.log = self.folder / "server.log"
        self._host, self._devices, self._kept, self._clock = host, tuple(devices), kept, clock
        self._port = 0
        self._guard: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._was_ready = False
        self._restarts: deque[float] = deque()
        self._stopped = threading.Event()
        self._lock = threading.RLock()

    @property
    def url(self) -> str:
        """The base URL, ending in /v1; empty before the first start."""
        return f"{self._root}/v1" if self._port else ""

    @property
    def pid(self) -> int | None:
        """The guard's process id while there is one."""
        return self._guard.pid if self._guard is not None else None

    @property
    def _root(self) -> str:
        return f"http://{self._host}:{self._port}"

    def start(self) -> Sequence[str]:
        """Start the server unless it runs, wait until it has answered once, and return its URL. One that has crashed
        is restarted, which counts.

        Raises:
            CosmoError: it ended, did not become ready in time, or serves another model. The log is quoted and, where
                its meaning is known, explained.
        """
        with self._lock:
            if self._was_ready:
                if not self.alive():
                    self.restart()
                return [self.url]
            self._stopped = threading.Event()
            for attempt in range(PORT_TRIES):
                self._port = _free_port(self._host)
                try:
                    self._bring_up()
                    break
                except ServerError as failure:
                    taken = failure.diagnosis is not None and failure.diagnosis.kind == PORT_IN_USE
                    # Whoever answers for another model took the port before the engine did, or is this server: then it
                    # does so on another port as well.
                    if attempt == PORT_TRIES - 1 or not (taken or (failure.foreign and attempt == 0)):
                        raise
            self._was_ready = True
            if self._kept:
                name = f"keep-{self.name}"
                threading.Thread(target=self._watch, args=(self._stopped,), name=name, daemon=True).start()
            return [self.url]

    def alive(self) -> bool:
        """Whether the process runs. Cheap; whether it answers is `healthy`."""
        return self._guard is not None and self._guard.poll() is None

    def healthy(self, timeout: float = 5.0) -> bool:
        """Whether the server says within `timeout` seconds that it can serve."""
        return self.alive() and probes.health(self._root, timeout) is probes.Health.GOOD

    def restart(self) -> None:
        """Start anew on the same port, after a crash or a hang.

        Raises:
            CosmoError: too many restarts within the spec's window, or as `start`.
        """
        with self._lock:
            now = self._clock()
            while self._restarts and now - self._restarts[0] > self.spec.restart_window:
                self._restarts.popleft()
            if len(self._restarts) >= self.spec.restarts:
                window = self.spec.restart_window
                failure = self.failure(f"needs another restart after {len(self._restarts)} within {window:g} s")
                self._end()
                raise failure
            self._restarts.append(now)
            self._end()
            self._bring_up()

    def drain(self, grace: float) -> bool:
        """Wait until no request runs or waits, at most `grace` seconds; whether that was seen. New requests are not
        kept away: withdraw the URL first. A server that does not tell how many run is given the whole time."""
        deadline = time.monotonic() + grace
        idle = 0
        while self.alive():
            idle = idle + 1 if probes.running(self._root, timeout=2.0) == 0 else 0
            if idle == 2:  # one reading may fall between a request's arrival and its count
                return True
            if (left := deadline - time.monotonic()) <= 0:
                return False
            time.sleep(min(2 * POLL_SECONDS, left))
        return True

    def stop(self) -> None:
        """End the server and everything below it. Also ends a `start` that another thread is in."""
        self._stopped.set()
        with self._lock:
            self._end()
            self._was_ready = False
            self._restarts.clear()

    def failure(self, what: str, *, foreign: bool = False) -> "ServerError":
        """The error that says `what` happened to the server, with what its log says of it."""
        code = self._guard.poll() if self._guard is not None else None
        text = _tail(self.log)
        diagnosis = diagnose(text, code)
        ended = f" (exit code {code})" if code is not None else ""
        lines = [line for line in text.splitlines() if line.strip() and not PROBED.search(line)][-QUOTED_LINES:]
        if diagnosis is not None and diagnosis.line and diagnosis.line not in lines:
            lines = [diagnosis.line, "...", *lines[2 - QUOTED_LINES :]]
        quoted = "\n  ".join(line[:400] for line in lines)
        brief = f"{what}{ended}" + (f": {diagnosis.cause}" if diagnosis is not None else "")
        return ServerError(
            f"the {self.name} server of {self.spec.model} {brief}; its log {self.log} says:\n  {quoted}",
            remedy=diagnosis.remedy if diagnosis is not None else f"read {self.log}",
            diagnosis=diagnosis,
            brief=brief,
            foreign=foreign,
        )

    def _bring_up(self) -> None:
        """Launch on the chosen port and wait for the first answer. Raises ServerError, with nothing left running."""
        deadline = time.monotonic() + self.spec.ready_within
        self._launch()
        try:
            while not probes.ready(self._root, self.spec.name):
                self._check_start(deadline)
                self._stopped.wait(POLL_SECONDS)
            answer = probes.warm_up(self._root, self.spec.name, max(1.0, deadline - time.monotonic()))
            if answer:
                raise self.failure(f"became ready but did not answer a first request: {answer}")
        except BaseException:
            self._end()
            raise

    def _check_start(self, deadline: float) -> None:
        if self._stopped.is_set():
            raise self.failure("was stopped while it started")
        if not self.alive():
            raise self.failure("ended before it was ready")
        if time.monotonic() > deadline:
            raise self.failure(f"was not ready within {self.spec.ready_within:g} s")
        others = probes.models(self._root)
        if others and self.spec.name not in others:
            raise self.failure(f"serves {', '.join(sorted(others))}, not {self.spec.name}", foreign=True)

    def _launch(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = command_of(self.spec, self.folder, self._host, self._port)
        _rotate(self.log)
        guarding = [sys.executable, "-I", guard.__file__, str(os.getpid()), str(STOP_SECONDS), *command]
        atexit.register(self.stop)
        with self.log.open("wb") as log:
            self._guard = subprocess.Popen(
                guarding,
                env=environment_of(self.spec, self.folder, self._devices),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self) -> None:
        process = self._guard
        if process is None or os.getpid() != self._owner:  # a fork of the owner has no say
            return
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS + 2 * guard.LEAVE_SECONDS + 2.0)
        if process.returncode is None or process.returncode < 0:  # a guard that hangs or was killed: its group is left
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._guard = None
        atexit.unregister(self.stop)

    def _watch(self, stopped: threading.Event) -> None:
        good = time.monotonic()
        while not stopped.wait(WATCH_SECONDS):
            seen = self.pid
            health = probes.health(self._root, 5.0) if self.alive() else probes.Health.DEAD
            if health is probes.Health.GOOD:
                good = time.monotonic()
            elif health is probes.Health.DEAD or time.monotonic() - good > UNHEALTHY_SECONDS:
                with self._lock:
                    if stopped.is_set():
                        return
                    if self.pid != seen:
                        continue  # somebody else has started it anew in the meantime
                    try:
                        self.restart()
                    except CosmoError:
                        if len(self._restarts) >= self.spec.restarts:
                            return
                good = time.monotonic()


class ServerError(CosmoError):
    """A server that did not come up or stay up. `diagnosis` is what its log means, where that is known; `brief` what
    happened, in a line; `foreign`, whether another model answered on its port."""

    def __init__(
        self, message: str, *, remedy: str, diagnosis: Diagnosis | None, brief: str, foreign: bool = False
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.diagnosis = diagnosis
        self.brief = brief
        self.foreign = foreign


def _free_port(host: str) -> int:
    """A port of `PORTS` that nobody listens on now.

    Raises:
        CosmoError: `host` is no address of this machine, or all the ports tried are taken.
    """
    draw = random.SystemRandom()
    for _ in range(200):
        port = draw.choice(PORTS)
        try:
            with socket.create_server((host, port)):
                return port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CosmoError(
                    f"no server can listen on {host}: {error.strerror or error}",
                    remedy="give a name or address of this machine as the host",
                ) from error
    raise CosmoError(f"no port of {host} from {PORTS.start} to {PORTS.stop} is free", remedy="end old servers")


def _rotate(log: Path) -> None:
    """Make way for a new log: the last few keep their content as server.1.log (the newest), server.2.log, ..."""
    for number in range(LOGS_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.stem}.{number}{log.suffix}")
        newer = log.with_name(f"{log.stem}.{number - 1}{log.suffix}") if number > 1 else log
        if newer.is_file():
            newer.replace(older)


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
