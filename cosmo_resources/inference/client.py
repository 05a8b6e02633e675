"""The streaming client for OpenAI-compatible servers: many requests in flight, refilled one by one, no barrier.

Belongs here: sending requests, retrying, and telling an answer from a refusal. Does not belong here: which endpoint is
asked (`balancer`), what is asked or where answers are kept (the stages), or starting servers (`servers`).
"""

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.balancer import Balancer
from cosmo_resources.inference.breaker import BreakerOptions, BreakerState
from cosmo_resources.inference.endpoints import Endpoints, FixedEndpoints
from cosmo_resources.inference.replies import Choice, Reply
from cosmo_resources.inference.retries import Outcome, Retries
from cosmo_resources.inference.transport import Transport, allow_connections

POLL_SECONDS = 1.0
"""How often the live endpoints are looked up."""

ROWS_PER_SLOT = 5
"""Rows under way, per request in flight: the others wait for a retry or for a slot. With more, none is drawn."""


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
    (retries or time used up, or the server is not set up for it). `attempts` that reached a server; `seconds` of the
    last one; `endpoint` and `engine` of the server that gave it; `others` are the texts after the first, for n > 1."""

    key: str
    status: Literal["ok", "refused", "failed"]
    text: str
    finish_reason: str | None
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    attempts: int
    seconds: float
    reasoning: str | None = None
    endpoint: str = ""
    engine: str = ""
    others: tuple[Choice, ...] = ()


def read_answer(fields: Mapping[str, Any]) -> Answer:
    """An answer from what `dataclasses.asdict` made of it, at whatever time.

    Raises:
        TypeError: these are not the fields of an answer.
    """
    return Answer(**{**fields, "others": tuple(Choice(**choice) for choice in fields.get("others", ()))})


@dataclass(frozen=True)
class ClientOptions:
    """How much is asked at once, and how long failures are borne.

    `concurrency` requests in flight over all endpoints, at most `per_endpoint` on one of them. `timeout` seconds each;
    `attempts` per request, the waits between them doubling from `backoff` seconds with jitter; `deadline` seconds over
    all attempts and waits, those excepted while no endpoint is live or takes connections. `give_up_after` failed
    requests in a row with not one success between them, or after `patience` seconds in which no endpoint worked (None:
    never), the run stops: the servers are gone, and what is unanswered is asked again next time. `api_key` is sent as
    a bearer token and appears nowhere else.
    """

    concurrency: int = 32
    timeout: float = 600.0
    attempts: int = 5
    backoff: float = 0.5
    give_up_after: int = 20
    per_endpoint: int | None = None
    deadline: float | None = None
    patience: float | None = 60.0
    breaker: BreakerOptions = field(default_factory=BreakerOptions)
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class EndpointStats:
    running: int
    breaker: BreakerState


@dataclass(frozen=True)
class ClientStats:
    """What a client is doing, and has done since it was made. `retried` counts attempts after the first, and those
    that found no connection; tokens are those of the answers."""

    running: int
    waiting: int
    answered: int
    refused: int
    failed: int
    retried: int
    prompt_tokens: int
    completion_tokens: int
    endpoints: Mapping[str, EndpointStats]


class Keyed(Protocol):
    """A row: anything with a key."""

    @property
    def key(self) -> str: ...


class Generate(Protocol):
    """Asks for one completion, with all the patience of the client. It raises nothing: what failed is an answer with
    that status. Its key is the row's, and the `turn` after a slash where one is given."""

    async def __call__(self, body: Mapping[str, Any], *, turn: int | None = None) -> Answer: ...


RowT = TypeVar("RowT", bound=Keyed)
ResultT = TypeVar("ResultT")
Rollout = Callable[[RowT, Generate], Awaitable[ResultT]]
"""What is asked for a row: calls `generate` as often as it likes, also at the same time, and makes a result of it."""


class CompletionClient:
    """Sends requests to the least loaded of some equal endpoints: a list of base URLs that end in /v1, or `Endpoints`
    that come and go."""

    def __init__(self, endpoints: Endpoints | Sequence[str], model: str, options: ClientOptions | None = None) -> None:
        self.model = model
        self.options = options or ClientOptions()
        self.endpoints = FixedEndpoints(endpoints) if isinstance(endpoints, Sequence) else endpoints
        self.draining = False
        """Whether `drain` was called: nothing more is asked."""
        self.totals: Counter[str] = Counter()
        """What `stats` gives out of, over all streams."""
        self.streams: list[_Stream[Any, Any]] = []

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers in order of completion, for callers without an event loop. Bounded like `stream`.

        Leaving the iteration early cancels what is in flight.
        """
        for _, answer in self.rollouts(requests, _ask_once):
            yield _no_exception(answer)

    async def stream(self, requests: Iterable[Request]) -> AsyncGenerator[Answer, None]:
        """Answers in order of completion. `requests` is drawn from only when a slot is free, so it may be endless;
        a request that waits to be retried holds no slot.

        Raises:
            CosmoError: `give_up_after` requests in a row came to nothing, or no endpoint worked for `patience` seconds.
        """
        async with contextlib.aclosing(self.stream_rollouts(requests, _ask_once)) as results:
            async for _, answer in results:
                yield _no_exception(answer)

    def rollouts(
        self, rows: Iterable[RowT], rollout: Rollout[RowT, ResultT]
    ) -> Iterator[tuple[str, ResultT | Exception]]:
        """Results of rows that take several requests, in order of completion, for callers without an event loop.
        Bounded like `stream_rollouts`, and like `answers` when left early."""
        loop = asyncio.new_event_loop()
        stream = _Stream(self, iter(rows), rollout)
        try:
            while results := loop.run_until_complete(stream.finished()):
                yield from results
        finally:
            loop.run_until_complete(_end_all())
            loop.run_until_complete(stream.close())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def stream_rollouts(
        self, rows: Iterable[RowT], rollout: Rollout[RowT, ResultT]
    ) -> AsyncGenerator[tuple[str, ResultT | Exception], None]:
        """The key of each row and its result, in order of completion; a rollout that raises ends its own row, with the
        exception for a result. A row is drawn when a request of it could be sent at once; at most five times
        `concurrency` rows are under way.

        Raises:
            CosmoError: as `stream`.
        """
        stream = _Stream(self, iter(rows), rollout)
        try:
            while results := await stream.finished():
                for result in results:
                    yield result
        finally:
            await stream.close()

    def drain(self) -> None:
        """Draw no more rows, finish those that were begun, and end. Rows that wait while no endpoint works are let go.
        May be called from any thread and from a signal handler."""
        self.draining = True
        for stream in list(self.streams):
            stream.wake_from_outside()

    def stats(self) -> ClientStats:
        """May be called from any thread."""
        streams, totals = list(self.streams), self.totals
        return ClientStats(
            running=sum(stream.running for stream in streams),
            waiting=sum(stream.waiting for stream in streams),
            answered=totals["ok"],
            refused=totals["refused"],
            failed=totals["failed"],
            retried=totals["retried"],
            prompt_tokens=totals["prompt_tokens"],
            completion_tokens=totals["completion_tokens"],
            endpoints={url: stats for stream in streams for url, stats in stream.endpoints().items()},
        )


async def _ask_once(request: Request, generate: Generate) -> Answer:
    return await generate(request.body)


async def _end_all() -> None:
    """Cancel every other task of this loop, also what a rollout began and did not wait for."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _no_exception(answer: Answer | Exception) -> Answer:
    if isinstance(answer, Exception):
        raise answer
    return answer


class _Stream(Generic[RowT, ResultT]):
    """The rows of one iteration over a client: draws them, runs their rollouts, and sends what these ask for.

    Each row is a task. It holds a slot only while a request of it is on the wire; its waits are waits of the task.
    """

    _loop: asyncio.AbstractEventLoop
    _awake: asyncio.Future[None]
    _transport: Transport
    _balancer: Balancer
    _retries: Retries
    _watch: asyncio.Task[None]

    def __init__(self, client: CompletionClient, rows: Iterator[RowT], rollout: Rollout[RowT, ResultT]) -> None:
        self._client = client
        self._options = client.options
        self._source: Iterator[RowT] | None = rows
        self._rollout = rollout
        self._rows: set[asyncio.Task[None]] = set()
        self._drawn = 0  # rows drawn in this turn of the loop, which had no chance yet to ask for anything
        self._failures = 0
        self._results: list[tuple[str, ResultT | Exception]] = []
        self._error: Exception | None = None
        self._open = False

    @property
    def running(self) -> int:
        return self._balancer.running if self._open else 0

    @property
    def waiting(self) -> int:
        return self._retries.parked + self._balancer.waiting if self._open else 0

    def endpoints(self) -> dict[str, EndpointStats]:
        targets = self._balancer.targets() if self._open else ()
        return {target.endpoint.url: EndpointStats(target.running, target.breaker.state) for target in targets}

    async def finished(self) -> list[tuple[str, ResultT | Exception]]:
        """Results that have come since the last call, at least one; none, when there will be no more."""
        if not self._open:
            self._begin()
        while not self._results:
            if problem := self._error or self._balancer.error:
                raise problem
            self._draw()
            if self._over():
                return []
            if self._awake.done():
                self._awake = self._loop.create_future()
            await self._awake
        results, self._results = self._results, []
        return results

    def _over(self) -> bool:
        if self._client.draining:
            return not self._rows or not (self.running or self._balancer.works)
        return not self._rows and self._source is None  # without an endpoint no row was drawn yet

    async def close(self) -> None:
        """Cancel what is under way."""
        if not self._open:
            return
        self._client.streams.remove(self)
        tasks = [*self._rows, self._watch]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._balancer.close()
        await self._transport.close()

    def wake_from_outside(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed in the meantime
            self._loop.call_soon_threadsafe(self._wake)

    def _begin(self) -> None:
        options, self._loop = self._options, asyncio.get_running_loop()
        self._awake = self._loop.create_future()
        allow_connections(options.concurrency)
        self._transport = Transport(options.timeout, options.api_key)
        self._balancer = Balancer(
            concurrency=options.concurrency,
            per_endpoint=options.per_endpoint,
            patience=options.patience,
            breaker=options.breaker,
            wake=self._wake,
        )
        self._retries = Retries(
            self._balancer,
            self._transport,
            timeout=options.timeout,
            attempts=options.attempts,
            backoff=options.backoff,
            deadline=options.deadline,
            totals=self._client.totals,
        )
        self._balancer.refresh(self._client.endpoints.live())
        self._watch = self._loop.create_task(self._watch_endpoints())
        self._client.streams.append(self)
        self._open = True

    async def _watch_endpoints(self) -> None:
        """Look up what is live, in a thread: a shared file system that hangs must not hold up what is in flight."""
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                self._balancer.refresh(await asyncio.to_thread(self._client.endpoints.live))
                self._wake()
        except Exception as problem:  # noqa: BLE001 - it ends the stream
            self._error = problem
            self._wake()

    def _wake(self) -> None:
        if not self._awake.done():
            self._awake.set_result(None)

    def _draw(self) -> None:
        """Begin as many rows as could send a request at once."""
        most = ROWS_PER_SLOT * self._options.concurrency
        room, begun = self._balancer.room() - self._drawn, 0
        while self._source is not None and begun < room and len(self._rows) < most and not self._client.draining:
            row = next(self._source, None)
            if row is None:
                self._source = None
                break
            self._rows.add(self._loop.create_task(self._run(row)))
            begun += 1
        if begun:
            self._drawn += begun
            self._loop.call_soon(self._asked, begun)

    def _asked(self, begun: int) -> None:
        """Rows that were drawn have had their first turn: they hold slots by now, or have no use for them yet."""
        self._drawn -= begun
        if self._balancer.room():
            self._wake()

    async def _run(self, row: RowT) -> None:
        result: ResultT | Exception
        try:
            result = await self._rollout(row, functools.partial(self._generate, row.key))
        except Exception as problem:  # noqa: BLE001 - it is the row's result
            result = problem
        finally:
            self._rows.discard(asyncio.current_task())
        self._results.append((row.key, result))
        self._wake()

    async def _generate(self, key: str, body: Mapping[str, Any], *, turn: int | None = None) -> Answer:
        outcome = await self._retries.ask({"model": self._client.model, **body})
        answer = _answer(key if turn is None else f"{key}/{turn}", outcome)
        totals = self._client.totals
        totals[answer.status] += 1
        totals["prompt_tokens"] += answer.prompt_tokens
        totals["completion_tokens"] += answer.completion_tokens
        self._failures = self._failures + 1 if answer.status == "failed" else 0
        if self._failures >= self._options.give_up_after:
            self._error = self._error or CosmoError(
                f"{self._failures} requests in a row failed, the last one with: {answer.error}",
                remedy="check the server and its log, then run the command again: answers are kept",
            )
            self._wake()
            await self._loop.create_future()  # the stream ends, and this row without a result
        return answer


def _answer(key: str, outcome: Outcome) -> Answer:
    reply = outcome.reply or Reply((Choice("", None),), 0, 0)
    first, *others = reply.choices
    return Answer(
        key=key,
        status=outcome.status,
        text=first.text,
        finish_reason=first.finish_reason,
        error=outcome.error,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        attempts=outcome.attempts,
        seconds=round(outcome.seconds, 3),
        reasoning=first.reasoning,
        endpoint=outcome.endpoint.url,
        engine=outcome.endpoint.engine,
        others=tuple(others),
    )
