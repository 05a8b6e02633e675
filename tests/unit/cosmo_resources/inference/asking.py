"""Requests and clients for tests, and addresses where nobody listens."""

import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from cosmo_resources.inference.client import Answer, ClientOptions, CompletionClient, Request
from cosmo_resources.inference.endpoints import Endpoint
from tests.doubles.replay_server import Fault, ReplayServer

QUICK = 0.005


def request(key: str, text: str | None = None, **more: Any) -> Request:
    return Request(key, {"messages": [{"role": "user", "content": text or key}], **more})


def requests(count: int) -> list[Request]:
    return [request(str(number)) for number in range(count)]


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"])


def client(*servers: ReplayServer, **options: Any) -> CompletionClient:
    chosen = ClientOptions(**{"backoff": QUICK, "timeout": 20.0, **options})
    return CompletionClient([server.url for server in servers], "replay", chosen)


def ask(asked: Iterable[Request], *servers: ReplayServer, **options: Any) -> list[Answer]:
    return list(client(*servers, **options).answers(asked))


def first_times(times: int, broken: Any) -> Fault:
    """Misbehave the first times that a request is seen."""
    return lambda body, seen: broken() if seen < times else None


def dead_url() -> str:
    """The address of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


class Pool:
    """Endpoints that a test changes while they are asked. `looked` counts how often they were looked up."""

    def __init__(self, *urls: str) -> None:
        self.urls = list(urls)
        self.looked = 0

    def live(self) -> list[Endpoint]:
        self.looked += 1
        return [Endpoint(url, "pool engine") for url in self.urls]


def pool_client(pool: Pool, **options: Any) -> CompletionClient:
    return CompletionClient(pool, "replay", ClientOptions(**{"backoff": QUICK, "timeout": 20.0, **options}))


def wait_until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
