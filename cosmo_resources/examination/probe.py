"""The program of a probe: what a compute node has and sees, told through the data root to whoever examines the cluster.

Belongs here: looking, inside a Slurm job, with the standard library alone: an environment that lacks packages must
still be able to say so. Does not belong here: what is good or bad about it (`verdicts`), or submitting it
(`cluster`).

Usage: python -m cosmo_resources.examination.probe FOLDER, in a task of a Slurm array; the folder holds `probe.json`.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

SPEC_NAME, END_NAME, EXAMINER = "probe.json", "end", "examiner"
PACKAGES = ("cosmo_assets", "cosmo_resources")
NO_FOLDER, NOT_WRITABLE = 66, 73
"""Exit codes (EX_NOINPUT, EX_CANTCREAT) of a probe that cannot tell anything."""

BEAT_SECONDS = 0.2
FORSAKEN_SECONDS = 120.0
"""A probe whose examiner has not renewed its beat for so long ends by itself."""

IMPORT_SECONDS = 180.0
PADDING = "." * 16_384
"""Makes a beat long enough to be seen half-written, where renaming is not atomic."""


class Probe:
    """One life of one task. It renews a beat until the examiner says that it may end; at USR1 it puts its job back into
    the queue, as tasks and agents do."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.task = int(environment.get("SLURM_ARRAY_TASK_ID", "0"))
        self.restart = int(environment.get("SLURM_RESTART_COUNT", "0"))
        self.job = environment.get("SLURM_JOB_ID", "")
        self.node = environment.get("SLURMD_NODENAME") or socket.gethostname()
        self.told: dict[str, Any] = {"notice": "", "requeue": None}
        self._noticed = threading.Event()
        signal.signal(signal.SIGUSR1, self._notice)

    def run(self) -> None:
        """Raises:
        OSError: the folder is not there, or cannot be written to."""
        spec = json.loads((self.folder / SPEC_NAME).read_text(encoding="utf-8"))
        with (self.folder / f"lock-{self.task}").open("w", encoding="utf-8") as stream:
            locked = lock(stream.fileno())
            self._beat(0)
            threading.Thread(target=self._beats, daemon=True).start()
            report = {"task": self.task, "restart": self.restart, "node": self.node, "locked": locked}
            if not self.restart:
                report |= self.report(spec)
            replace(self.folder / f"report-{self.task}.{self.restart}.json", json.dumps(report))
            self._wait()

    def report(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What this node has and sees."""
        others = [EXAMINER, *(str(task) for task in range(self.task))]
        return {
            "python": ".".join(map(str, sys.version_info[:3])),
            "project": project_version(),
            "code": code_digest(),
            "worker": imports(sys.executable, spec["modules"], os.environ, without=["dagster"]),
            "server": server(spec["server"], self.folder),
            "model_there": Path(spec["model"]).exists() if Path(spec["model"]).is_absolute() else None,
            "devices": [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device],
            "gpus": gpu_names(),
            "locks": {other: lock_state(self.folder / f"lock-{other}") for other in others},
            "scontrol": shutil.which("scontrol") or "",
            **serve(spec["host"], spec["token"]),
        }

    def _wait(self) -> None:
        """Stay until the examiner has seen enough, or is gone."""
        seen, since = "", time.monotonic()
        while not (self.folder / END_NAME).exists():
            if self._noticed.wait(BEAT_SECONDS):
                self._requeue()
            beat = _read(self.folder / EXAMINER)
            if beat != seen:
                seen, since = beat, time.monotonic()
            elif time.monotonic() - since > FORSAKEN_SECONDS:
                return

    def _notice(self, number: int, _: FrameType | None) -> None:
        self.told["notice"] = signal.Signals(number).name
        self._noticed.set()

    def _requeue(self) -> None:
        self._noticed.clear()
        time.sleep(3 * BEAT_SECONDS)  # a beat tells of the notice before the job is gone
        try:
            done = subprocess.run(
                ["scontrol", "requeue", self.job], capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            said = (done.stderr or done.stdout).strip()
            self.told["requeue"] = "" if done.returncode == 0 else said or f"exit code {done.returncode}"
        except OSError as error:
            self.told["requeue"] = f"scontrol cannot be run: {error.strerror}"

    def _beats(self) -> None:
        number = 0
        while True:
            time.sleep(BEAT_SECONDS)
            number += 1
            self._beat(number)

    def _beat(self, number: int) -> None:
        beat = {"beat": number, "restart": self.restart, "node": self.node, "time": time.time(), **self.told}
        replace(self.folder / f"beat-{self.task}.json", json.dumps({**beat, "padding": PADDING, "whole": True}))


def replace(path: Path, text: str) -> None:
    """Write a file under another name and rename it, as leases and demands are written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def project_version() -> str:
    """The installed version of the project; empty where it runs from a folder of sources."""
    try:
        return importlib.metadata.version("cosmo")
    except importlib.metadata.PackageNotFoundError:
        return ""


def code_digest() -> str:
    """Digest of the project's Python files, as this interpreter imports them."""
    found = hashlib.blake2b(digest_size=8)
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in spec.submodule_search_locations or () if spec is not None else ():
            for path in sorted(Path(place).rglob("*.py")):
                found.update(f"{package}/{path.relative_to(place)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def imports(
    python: str, modules: Sequence[str], environment: Mapping[str, str], *, without: Sequence[str] = ()
) -> dict[str, Any]:
    """Import modules in a process of their own, as if those in `without` were not installed: `error` (empty when it
    worked), `version` of the last module, `seconds`."""
    hidden = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    program = f"import sys; {hidden}import {', '.join(modules)}; "
    program += f"print(getattr(sys.modules[{modules[-1]!r}], '__version__', ''))"
    started = time.monotonic()
    try:
        done = subprocess.run(
            [python, "-c", program],
            env=dict(environment),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=IMPORT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not imported within {IMPORT_SECONDS:g} s", "version": "", "seconds": IMPORT_SECONDS}
    except OSError as error:
        return {"error": f"{python}: {error.strerror}", "version": "", "seconds": 0.0}
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [""]
    failed = "" if done.returncode == 0 else said[-1] or f"exit code {done.returncode}"
    return {
        "error": failed,
        "version": "" if failed else said[-1],
        "seconds": round(time.monotonic() - started, 1),
    }


def server(fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Whether the server's program is there: its module can be imported by its own interpreter, in the environment that
    the server would get."""
    try:
        from cosmo_resources.inference.engines import environment_of
        from cosmo_resources.inference.server_spec import ServerSpec
    except ImportError as error:
        return {"error": f"not looked at: {error}", "version": "", "seconds": 0.0}
    spec = ServerSpec.model_validate(fields)
    environment = environment_of(spec, folder, [])
    if spec.engine == "command":
        found = shutil.which(spec.command[0], path=environment.get("PATH"))
        return {"error": "" if found else f"{spec.command[0]} is not there", "version": "", "seconds": 0.0}
    module = {"vllm": "vllm", "embedded": "cosmo_resources.inference.embedded_server"}[spec.engine]
    return imports(spec.python or sys.executable, [module], environment)


def gpu_names() -> list[str] | None:
    """The GPUs that nvidia-smi sees; None where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split("\n")[:-1]
    except (OSError, subprocess.SubprocessError):
        return []


def lock_state(path: Path) -> str:
    """Whether somebody holds the lock at `path`: `held`, `free`, or the system's word for why there is no lock."""
    try:
        with path.open("r+", encoding="utf-8") as stream:
            return {"held": "free", "taken": "held"}.get(said := lock(stream.fileno()), said)
    except OSError as error:
        return error.strerror or str(error)


def lock(descriptor: int) -> str:
    """Lock an open file: `held`, `taken` by another, or the system's word for why there is no lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError as error:  # a file system without locks
        return error.strerror or str(error)
    return "held"


def serve(host: str, token: str) -> dict[str, str]:
    """Answer HTTP with `token`, where a server of a service would listen: `url`, or `address_error`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(token)))
            self.end_headers()
            self.wfile.write(token.encode())

        def log_message(self, *_: object) -> None:
            return

    try:
        address = host or socket.gethostbyname(socket.gethostname())
        listening = ThreadingHTTPServer((address, 0), Handler)
    except OSError as error:
        return {"url": "", "address_error": f"{host or socket.gethostname()}: {error.strerror or error}"}
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    return {"url": f"http://{address}:{listening.server_address[1]}/", "address_error": ""}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def main(arguments: Sequence[str]) -> int:
    folder = Path(arguments[0])
    if not (folder / SPEC_NAME).is_file():
        print(f"{folder / SPEC_NAME} is not there")
        return NO_FOLDER
    try:
        Probe(folder, os.environ).run()
    except OSError as error:
        print(f"{error.filename}: {error.strerror}")
        return NOT_WRITABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
