"""The circuit breaker of one endpoint: after some failures in a row it is left alone, then tried with one request.

Belongs here: closed, open, half-open. Does not belong here: what counts as a failure, or where requests go instead
(`balancer`).
"""

import random
from dataclasses import dataclass
from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]


@dataclass(frozen=True)
class BreakerOptions:
    """`failures` in a row open the breaker. It stays open for `cool_down` seconds, with jitter, and twice as long each
    time that the probe after it fails, up to `longest`."""

    failures: int = 5
    cool_down: float = 1.0
    longest: float = 30.0


class Breaker:
    """closed -> open after failures in a row -> half-open: one probe -> closed, or open again for longer.

    Requests overlap: what was sent before the state changed says nothing of the state after it. So each request keeps
    the `epoch` it began in, and what it tells in a later epoch is not heard.
    """

    def __init__(self, options: BreakerOptions) -> None:
        self._options = options
        self._failures = 0
        self._trips = 0
        self.state: BreakerState = "closed"
        self.epoch = 0
        self.until = 0.0
        """When an open breaker lets a probe through."""
        self.reachable = True
        """Whether the endpoint took a connection when it was last asked for one."""

    def admits(self, now: float) -> bool:
        return self.state == "closed" or (self.state == "open" and now >= self.until)

    def begin(self) -> int:
        """A request is sent: the epoch it belongs to. One that finds the breaker open is the probe."""
        if self.state == "open":
            self._turn("half-open")
        return self.epoch

    def succeed(self, epoch: int) -> None:
        if epoch != self.epoch:
            return
        self._failures, self.reachable = 0, True
        if self.state == "half-open":
            self._trips = 0
            self._turn("closed")

    def fail(self, epoch: int, now: float, *, reachable: bool) -> None:
        """A failure; one that could not even connect opens the breaker at once."""
        if epoch != self.epoch:
            return
        self._failures += 1
        self.reachable = reachable
        if self.state == "half-open" or not reachable or self._failures >= self._options.failures:
            rest = min(self._options.cool_down * 2**self._trips, self._options.longest)
            self.until = now + rest * random.uniform(0.75, 1.25)  # noqa: S311 - jitter only
            self._trips = min(self._trips + 1, 16)
            self._failures = 0
            self._turn("open")

    def forget(self, epoch: int) -> None:
        """A request was given up by who asked: if it was the probe, another may be sent at once."""
        if epoch == self.epoch and self.state == "half-open":
            self._turn("open")

    def _turn(self, state: BreakerState) -> None:
        self.state = state
        self.epoch += 1
