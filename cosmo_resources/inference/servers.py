"""Servers that answer OpenAI-compatible requests: the embedded one, started on demand, or any that runs elsewhere.

Belongs here: the life of a server (start, readiness, stop). Does not belong here: requests (`client`) or the embedded
server's own program (`embedded_server`).
"""

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cosmo_resources.errors import CosmoError


class Server(Protocol):
    """Something with endpoints. `start` may be called again and returns the same endpoints while they live."""

    name: str

    def start(self) -> Sequence[str]: ...

    def stop(self) -> None: ...


class RemoteServer:
    """Endpoints that somebody else runs, without a key: vLLM, llama.cpp, TGI, SGLang. Base URLs end in /v1."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self.name = "remote"
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]

    def start(self) -> Sequence[str]:
        return self._endpoints

    def stop(self) -> None:
        return None


class EmbeddedServer:
    """The small model that comes as a package, served by a child process of this one. Stopped when this process ends,
    however it ends: the child watches its parent."""

    def __init__(self, model: str, folder: Path, *, max_num_seqs: int = 64, ready_within: float = 180.0) -> None:
        self.name = "embedded"
        self.model = model
        self.log = folder / f"embedded-server-{os.getpid()}.log"
        self._ready = folder / f"embedded-server-{os.getpid()}.json"
        self._max_num_seqs = max_num_seqs
        self._ready_within = ready_within
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    def start(self) -> Sequence[str]:
        """Start the server unless it runs, and wait until it answers.

        Raises:
            CosmoError: it ended or did not become ready; the end of its log is quoted.
        """
        if self._process is not None and self._process.poll() is None:
            return [self._url]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._ready.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "cosmo_resources.inference.embedded_server"),
            *("--model", self.model, "--served-name", self.model, "--port", "0"),
            *("--max-num-seqs", str(self._max_num_seqs)),
            *("--parent", str(os.getpid()), "--ready-file", str(self._ready)),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        atexit.register(self.stop)
        deadline = time.monotonic() + self._ready_within
        while not self._ready.is_file():
            if self._process.poll() is not None:
                raise self._broken(f"ended with exit code {self._process.returncode}")
            if time.monotonic() > deadline:
                self.stop()
                raise self._broken(f"was not ready within {self._ready_within:g} s")
            time.sleep(0.05)
        self._url = str(json.loads(self._ready.read_text(encoding="utf-8"))["url"])
        return [self._url]

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._ready.unlink(missing_ok=True)

    def _broken(self, what: str) -> CosmoError:
        tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        return CosmoError(
            f"the embedded server {what}; its log {self.log} ends with:\n  " + "\n  ".join(tail),
            remedy="run `cosmo doctor`",
        )
