"""One attempt over HTTP: a body goes to an endpoint, and comes back as a reply or as the kind of trouble it met.

Belongs here: connections, status codes, and the exceptions of the HTTP library. Does not belong here: what is done
about trouble (`client`), or which endpoint is asked (`balancer`).
"""

import resource
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from cosmo_resources.inference.balancer import Effect
from cosmo_resources.inference.replies import Reply, error_message, read_reply, retry_after

RETRIED_STATUS = frozenset({408, 425, 429})
"""Client errors that a server asks to be tried again; all other 4xx are final."""

SETUP_STATUS = frozenset({401, 402, 403, 404, 405})
"""Client errors about the key, the account, the address or the model's name: they say nothing of the request."""

CONNECT_SECONDS = 10.0
"""How long a node may take to accept a connection."""

KEEP_ALIVE_SECONDS = 3.0
"""How long an idle connection is used again: less than the 5 s after which uvicorn (vLLM, SGLang) closes its own, so
that no request is written to a connection that is being closed."""

KEEP_ALIVE_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""TCP asks whether a node that has said nothing for so many seconds is still there: an answer may take minutes, in
which a node can die without a word and a firewall forget the connection."""

FILES_BESIDE = 512
"""Files that a process has open beside its connections."""


@dataclass(frozen=True)
class Trouble:
    """No reply. `final` is what the request is, where no other attempt could end better; `wait` are the seconds that
    the server asks for; `effect` says what the endpoint is to be thought of."""

    error: str
    effect: Effect
    final: Literal["refused", "failed"] | None = None
    wait: float | None = None

    @property
    def rest(self) -> float | None:
        """How long nobody should ask this endpoint, in seconds."""
        return self.wait if self.effect == "busy" else None


class Transport:
    """A session of connections. `api_key` goes out as a bearer token, and is taken out of what comes back."""

    def __init__(self, timeout: float, api_key: str) -> None:
        self._timeout = timeout
        self._api_key = api_key
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, socket_factory=_socket_kept_alive
            ),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_SECONDS, timeout)),
        )

    async def post(self, base: str, body: Mapping[str, Any], timeout: float | None = None) -> Reply | Trouble:
        """Ask the endpoint at `base` for a completion, chat or plain, within `timeout` seconds instead of the usual."""
        route = "completions" if "prompt" in body else "chat/completions"
        seconds = self._timeout if timeout is None else timeout
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=min(CONNECT_SECONDS, seconds))
        effect: Effect = "failed"
        try:
            async with self._session.post(f"{base}/{route}", json=body, timeout=limit) as reply:
                if reply.status == 200:
                    return read_reply(await reply.json(content_type=None))
                return self._status(reply.status, reply.headers, await reply.text(errors="replace"))
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as problem:
            return Trouble(f"{base}: not a URL: {problem}", "unfit", "failed")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as problem:
            error, effect = f"{base}: {type(problem).__name__}: {problem}", "unsent"
        except TimeoutError:
            error = f"no answer from {base} within {seconds:g} s"
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as problem:
            error, effect = f"{base}: {type(problem).__name__}: {problem}", "reset"
        except aiohttp.ClientError as problem:
            error = f"{base}: {type(problem).__name__}: {problem}"
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
            error = f"{base}: not a chat completion: {type(problem).__name__}: {problem}"
        return Trouble(self._without_key(error), effect)

    async def close(self) -> None:
        await self._session.close()

    def _status(self, status: int, headers: Mapping[str, str], body: str) -> Trouble:
        error = self._without_key(f"HTTP {status}: {error_message(body)}")
        if status in SETUP_STATUS:
            return Trouble(error, "unfit", "failed")
        if 400 <= status < 500 and status not in RETRIED_STATUS:
            return Trouble(error, "answered", "refused")
        wait = retry_after(headers)
        if status == 429 or (status == 503 and wait is not None):
            return Trouble(error, "busy", wait=wait)
        return Trouble(error, "answered" if status in RETRIED_STATUS else "failed", wait=wait)

    def _without_key(self, error: str) -> str:
        return error.replace(self._api_key, "***") if self._api_key else error


def allow_connections(count: int) -> None:
    """Let this process open so many files more than the usual, as far as it may: each connection is one, and the usual
    limit (1,024) is less than an elastic pool takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + FILES_BESIDE if hard == resource.RLIM_INFINITY else min(count + FILES_BESIDE, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # the kernel has a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _socket_kept_alive(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, _, _, _ = address
    made = socket.socket(family, kind, socket.IPPROTO_TCP)
    # Without it each body waits 40 ms for the acknowledgement of its headers; asyncio sets it on its own sockets only.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE_PROBES.items():
        if hasattr(socket, name):  # not every system has all of them
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
