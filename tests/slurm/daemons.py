"""Processes that outlive the call that started them, each known by a file that holds its pid and its start time.

Belongs here: starting, finding and killing them, whoever started them. Does not belong here: what any of them does.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


class Daemons:
    """The daemons of one folder: `<name>.pid` beside `<name>.log`.

    A pid file holds the start time too, so that a file left by a killed run never names somebody else's process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start a program that stays in the foreground, in a session of its own."""
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                cwd=self._folder,  # where it would leave a memory dump
                start_new_session=True,
            )
        self._children[name] = child
        self._pid_file(name).write_text(f"{child.pid} {_started(child.pid)}", encoding="ascii")

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.pid"))

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """The pid of a daemon that lives."""
        try:
            pid, started = self._pid_file(name).read_text(encoding="ascii").split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _started(int(pid)) == started else None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Raises:
        ProcessLookupError: the daemon does not live."""
        pid = self.pid(name)
        if pid is None:
            raise ProcessLookupError(f"{name} does not run; its log is {self.log(name)}")
        os.kill(pid, number)

    def kill(self, *names: str) -> None:
        """Kill daemons and wait until they are gone. Those that do not live are passed over."""
        kill_all(pid for name in names if (pid := self.pid(name)) is not None)
        for name in names:
            child = self._children.pop(name, None)
            if child is not None:
                child.wait()
            self._pid_file(name).unlink(missing_ok=True)

    def _pid_file(self, name: str) -> Path:
        return self._folder / f"{name}.pid"


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: it did not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes as a power cut does: all stand still before the first dies, so none reports another's death."""
    pids = list(pids)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
    until(lambda: not any(_started(pid) for pid in pids), 10, f"the end of the processes {pids}")


class Hanging:
    """Processes that stand still until they are killed: TERM does not end them, and CONT wakes them for a moment only.

    They are held by descriptors, so that a pid that is given out again is no mistake."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._descriptors: list[int] = []
        for pid in pids:
            with suppress(ProcessLookupError):
                self._descriptors.append(os.pidfd_open(pid))
        self.hold()

    def hold(self) -> bool:
        """Stop those that somebody woke; whether there are any left. To be called several times a second."""
        for descriptor in list(self._descriptors):
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
            except ProcessLookupError:
                self._descriptors.remove(descriptor)
                os.close(descriptor)
        return bool(self._descriptors)


def with_descendants(pids: Collection[int]) -> set[int]:
    """These processes and all that they started, as far as the chain of parents still shows it."""
    parents = {int(entry.name): _parent(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit()}
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def with_environment(*settings: str) -> set[int]:
    """The processes that were started with all of these `NAME=value` settings."""
    wanted = {setting.encode() for setting in settings}
    found = set()
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted <= set(variables):
                found.add(int(entry.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name (which may hold spaces): state, parent, ..."""
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when it is gone or only waits to be reaped."""
    fields = _stat(pid)
    return "" if not fields or fields[0] == "Z" else fields[19]


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0
