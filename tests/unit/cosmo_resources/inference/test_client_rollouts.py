"""Rollouts: rows that take several requests, through the same slots and retries; and the end of a stream on demand."""

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Answer, Generate, Request
from tests.doubles.replay_server import replaying
from tests.unit.cosmo_resources.inference.asking import (
    Pool,
    client,
    dead_url,
    first_times,
    pool_client,
    prompt_of,
    request,
    requests,
    wait_until,
)
from tests.unit.cosmo_resources.inference.broken_answers import Slow


@dataclass(frozen=True)
class Story:
    """A row of a caller's own."""

    key: str
    turns: int = 3


def stories(count: int, turns: int = 3) -> Iterator[Story]:
    return (Story(str(number), turns) for number in range(count))


def body(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def continued(story: Story, generate: Generate) -> list[Answer]:
    """Each turn goes on from the text of the one before."""
    answers: list[Answer] = []
    for turn in range(story.turns):
        before = answers[-1].text if answers else f"Begin {story.key}."
        answers.append(await generate(body(before), turn=turn))
    return answers


async def at_once(story: Story, generate: Generate) -> list[Answer]:
    return list(await asyncio.gather(*(generate(body(f"{story.key} {turn}")) for turn in range(story.turns))))


def test_a_row_may_take_several_turns_each_from_the_one_before() -> None:
    with replaying(fault=first_times(1, lambda: web.Response(status=500))) as server:
        found = dict(client(server, concurrency=4).rollouts(stories(6), continued))
        asked = {prompt_of(call) for call in server.calls}
    assert sorted(found) == [str(number) for number in range(6)]
    for key, answers in found.items():
        assert not isinstance(answers, Exception)
        assert [answer.key for answer in answers] == [f"{key}/0", f"{key}/1", f"{key}/2"]
        assert {(answer.status, answer.attempts) for answer in answers} == {("ok", 2)}
        assert {answers[0].text, answers[1].text} <= asked


def test_requests_of_one_row_at_the_same_time_share_the_slots() -> None:
    with replaying(delay=0.02) as server:
        found = dict(client(server, concurrency=3).rollouts(stories(5, turns=8), at_once))
        assert server.most_running == 3
        assert len(server.calls) == 40
    assert all(len(answers) == 8 for answers in found.values() if not isinstance(answers, Exception))
    assert len(found) == 5


def test_results_come_in_the_order_of_completion_and_rows_are_refilled() -> None:
    with replaying(delay=0.01) as server:
        rows = [Story("long", 30), *(Story(f"short {number}", 1) for number in range(20))]
        keys = [key for key, _ in client(server, concurrency=2).rollouts(rows, continued)]
    assert keys[-1] == "long"


def test_a_rollout_that_raises_ends_its_own_row_only(caplog: pytest.LogCaptureFixture) -> None:
    async def fragile(story: Story, generate: Generate) -> str:
        answer = await generate(body(story.key))
        if story.key == "3":
            raise CosmoError("no chapter in this answer", remedy="")
        if story.key == "4":
            raise KeyError(story.key)
        if story.key == "5":
            await asyncio.gather(generate(body("a")), asyncio.wait_for(asyncio.sleep(5), 0.001))
        return answer.text

    with replaying(delay=0.01) as server:
        found = dict(client(server, concurrency=4).rollouts(stories(12), fragile))
    errors = {key: type(result).__name__ for key, result in found.items() if isinstance(result, Exception)}
    assert errors == {"3": "CosmoError", "4": "KeyError", "5": "TimeoutError"}
    assert len(found) == 12
    assert not caplog.records, "a task was left behind"


def test_what_a_rollout_leaves_behind_ends_with_the_stream() -> None:
    left: list[asyncio.Task[Answer]] = []

    async def careless(story: Story, generate: Generate) -> None:
        left.append(asyncio.ensure_future(generate(body(story.key))))  # type: ignore[arg-type]

    with replaying(fault=lambda _, seen: Slow(15)) as server:
        started = time.monotonic()
        assert len(list(client(server, concurrency=4).rollouts(stories(3), careless))) == 3
        assert time.monotonic() - started < 10
    assert [task.cancelled() for task in left] == [True] * 3


def test_failed_answers_are_results_like_others_and_too_many_of_them_end_the_run() -> None:
    with replaying(fault=lambda _, seen: web.Response(status=500)) as server:
        (found,) = client(server, attempts=2).rollouts(stories(1, turns=2), continued)
        assert [answer.status for answer in found[1]] == ["failed", "failed"]  # type: ignore[union-attr]
        with pytest.raises(CosmoError, match="3 requests in a row failed"):
            list(client(server, attempts=1, give_up_after=3).rollouts(stories(2), continued))


def test_the_rows_under_way_are_bounded_whatever_they_wait_for() -> None:
    begun: list[str] = []
    go_on = threading.Event()

    async def thinks_first(story: Story, generate: Generate) -> str:
        begun.append(story.key)
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return (await generate(body(story.key))).text

    def release() -> None:
        time.sleep(0.5)
        assert len(begun) == 15
        go_on.set()

    with replaying() as server:
        releasing = threading.Thread(target=release)
        releasing.start()
        found = list(client(server, concurrency=3).rollouts(stories(100), thinks_first))
        releasing.join()
    assert len(found) == 100


def test_a_row_that_does_something_else_holds_no_slot() -> None:
    async def slow_or_quick(story: Story, generate: Generate) -> float:
        if story.key == "0":
            while story.key == "0" and finished < 8:  # the others need the only slot for that
                await asyncio.sleep(0.01)
        await generate(body(story.key))
        return time.monotonic()

    finished = 0
    with replaying() as server:
        keys = []
        for key, _ in client(server, concurrency=1).rollouts(stories(9), slow_or_quick):
            finished += 1
            keys.append(key)
    assert keys[-1] == "0"


def test_a_row_that_asks_nothing_is_a_result() -> None:
    async def nothing(story: Story, generate: Generate) -> str:
        return story.key

    with replaying() as server:
        assert len(list(client(server, concurrency=2).rollouts(stories(50), nothing))) == 50
        assert not server.calls


def test_rollouts_stream_in_an_event_loop() -> None:
    async def listen(url: str) -> list[str]:
        async with aclosing(pool_client(Pool(url)).stream_rollouts(stories(7), continued)) as results:
            return [key async for key, _ in results]

    with replaying() as server:
        assert sorted(asyncio.run(listen(server.url))) == [str(number) for number in range(7)]


def test_a_row_is_drawn_only_when_a_request_of_it_could_be_sent() -> None:
    drawn: list[int] = []

    def endless() -> Iterator[Story]:
        for number in itertools.count():
            drawn.append(number)
            yield Story(str(number), 2)

    with replaying(delay=0.005) as server:
        results = client(server, concurrency=3).rollouts(endless(), continued)
        for taken in range(1, 20):
            next(results)
            assert taken <= len(drawn) <= taken + 3 + 3
        results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("by", ["call", "thread", "signal"])
def test_a_client_that_is_drained_finishes_what_it_began(by: str) -> None:
    drawn: list[str] = []

    def endless() -> Iterator[Request]:
        for number in itertools.count():
            drawn.append(str(number))
            yield request(str(number))

    def fault(_: dict[str, Any], seen: int) -> web.Response | None:
        if len(server.calls) == 12:
            if by == "thread":
                asked.drain()
            if by == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
        return Slow(0.2)

    before = signal.signal(signal.SIGTERM, lambda *_: asked.drain())
    try:
        with replaying(fault=fault) as server:
            asked = client(server, concurrency=4)
            keys: list[str] = []
            for answer in asked.answers(endless()):
                keys.append(answer.key)
                if by == "call" and len(keys) == 10:
                    asked.drain()
            assert sorted(keys) == sorted(drawn)
            assert 8 <= len(keys) <= 20
            assert asked.draining
            assert list(asked.answers(endless())) == []
            assert len(drawn) == len(keys)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_drained_client_finishes_its_retries_and_turns() -> None:
    def fault(_: dict[str, Any], seen: int) -> web.Response | None:
        asked.drain()
        return None if seen else web.Response(status=500)

    with replaying(fault=fault) as server:
        asked = client(server, concurrency=2)
        found = list(asked.rollouts(stories(9), continued))
    assert len(found) == 2
    assert all(len(answers) == 3 for _, answers in found if not isinstance(answers, Exception))


@pytest.mark.parametrize("urls", [[], [dead_url()]], ids=["none", "dead"])
def test_a_drained_client_does_not_wait_for_servers_that_are_gone(
    urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmo_resources.inference.client.POLL_SECONDS", 30.0)
    asked = pool_client(Pool(*urls), patience=None)
    threading.Timer(0.4, asked.drain).start()
    started = time.monotonic()
    assert list(asked.answers(requests(5))) == []
    assert 0.3 <= time.monotonic() - started < 5


def test_a_client_says_what_it_does_and_has_done() -> None:
    def fault(call: dict[str, Any], seen: int) -> web.Response | None:
        if prompt_of(call) == "0":
            return web.Response(status=425, headers={"Retry-After": "0.6"}) if not seen else None
        if prompt_of(call) == "1":
            return web.Response(status=400)
        if prompt_of(call) == "2":
            return web.Response(status=401)
        return Slow(15, until=lambda: seen_then is not None) if prompt_of(call) in "34" else None

    seen_then = None
    with replaying(fault=fault) as server:
        asked = client(server, concurrency=3)
        assert (asked.stats().running, asked.stats().endpoints) == (0, {})
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.extend(asked.answers(requests(5))))
        asking.start()
        wait_until(lambda: (asked.stats().running, asked.stats().waiting) == (2, 1))
        seen_then = asked.stats()
        asking.join()
        stats = asked.stats()
    assert {url: (at.running, at.breaker) for url, at in seen_then.endpoints.items()} == {server.url: (2, "closed")}
    assert (seen_then.answered, seen_then.refused, seen_then.failed, seen_then.retried) == (0, 1, 1, 1)
    assert (stats.running, stats.waiting, stats.answered, stats.refused, stats.failed) == (0, 0, 3, 1, 1)
    assert stats.retried == 1
    assert stats.prompt_tokens == sum(answer.prompt_tokens for answer in answers) == 1 + 3 + 3
    assert stats.completion_tokens == sum(answer.completion_tokens for answer in answers) > 4
