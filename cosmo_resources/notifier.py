"""Notices to people: a line in a file, or a request to a webhook.

Belongs here: delivering a notice, within a time that is bounded whatever the other side does. Does not belong here:
what is worth a notice (`cosmo_assets.operations.sensors`).
"""

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import disk_errors

ATTEMPTS = 3
ATTEMPT_SECONDS = 5.0
PAUSE_SECONDS = 0.5
DEADLINE_SECONDS = ATTEMPTS * (ATTEMPT_SECONDS + PAUSE_SECONDS * ATTEMPTS)
AGAIN = (408, 425, 429, *range(500, 600))
"""Answers after which another attempt may help."""


@dataclass(frozen=True)
class Notice:
    """What people are told: a title, a line for each thing that happened, and the same as facts for programs."""

    title: str
    lines: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "\n".join((self.title, *self.lines))


class Notifier(Protocol):
    """Somewhere to send notices to."""

    def send(self, notice: Notice) -> None:
        """Deliver a notice.

        Raises:
            CosmoError: it was not delivered.
        """
        ...


class FileNotifier:
    """Appends notices to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, notice: Notice) -> None:
        """See `Notifier.send`."""
        line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(notice)}
        with disk_errors(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


class WebhookNotifier:
    """Posts notices as JSON: all of a notice, or only `{"text": ...}`, as Slack and those that speak its JSON take it.

    `url` may be a secret, and `token` is one: neither is ever shown.
    """

    def __init__(self, url: str, *, token: str = "", slack: bool = False) -> None:
        self._url = url
        self._token = token
        self._slack = slack

    def send(self, notice: Notice) -> None:
        """See `Notifier.send`. Takes `DEADLINE_SECONDS` at most: the attempts are made in a thread that is left behind
        when it does not come back, as from a name server that is silent."""
        body = {"text": notice.text} if self._slack else {**asdict(notice), "text": notice.text}
        failure: list[str] = ["no answer in time"]

        def attempt() -> None:
            failure[:] = asyncio.run(self._attempts(json.dumps(body, ensure_ascii=False, default=str)))

        thread = threading.Thread(target=attempt, name="notifier", daemon=True)
        thread.start()
        thread.join(DEADLINE_SECONDS)
        if failure:
            raise CosmoError(
                f"the webhook of COSMO_NOTIFY_URL did not take a notice: {failure[0]}",
                remedy="look at the address and at who answers there; the notice is sent again",
            )

    async def _attempts(self, body: str) -> list[str]:
        """What went wrong at last, or nothing."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        failure = ""
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)  # a server that sends a byte a second is cut off, too
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            for number in range(1, ATTEMPTS + 1):
                try:
                    async with session.post(self._url, data=body.encode(), allow_redirects=False) as answer:
                        if answer.status < 300:
                            return []
                        failure = f"HTTP {answer.status}"
                        if answer.status not in AGAIN:
                            break
                except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
                    failure = type(error).__name__  # its text may hold the address
                if number < ATTEMPTS:
                    await asyncio.sleep(PAUSE_SECONDS * number)
        return [f"{failure}, after {number} attempts"]
