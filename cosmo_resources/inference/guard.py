"""The guard of a server: a small program between a supervisor and a command, which leaves nothing of it behind.

Belongs here: starting one command, passing on its end, ending its whole tree of processes when asked or when the
supervisor is gone. Does not belong here: anything about models or HTTP, and any import beyond the standard library:
it is run by its path, isolated, so that it starts in a few milliseconds and in any environment.

Engines start children of their own, and an engine that is killed leaves them behind, with their memory. The guard
makes itself the one to whom orphans below it fall (Linux's child subreaper), so that it ends them all, whichever
process group or session they chose. A parent-death signal alone would not do: it comes when the *thread* that started
the process ends, and reaches no grandchild. The guard polls its parent instead, and only its own child, which its
only thread starts, has that signal, for the case that the guard itself is killed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

POLL_SECONDS = 0.2
LEAVE_SECONDS = 1.0
"""What is left of the tree when the command has ended may take this long to end by itself: Python's resource tracker
removes shared memory then."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None, use_errno=True) if LINUX else None


def prctl(option: int, value: int) -> None:
    if LIBC is not None:
        LIBC.prctl(option, value, 0, 0, 0)


def guard(parent: int, grace: float, command: list[str]) -> int:
    """Run `command` until it ends, this process is told to end, or `parent` is gone. Then nothing below this process
    is left. Returns the command's exit code, 128 + n where signal n ended it, as shells do."""
    told = False

    def tell(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, tell)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = subprocess.Popen(command, preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    except OSError as error:
        print(f"guard: {command[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)
        return 127
    while not told and not ended(child):
        if os.getppid() != parent:
            print(
                f"guard: the process {parent} that wanted this server is gone: ending it", file=sys.stderr, flush=True
            )
            break
        time.sleep(POLL_SECONDS)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            print(f"guard: killed after {grace:g} s of patience", file=sys.stderr, flush=True)
            child.kill()
            child.wait()
    sweep()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def ended(child: "subprocess.Popen[bytes]") -> bool:
    """Whether the child has ended. Orphans that fell to this process and died meanwhile are waited for."""
    if LINUX:
        everything = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (dead := os.waitid(os.P_ALL, 0, everything)) is not None and dead.si_pid != child.pid:
            os.waitpid(dead.si_pid, 0)
    return child.poll() is not None


def sweep() -> None:
    """Kill what is left below this process. Those whose parent is killed fall to this process and are next."""
    if not LINUX:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)  # no subreaper there: the process group is all that is known
        return
    deadline = time.monotonic() + LEAVE_SECONDS
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return  # nothing is left
        if time.monotonic() > deadline:
            for pid in children():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.02)


def children() -> list[int]:
    """The processes whose parent is this one. Empty where there is no /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


if __name__ == "__main__":
    raise SystemExit(guard(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
