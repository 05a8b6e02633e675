"""The streaming client against servers that break down: whole servers, and prompts that kill them."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from cosmo_resources.inference.breaker import BreakerOptions
from tests.doubles.replay_server import replaying
from tests.unit.cosmo_resources.inference.asking import ask, client, first_times, prompt_of, requests, wait_until
from tests.unit.cosmo_resources.inference.broken_answers import Reset

SOON = BreakerOptions(cool_down=0.02, longest=0.02)


def test_a_server_that_fails_is_left_alone_and_tried_with_one_request() -> None:
    broken, times = True, []

    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        times.append(time.monotonic())
        return web.Response(status=500) if broken else None

    def probes() -> list[float]:
        return [moment for moment in times if moment - times[0] > 0.25]

    with replaying(fault=fault, delay=0.01) as server:
        asked = client(server, concurrency=8, attempts=50, breaker=BreakerOptions(cool_down=0.4, longest=0.4))
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.extend(asked.answers(requests(40))), daemon=True)
        asking.start()
        wait_until(lambda: len(probes()) >= 3)
        assert {stats.breaker for stats in asked.stats().endpoints.values()} <= {"open", "half-open"}
        assert min(after - before for before, after in itertools.pairwise(probes())) >= 0.25, "not one probe at a time"
        broken = False
        asking.join(20)
        assert server.most_running == 8
    assert Counter(answer.status for answer in answers) == {"ok": 40}


class Crashing:
    """A server that goes down under some prompts, with everything that it has in flight, and is back at once."""

    def __init__(self, *poison: str, seconds: float = 0.03) -> None:
        self.poison = poison
        self.seconds = seconds
        self.in_flight: dict[int, Any] = {}
        self.victims: list[int] = []

    def __call__(self, body: dict[str, Any], _: int) -> web.Response:
        return _Doomed(self, prompt_of(body))


class _Doomed(web.Response):
    def __init__(self, server: Crashing, prompt: str) -> None:
        super().__init__(
            text='{"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}',
            content_type="application/json",
        )
        self._server = server
        self._prompt = prompt

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        server = self._server
        server.in_flight[id(self)] = request.transport
        await asyncio.sleep(server.seconds)
        if self._prompt in server.poison and id(self) in server.in_flight:
            server.victims.append(len(server.in_flight) - 1)
            for transport in server.in_flight.values():
                transport.abort()
            server.in_flight.clear()
        server.in_flight.pop(id(self), None)
        return await super().prepare(request)


@pytest.mark.parametrize("servers", [1, 2])
def test_a_prompt_that_kills_servers_fails_alone(servers: int) -> None:
    crash = [Crashing("7") for _ in range(servers)]
    with replaying(fault=crash[0]) as left, replaying(fault=crash[-1]) as right:
        answers = ask(requests(120), *[left, right][:servers], concurrency=16, breaker=SOON, backoff=0.02)
    status = {answer.key: answer.status for answer in answers}
    assert [key for key, found in status.items() if found != "ok"] == ["7"]
    (poison,) = [answer for answer in answers if answer.key == "7"]
    assert (poison.status, poison.attempts) == ("failed", 5)
    assert "went down under this request while it ran nothing else" in str(poison.error)
    victims = sorted(count for one in set(crash) for count in one.victims)
    assert victims[:3] == [0, 0, 0], "from the third time on it was alone"
    assert len(victims) == 5
    assert max(answer.attempts for answer in answers if answer.key != "7") <= 3


def test_several_prompts_that_kill_servers_fail_and_no_other() -> None:
    poison = ("3", "4", "5", "60", "61", "119")
    crash = Crashing(*poison, seconds=0.01)
    with replaying(fault=crash) as server:
        answers = ask(requests(120), server, concurrency=16, breaker=SOON, backoff=0.01)
    assert sorted(answer.key for answer in answers if answer.status == "failed") == sorted(poison)
    assert len(answers) == 120


def test_a_request_that_others_killed_twice_is_answered_in_the_end() -> None:
    with replaying(fault=first_times(2, Reset)) as server:
        answers = ask(requests(12), server, concurrency=4, breaker=SOON)
    assert {(answer.status, answer.attempts) for answer in answers} == {("ok", 3)}
