"""Processes as the system lists them: what is below one, and whether one still runs."""

import subprocess
from pathlib import Path


def exists(pid: int) -> bool:
    """Whether a process runs; one that ended and is not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def below(pid: int) -> list[int]:
    """All processes below one, itself first."""
    out = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in out.splitlines()[1:]]
    found = [pid]
    for parent in found:
        found += [child for child, of in pairs if of == parent]
    return found
