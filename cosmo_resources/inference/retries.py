"""All attempts of one request: where it goes, how long it waits in between, and when it is given up.

Belongs here: the rules of retrying. Does not belong here: one attempt (`transport`), the choice of an endpoint
(`balancer`), or what the answer is worth (`client`).
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cosmo_resources.inference.balancer import Balancer, Call, Sending
from cosmo_resources.inference.endpoints import Endpoint
from cosmo_resources.inference.replies import Reply
from cosmo_resources.inference.transport import Transport, Trouble

LONGEST_BACKOFF = 60.0
"""Seconds that a retry waits at most, where the server does not say."""

NOWHERE = Endpoint("")


@dataclass(frozen=True)
class Outcome:
    """What became of a request: a reply, or why there is none. `attempts` that reached a server; `seconds` and
    `endpoint` of the last of them."""

    status: Literal["ok", "refused", "failed"]
    reply: Reply | None
    error: str | None
    attempts: int
    seconds: float
    endpoint: Endpoint


class Retries:
    """Asks as often as it takes: `attempts` times at most, the waits between them doubling from `backoff` seconds with
    jitter, `timeout` seconds each and `deadline` seconds in all. A request holds no slot while it waits."""

    def __init__(
        self,
        balancer: Balancer,
        transport: Transport,
        *,
        timeout: float,
        attempts: int,
        backoff: float,
        deadline: float | None,
        totals: Counter[str],
    ) -> None:
        self.parked = 0
        """Requests that wait for their next attempt."""
        self._totals = totals
        self._balancer, self._transport = balancer, transport
        self._timeout, self._attempts, self._backoff, self._deadline = timeout, attempts, backoff, deadline

    async def ask(self, body: Mapping[str, Any]) -> Outcome:
        call, error, seconds, endpoint = Call(), "", 0.0, NOWHERE
        deadline = None if self._deadline is None else _Deadline(self._deadline, self._balancer)
        while (sending := await self._slot(call, deadline)) is not None:
            call.attempts += 1
            result = await self._send(sending, body, deadline)
            seconds, endpoint = time.monotonic() - sending.began, sending.target.endpoint
            if isinstance(result, Reply):
                return Outcome("ok", result, None, call.attempts, seconds, endpoint)
            error = result.error
            if result.effect == "unsent":  # that opened the breaker: the next slot is elsewhere, or later
                call.attempts -= 1
                self._totals["retried"] += 1
                continue
            if call.culprit:
                error += " (the server went down under this request while it ran nothing else)"
            if result.final or call.chances_used >= self._attempts:
                return Outcome(result.final or "failed", None, error, call.attempts, seconds, endpoint)
            self._totals["retried"] += 1
            await self._park(call.attempts, deadline, result)
        last = f", the last error was: {error}" if error else ""
        error = f"no answer within the deadline of {self._deadline:g} s{last}"
        return Outcome("failed", None, error, call.attempts, seconds, endpoint)

    async def _slot(self, call: Call, deadline: "_Deadline | None") -> Sending | None:
        """A slot, or None when the deadline has passed before there was one."""
        if deadline is None:
            return await self._balancer.acquire(call)
        while deadline.left() > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(deadline.left(), 0.1)):
                    return await self._balancer.acquire(call)
        return None

    async def _send(self, sending: Sending, body: Mapping[str, Any], deadline: "_Deadline | None") -> Reply | Trouble:
        """One attempt. Its slot is given back, whatever happens."""
        timeout = self._timeout if deadline is None else max(min(self._timeout, deadline.left()), 0.001)
        result: Reply | Trouble = Trouble("", "cancelled")
        try:
            result = await self._transport.post(sending.target.endpoint.url, body, timeout)
        finally:
            if isinstance(result, Trouble):
                self._balancer.release(sending, result.effect, result.error, result.rest)
            else:
                self._balancer.release(sending, "answered")
        return result

    async def _park(self, attempts: int, deadline: "_Deadline | None", trouble: Trouble) -> None:
        """Wait for the next attempt: longer from attempt to attempt, or as the server asks. Where that is a rest for
        the server, the request need not wait it out: another endpoint may take it."""
        usual = min(self._backoff * 2 ** (attempts - 1), LONGEST_BACKOFF)
        wait = usual * random.uniform(0.5, 1.5)  # noqa: S311 - jitter only
        if trouble.rest is not None:
            wait = min(wait, trouble.rest)
        elif trouble.wait is not None:
            wait = trouble.wait * random.uniform(1.0, 1.25)  # noqa: S311 - so that they do not come back all at once
        self.parked += 1
        try:
            await asyncio.sleep(wait if deadline is None else min(wait, max(deadline.left(), 0.0)))
        finally:
            self.parked -= 1


class _Deadline:
    """The seconds that one request has left; they stand still while no endpoint is live or takes connections."""

    def __init__(self, seconds: float, balancer: Balancer) -> None:
        self._balancer = balancer
        self._ends = seconds + time.monotonic() - balancer.cut_off()

    def left(self) -> float:
        return self._ends - (time.monotonic() - self._balancer.cut_off())
