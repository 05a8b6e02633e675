"""The streaming client for OpenAI-compatible servers: many requests in flight, refilled one by one, no barrier.

Belongs here: sending requests, retrying, and telling an answer from a refusal. Does not belong here: what is asked or
where answers are kept (the stages), or starting servers (`servers`).
"""

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from cosmo_resources.errors import CosmoError

RETRIED_STATUS = frozenset({408, 425, 429})
"""Client errors that a server asks to be tried again; all other 4xx are final."""

SETUP_STATUS = frozenset({401, 402, 403, 404, 405})
"""Client errors about the key, the account, the address or the model's name: they say nothing of the request."""

REST_SECONDS = 5.0
"""How long an endpoint is passed over after an error while others are well. Without it a dead one, which answers
nothing at once, is always the least loaded."""


@dataclass(frozen=True)
class Request:
    """One chat completion, or, where the body has a `prompt` instead of `messages`, a completion of plain text. `key`
    comes back with the answer; `body` holds the request's own fields (messages, sampling, max_tokens, seed,
    response_format), `model` excepted."""

    key: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What became of a request: `ok` with text, `refused` (a final 4xx: asking again gives the same), or `failed`
    (retries used up, or the server is not set up for it)."""

    key: str
    status: Literal["ok", "refused", "failed"]
    text: str
    finish_reason: str | None
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    attempts: int
    seconds: float


@dataclass(frozen=True)
class ClientOptions:
    """`concurrency` requests in flight over all endpoints; `timeout` seconds each; `attempts` per request, the waits
    between them doubling from `backoff` seconds with jitter; `give_up_after` failed requests in a row with not one
    success between them, the run stops: the servers are gone, and what is unanswered is asked again next time."""

    concurrency: int = 32
    timeout: float = 600.0
    attempts: int = 5
    backoff: float = 0.5
    give_up_after: int = 20


class CompletionClient:
    """Sends requests to the least loaded of some equal endpoints (base URLs that end in /v1)."""

    def __init__(self, endpoints: Sequence[str], model: str, options: ClientOptions | None = None) -> None:
        self.model = model
        self.options = options or ClientOptions()
        self._load = dict.fromkeys(endpoints, 0)
        self._rests_until = dict.fromkeys(endpoints, 0.0)
        if not self._load:
            raise CosmoError("no inference endpoint", remedy="set COSMO_ENDPOINTS or use the embedded server")

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers in order of completion, for callers without an event loop. Bounded like `stream`.

        Leaving the iteration early cancels what is in flight.
        """
        loop = asyncio.new_event_loop()
        stream = self.stream(iter(requests))
        try:
            while True:
                try:
                    yield loop.run_until_complete(anext(stream))
                except StopAsyncIteration:
                    return
        finally:
            loop.run_until_complete(stream.aclose())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def stream(self, requests: Iterator[Request]) -> AsyncGenerator[Answer, None]:
        """Answers in order of completion. `requests` is drawn from only when a slot is free, so it may be endless;
        a request that waits to be retried holds no slot.

        Raises:
            CosmoError: `give_up_after` requests in a row came to nothing.
        """
        waiting: list[tuple[float, int, Request, int]] = []  # (due, tie-breaker, request, attempts so far)
        ties = itertools.count()
        running: dict[asyncio.Task[Answer | float], tuple[Request, int]] = {}
        exhausted, failures = False, 0
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=self.options.timeout)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            try:
                while True:
                    now = time.monotonic()
                    while len(running) < self.options.concurrency:
                        if waiting and waiting[0][0] <= now:
                            _, _, request, attempts = heapq.heappop(waiting)
                        elif not exhausted and len(waiting) < 4 * self.options.concurrency:
                            drawn = next(requests, None)
                            if drawn is None:
                                exhausted = True
                                continue
                            request, attempts = drawn, 0
                        else:
                            break
                        running[asyncio.create_task(self._ask(session, request, attempts + 1))] = (
                            request,
                            attempts + 1,
                        )
                    if not running and not waiting:
                        return
                    pause = max(0.0, waiting[0][0] - now) if waiting else None
                    if not running:
                        await asyncio.sleep(pause or 0.0)
                        continue
                    finished, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                    for task in finished:
                        request, attempts = running.pop(task)
                        outcome = task.result()
                        if isinstance(outcome, float):
                            heapq.heappush(waiting, (time.monotonic() + outcome, next(ties), request, attempts))
                            continue
                        failures = failures + 1 if outcome.status == "failed" else 0
                        if failures >= self.options.give_up_after:
                            raise CosmoError(
                                f"{failures} requests in a row failed, the last one with: {outcome.error}",
                                remedy="check the server and its log, then run the command again: answers are kept",
                            )
                        yield outcome
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def _ask(self, session: aiohttp.ClientSession, request: Request, attempt: int) -> Answer | float:
        """One attempt: an answer, or the seconds to wait before the next attempt."""
        started = time.monotonic()
        endpoint = min(self._load, key=lambda name: (self._rests_until[name] > started, self._load[name]))
        self._load[endpoint] += 1
        wait: float | None = None
        route = "completions" if "prompt" in request.body else "chat/completions"
        try:
            async with session.post(f"{endpoint}/{route}", json={"model": self.model, **request.body}) as reply:
                if reply.status == 200:
                    return _answer(
                        request.key, await reply.json(content_type=None), attempt, time.monotonic() - started
                    )
                error = f"HTTP {reply.status}: {_message(await reply.text())}"
                if 400 <= reply.status < 500 and reply.status not in RETRIED_STATUS:
                    status: Literal["refused", "failed"] = "failed" if reply.status in SETUP_STATUS else "refused"
                    return _no_answer(request.key, status, error, attempt, time.monotonic() - started)
                wait = _retry_after(reply.headers.get("Retry-After"))
        except TimeoutError:
            error = f"no answer from {endpoint} within {self.options.timeout:g} s"
        except aiohttp.ClientError as problem:
            error = f"{endpoint}: {type(problem).__name__}: {problem}"
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
            error = f"{endpoint}: not a chat completion: {type(problem).__name__}: {problem}"
        finally:
            self._load[endpoint] -= 1
        self._rests_until[endpoint] = time.monotonic() + REST_SECONDS
        if attempt >= self.options.attempts:
            return _no_answer(request.key, "failed", error, attempt, time.monotonic() - started)
        if wait is None:
            wait = self.options.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter only
        return wait


def _answer(key: str, reply: Mapping[str, Any], attempts: int, seconds: float) -> Answer:
    choice = reply["choices"][0]
    usage = reply.get("usage") or {}
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    return Answer(
        key=key,
        status="ok",
        text="" if text is None else str(text),
        finish_reason=str(choice["finish_reason"]),
        error=None,
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
        completion_tokens=int(usage.get("completion_tokens", 0)),
        attempts=attempts,
        seconds=round(seconds, 3),
    )


def _no_answer(key: str, status: Literal["refused", "failed"], error: str, attempts: int, seconds: float) -> Answer:
    return Answer(key, status, "", None, error, 0, 0, attempts, round(seconds, 3))


def _message(body: str) -> str:
    return " ".join(body.split())[:300]


def _retry_after(header: str | None) -> float | None:
    try:
        seconds = float(header or "nan")
    except ValueError:  # a date
        return None
    return min(seconds, 60.0) if seconds >= 0 else None
