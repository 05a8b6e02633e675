"""Endpoints: the addresses that can be asked at this moment.

Belongs here: what an endpoint is, and lists of them that do not change. Does not belong here: endpoints that come and
go (`leases`), or which of them gets the next request (`balancer`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cosmo_resources.errors import CosmoError


@dataclass(frozen=True)
class Endpoint:
    """One server: `url` is its base and ends in /v1; `engine` is recorded with each of its answers; `node` and `job`
    say where it runs, for people; `gpus` is how many devices it holds."""

    url: str
    engine: str = ""
    node: str = ""
    job: str = ""
    gpus: int = 0


class Endpoints(Protocol):
    """Servers of one model, equal to each other."""

    def live(self) -> Sequence[Endpoint]:
        """Those that take requests now. Cheap: it is called about once a second, from a thread of its own."""
        ...


class FixedEndpoints:
    """Endpoints named once and for all.

    Raises:
        CosmoError: there is none.
    """

    def __init__(self, urls: Sequence[str], engine: str = "") -> None:
        if not urls:
            raise CosmoError("no inference endpoint", remedy="set COSMO_ENDPOINTS or use the embedded server")
        self._live = [Endpoint(url.rstrip("/"), engine) for url in urls]

    def live(self) -> Sequence[Endpoint]:
        return self._live
