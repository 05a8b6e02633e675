"""Which endpoint gets which request, and when: slots, least load, rests, breakers, and requests that kill servers.

Belongs here: everything between a request that is ready and the permission to send it. Does not belong here: HTTP, what
is retried and how often (`client`).
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.breaker import Breaker, BreakerOptions
from cosmo_resources.inference.endpoints import Endpoint

Effect = Literal["answered", "busy", "unfit", "failed", "reset", "unsent", "cancelled"]
"""What sending came to, as far as the endpoint is concerned: it works; it works and wants no more for now; it is not
set up for what is asked; it gave an error, nonsense, or nothing in time; the connection ended under the request; there
was no connection; nobody waited."""


@dataclass(eq=False, slots=True)
class Crash:
    """The failures of an endpoint at one time, those of requests that were all in flight when the first came. It is
    `fatal` when the server went down with them, and `explained` when it is known which request did it."""

    began: float
    alone: "Call | None"
    fatal: bool = False
    explained: bool = False


@dataclass(eq=False, slots=True)
class Call:
    """One request on its way through its attempts. `attempts` counts those that reached a server; `avoid` is the
    endpoint that failed it last; `crashes` are those it was in."""

    attempts: int = 0
    avoid: str | None = None
    crashes: list[Crash] = field(default_factory=list)
    culprit: bool = False
    sent: float = 0.0

    @property
    def suspect(self) -> bool:
        """Servers went down under it more than once, and no other request is known to have done it."""
        if not self.crashes:
            return False
        return self.culprit or sum(crash.fatal and not crash.explained for crash in self.crashes) > 1

    @property
    def chances_used(self) -> int:
        """Attempts, less those that another request is known to have spoiled."""
        return self.attempts - (0 if self.culprit else sum(crash.explained for crash in self.crashes))


@dataclass(eq=False, slots=True)
class Target:
    """An endpoint and what is known of it. One that is no longer live keeps what is in flight there."""

    endpoint: Endpoint
    breaker: Breaker
    live: bool = True
    running: int = 0
    rests_until: float = 0.0
    crash: Crash | None = None

    def admits(self, now: float) -> bool:
        return self.live and now >= self.rests_until and self.breaker.admits(now)


@dataclass(eq=False, slots=True)
class Sending:
    """The permission to send a call to an endpoint, to be given back with what came of it."""

    target: Target
    call: Call
    epoch: int
    began: float
    alone: bool


class Balancer:
    """Slots of the endpoints that are live, for the requests of one stream.

    A request that went down with its server twice is a suspect. A suspect is sent when nothing else runs on its
    endpoint and nothing else is sent there meanwhile, and there is one at a time: what goes down then went down by it.
    That explains the crashes it was in before, and clears the others that were in them.

    All methods run in the event loop. `wake` is called when there may be room, or `error` was set because for
    `patience` seconds no live endpoint worked.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        per_endpoint: int | None,
        patience: float | None,
        breaker: BreakerOptions,
        wake: Callable[[], None],
    ) -> None:
        self.running = 0
        self.error: CosmoError | None = None
        self.last_error = ""
        self.isolated: Sending | None = None
        """The suspect in flight."""
        self._loop = asyncio.get_running_loop()
        self._concurrency = concurrency
        self._per_endpoint = concurrency if per_endpoint is None else min(per_endpoint, concurrency)
        self._patience = patience
        self._breaker = breaker
        self._wake = wake
        self._targets: dict[str, Target] = {}
        self._queue: dict[Call, asyncio.Future[Sending]] = {}
        self._suspects: dict[Call, asyncio.Future[Sending]] = {}
        self._aside: Target | None = None  # the endpoint that is emptied for a suspect, or has one
        self._works = True
        self._down_since: float | None = None  # that nothing works, and nothing was answered since
        self._patience_ends: asyncio.TimerHandle | None = None
        self._cut_off_since: float | None = None
        self._cut_off_before = 0.0

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._suspects)

    @property
    def works(self) -> bool:
        """Whether an endpoint is live and its breaker closed."""
        return self._works

    def targets(self) -> Iterable[Target]:
        return list(self._targets.values())

    def cut_off(self) -> float:
        """Seconds so far in which no endpoint was live, or none of them took a connection."""
        since = self._cut_off_since
        return self._cut_off_before + (0.0 if since is None else time.monotonic() - since)

    def refresh(self, live: Sequence[Endpoint]) -> None:
        """The endpoints that are live now. What is in flight on others may end; nothing more is sent there."""
        found = {endpoint.url: endpoint for endpoint in live}
        for url, target in list(self._targets.items()):
            target.live = found.get(url) == target.endpoint
            if not target.live:
                self._went_down(target)
                if url in found or not target.running:
                    del self._targets[url]
        for url, endpoint in found.items():
            if url not in self._targets:
                self._targets[url] = Target(endpoint, Breaker(self._breaker))
        self._look()
        self._hand_out()

    def room(self) -> int:
        """How many requests without a history could be sent at once."""
        free, room, now = self._concurrency - self.running, 0, time.monotonic()
        for target in self._targets.values():
            if room >= free:
                break
            if target is not self._aside and target.admits(now):
                room += max(self._per_endpoint - target.running, 0) if target.breaker.state == "closed" else 1
        return max(min(free, room), 0)

    async def acquire(self, call: Call) -> Sending:
        """Wait for an endpoint that takes this request: the least loaded, not the one that failed it last where there
        is another."""
        suspect = call.suspect
        if not suspect and (target := self._place(call, time.monotonic())):
            return self._send(target, call)
        future: asyncio.Future[Sending] = self._loop.create_future()
        (self._suspects if suspect else self._queue)[call] = future
        if suspect:
            self._hand_out()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it was handed out in the same turn of the loop
                self.release(future.result(), "cancelled")
            raise
        finally:
            self._queue.pop(call, None)
            self._suspects.pop(call, None)
            if suspect:
                self._hand_out()

    def release(self, sending: Sending, effect: Effect, error: str = "", rest: float | None = None) -> None:
        """Give a slot back with what came of it. `rest` is how long the endpoint asks to be left alone, in seconds."""
        target, call, now = sending.target, sending.call, time.monotonic()
        breaker, epoch = target.breaker, target.breaker.epoch
        target.running -= 1
        self.running -= 1
        if sending is self.isolated:
            self.isolated = None
        if effect == "unfit":  # alone it cannot be passed over; among others it would get all rows, and fail them fast
            effect = "failed" if len(self._targets) > 1 else "answered"
        if effect == "answered" or effect == "busy":
            target.crash = self._down_since = None
            breaker.succeed(sending.epoch)
            if rest is not None:
                target.rests_until = max(target.rests_until, now + rest)
                self._later(target.rests_until)
        elif effect == "cancelled":
            breaker.forget(sending.epoch)
        else:
            self._setback(sending, effect, now)
            breaker.fail(sending.epoch, now, reachable=effect != "unsent")
        if effect not in ("answered", "cancelled"):
            self.last_error, call.avoid = error, target.endpoint.url
        if breaker.epoch != epoch:
            self._look()
            self._later(breaker.until)
        if not target.live and not target.running and self._targets.get(target.endpoint.url) is target:
            del self._targets[target.endpoint.url]
        if self._queue or self._suspects or self._aside:
            self._hand_out()
        self._wake()

    def close(self) -> None:
        if self._patience_ends:
            self._patience_ends.cancel()

    def _send(self, target: Target, call: Call, *, alone: bool = False) -> Sending:
        target.running += 1
        self.running += 1
        call.sent = time.monotonic()
        return Sending(target, call, target.breaker.begin(), call.sent, alone)

    def _place(self, call: Call, now: float) -> Target | None:
        """The endpoint for a request that is no suspect. The one that failed it last is taken only where no other
        would take it sooner or later."""
        if self.running >= self._concurrency:
            return None
        best: Target | None = None
        others = False
        for target in self._targets.values():
            if target is self._aside or not target.admits(now):
                continue
            others = others or target.endpoint.url != call.avoid
            if target.breaker.state == "closed" and target.running >= self._per_endpoint:
                continue
            if best is None or (target.endpoint.url == call.avoid, target.running) < (
                best.endpoint.url == call.avoid,
                best.running,
            ):
                best = target
        return None if best and best.endpoint.url == call.avoid and others else best

    def _hand_out(self) -> None:
        """Give free slots to those that wait: a suspect first, then the others in order."""
        now = time.monotonic()
        if self.isolated is None:
            self._isolate(now)
        placed = []
        for call, future in self._queue.items():
            if future.done():  # cancelled in this turn of the loop
                continue
            target = self._place(call, now)
            if target is not None:
                placed.append(call)
                future.set_result(self._send(target, call))
            elif call.avoid is None or self.running >= self._concurrency:
                break
        for call in placed:
            del self._queue[call]

    def _isolate(self, now: float) -> None:
        """Choose a suspect and an endpoint for it, and send it as soon as the endpoint is empty. The one that was sent
        last goes first: a server goes down soon after what kills it has come."""
        before, self._aside = self._aside, None
        waiting = [call for call, future in self._suspects.items() if not future.done()]
        usable = [target for target in self._targets.values() if target.admits(now)]
        if not waiting or not usable:
            return
        call = max(waiting, key=lambda call: call.sent)
        self._aside = min(
            usable, key=lambda target: (target.endpoint.url == call.avoid, target is not before, target.running)
        )
        if not self._aside.running and self.running < self._concurrency:
            self.isolated = self._send(self._aside, call, alone=True)
            self._suspects.pop(call).set_result(self.isolated)

    def _setback(self, sending: Sending, effect: Effect, now: float) -> None:
        target, call = sending.target, sending.call
        if effect != "unsent":
            if target.crash is None or sending.began > target.crash.began:
                target.crash = Crash(now, call if sending.alone else None)
            call.crashes.append(target.crash)
        if effect != "failed":
            self._went_down(target)

    def _went_down(self, target: Target) -> None:
        """A server is gone: what it failed last may have been its end. (vLLM answers 500 when its engine dies, and
        only then stops to listen.)"""
        crash, target.crash = target.crash, None if not target.live else target.crash
        if crash is None or crash.fatal:
            return
        crash.fatal = True
        if crash.alone is not None:
            crash.alone.culprit = True
            for earlier in crash.alone.crashes:
                earlier.explained = True
        everybody = {**self._queue, **self._suspects}
        self._suspects = {call: future for call, future in everybody.items() if call.suspect}
        self._queue = {call: future for call, future in everybody.items() if not call.suspect}

    def _look(self) -> None:
        """Take notice of endpoints that began or ceased to work."""
        now, live = time.monotonic(), [target for target in self._targets.values() if target.live]
        self._works = any(target.breaker.state == "closed" for target in live)
        if self._works and self._patience_ends:
            self._patience_ends.cancel()
            self._patience_ends = None
        elif not self._works and not self._patience_ends:
            self._wait_for_any(now)
        reachable = any(target.breaker.reachable for target in live)
        if reachable and self._cut_off_since is not None:
            self._cut_off_before, self._cut_off_since = self.cut_off(), None
        elif not reachable and self._cut_off_since is None:
            self._cut_off_since = now

    def _wait_for_any(self, now: float) -> None:
        """Nothing works: patience began to run when nothing worked first, if nothing was answered since. An endpoint
        that came, and went before it answered anything, is no reason to begin anew."""
        if self._down_since is None:
            self._down_since = now
        if self._patience is not None:
            self._patience_ends = self._loop.call_at(self._down_since + self._patience, self._lose_patience)

    def _lose_patience(self) -> None:
        if self._down_since is None:  # a server that was left alone has answered what it had still in flight
            self._wait_for_any(time.monotonic())
            return
        live = sum(target.live for target in self._targets.values())
        what = f"none of the {live} live endpoints worked" if live else "there was no live endpoint"
        last = f", the last error was: {self.last_error}" if self.last_error else ""
        self.error = CosmoError(
            f"for {self._patience:g} s {what}{last}",
            remedy="check the servers and their logs, then run the command again: answers are kept",
        )
        self._wake()

    def _later(self, moment: float) -> None:
        """Look again for who can be sent at that moment; a little later, as timers may be a little early."""

        def look() -> None:
            self._hand_out()
            self._wake()

        self._loop.call_at(moment + 0.001, look)
