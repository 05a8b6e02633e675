"""The answers of a build under way, on disk as they come: what a killed build had been told is not asked again.

Belongs here: the log between the first request of a build and its published version. Does not belong here: generation
at scale (`storage.ledger`), or what published versions hold already (their stages take that over).
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from cosmo_resources.inference.client import Answer, Request, read_answer
from cosmo_resources.storage.digest import canonical_json, digest


class Client(Protocol):
    """Who is asked: a `CompletionClient`, or anything like it."""

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]: ...


class AnswerLog:
    """Asks a model, and keeps every answer that is final (`ok` or `refused`) in a file of JSON lines, by the digest of
    what was sent. The client is made when there is something to send.

    One process at a time writes it: the builder of the dataset, which holds the bucket's lock.
    """

    def __init__(self, path: Path, model: str, client: Callable[[], Client]) -> None:
        self.sent = 0
        """Requests that were really sent."""
        self._path, self._model, self._make = path, model, client
        self._client: Client | None = None
        self._known = dict(_lines(path))

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers in order of completion, those that are known already first. Each new one is on disk before it is
        yielded. Cost: one fsync per new answer."""
        identities: dict[str, str] = {}
        new: list[Request] = []
        for request in requests:
            identity = digest("request", self._model, canonical_json(request.body))
            if identity in self._known:
                yield dataclasses.replace(self._known[identity], key=request.key)
            else:
                identities[request.key] = identity
                new.append(request)
        if not new:
            return
        self._client = self._client or self._make()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as log:
            for answer in self._client.answers(new):
                self.sent += 1
                if answer.status != "failed":
                    line = {"request": identities[answer.key], **dataclasses.asdict(answer)}
                    log.write(f"\n{json.dumps(line)}")  # a line that was cut off does not spoil the next
                    log.flush()
                    os.fsync(log.fileno())
                    self._known[identities[answer.key]] = answer
                yield answer

    def clear(self) -> None:
        """Forget everything: the answers are published."""
        self._known.clear()
        self._path.unlink(missing_ok=True)


def _lines(path: Path) -> Iterator[tuple[str, Answer]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                fields = json.loads(line)
                yield fields.pop("request"), read_answer(fields)
            except (ValueError, TypeError, KeyError, AttributeError):  # the last line of a killed process, or empty
                continue
