"""Servers that answer OpenAI-compatible requests: started here from a spec, or run by somebody else.

Belongs here: the one protocol that pools and resources know, and what implements it. Does not belong here: requests
(`client`), what a server is (`server_spec`), how its process lives (`server_process`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cosmo_resources.inference.server_process import ModelServer
from cosmo_resources.inference.server_spec import ServerSpec


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


class EmbeddedServer(ModelServer):
    """The small model that comes as a package, served by a child process of this one, and restarted when it crashes."""

    def __init__(self, model: str, folder: Path, *, max_num_seqs: int = 64, ready_within: float = 180.0) -> None:
        spec = ServerSpec(
            engine="embedded",
            model=model,
            served_name=model,
            arguments={"max-num-seqs": max_num_seqs},
            ready_within=ready_within,
        )
        super().__init__(spec, folder / f"embedded-{os.getpid()}", kept=True)


def make_server(
    spec: ServerSpec, folder: Path, *, host: str = "127.0.0.1", devices: Sequence[str] = (), kept: bool = False
) -> ModelServer:
    """The server of a spec, not yet started. See `ModelServer`."""
    return ModelServer(spec, folder, host=host, devices=devices, kept=kept)
