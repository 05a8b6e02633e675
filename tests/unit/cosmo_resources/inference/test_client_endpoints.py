"""The streaming client and its endpoints: how they share the load, how they come and go, what they ask for."""

import asyncio
import itertools
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.breaker import BreakerOptions
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from tests.doubles.replay_server import ReplayServer, replaying
from tests.unit.cosmo_resources.inference.asking import (
    QUICK,
    Pool,
    ask,
    client,
    dead_url,
    first_times,
    pool_client,
    request,
    requests,
    wait_until,
)
from tests.unit.cosmo_resources.inference.broken_answers import Slow

NEVER_OPENS = BreakerOptions(failures=10_000)


@pytest.mark.parametrize(
    ("concurrency", "per_endpoint", "each"), [(64, 3, 3), (4, 3, 2), (4, None, 2)], ids=["each", "both", "all"]
)
def test_an_elastic_pool_is_filled_to_the_limit_of_each_and_of_all(
    concurrency: int, per_endpoint: int | None, each: int
) -> None:
    with replaying(delay=0.1) as left, replaying(delay=0.1) as right:
        answers = ask(requests(24), left, right, concurrency=concurrency, per_endpoint=per_endpoint, attempts=1)
        assert (left.most_running, right.most_running) == (each, each)
    assert {answer.status for answer in answers} == {"ok"}


def test_without_a_live_endpoint_the_client_waits_and_uses_up_no_attempts(replay: ReplayServer) -> None:
    pool = Pool()
    joins = threading.Timer(0.5, lambda: pool.urls.append(replay.url))
    joins.start()
    answers = list(pool_client(pool, attempts=1).answers(requests(5)))
    assert {(answer.status, answer.attempts) for answer in answers} == {("ok", 1)}
    assert {(answer.endpoint, answer.engine) for answer in answers} == {(replay.url, "pool engine")}


def test_an_endpoint_that_joins_gets_its_share() -> None:
    with replaying(delay=0.02) as first, replaying(delay=0.02) as second:
        pool = Pool(first.url)
        answers = pool_client(pool, per_endpoint=2).answers(requests(300))
        for _ in range(10):
            next(answers)
        assert not second.calls
        pool.urls.append(second.url)
        assert {answer.status for answer in answers} == {"ok"}
        assert len(second.calls) > 30
        assert first.most_running == second.most_running == 2


def test_an_endpoint_that_leaves_finishes_what_it_has_and_gets_no_more() -> None:
    with replaying() as stays, replaying() as leaves:
        pool = Pool(stays.url, leaves.url)
        asked = pool_client(pool, concurrency=2)
        held = Slow(15, until=lambda: leaves.url not in asked.stats().endpoints or len(stays.calls) > 100)
        leaves.fault = lambda body, seen: held
        stays.fault = lambda body, seen: Slow(0.02)
        answers = asked.answers(requests(150))
        next(answers)
        assert len(leaves.calls) == 1
        pool.urls.remove(leaves.url)
        assert Counter(answer.status for answer in answers) == {"ok": 149}
        assert len(leaves.calls) == 1


def test_the_endpoints_are_looked_up_about_once_a_second(replay: ReplayServer) -> None:
    pool = Pool(replay.url)
    replay.delay = 0.1
    started = time.monotonic()
    list(pool_client(pool, concurrency=1).answers(requests(25)))
    assert abs(pool.looked - (time.monotonic() - started)) <= 1.5


def test_a_look_up_that_hangs_holds_nothing_up(replay: ReplayServer) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(Pool):
        def live(self) -> Any:
            if self.looked:
                hangs.set()
                goes_on.wait(20)
            return super().live()

    answers = pool_client(Hanging(replay.url), concurrency=2).answers(request(str(n)) for n in itertools.count())
    started = time.monotonic()
    while not hangs.is_set() and time.monotonic() < started + 10:
        next(answers)
    assert hangs.is_set()
    for _ in range(50):
        next(answers)
    assert time.monotonic() - started < 15
    goes_on.set()


def test_an_error_in_a_look_up_reaches_the_caller(replay: ReplayServer) -> None:
    class Broken(Pool):
        def live(self) -> Any:
            if self.looked:
                raise ZeroDivisionError
            return super().live()

    with pytest.raises(ZeroDivisionError):
        for _ in pool_client(Broken(replay.url), concurrency=2).answers(request(str(n)) for n in itertools.count()):
            pass


@pytest.mark.parametrize(
    ("urls", "reason"),
    [([], "there was no live endpoint"), ([dead_url()], "none of the 1 live endpoints worked.*ClientConnectorError")],
    ids=["none", "dead"],
)
def test_patience_ends(urls: list[str], reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(CosmoError, match=f"for 1.5 s {reason}") as caught:
        list(pool_client(Pool(*urls), patience=1.5).answers(requests(10)))
    assert "run the command again" in caught.value.remedy
    assert 1.5 <= time.monotonic() - started < 10


def test_endpoints_that_come_and_go_without_an_answer_do_not_renew_patience() -> None:
    pool = Pool()

    class Crashing(Pool):
        def live(self) -> Any:
            pool.urls = [dead_url()]
            return pool.live()

    with pytest.raises(CosmoError, match=r"for 2\.5 s none of the 1 live endpoints worked"):
        list(pool_client(Crashing(), patience=2.5).answers(requests(3)))


def test_patience_does_not_end_under_a_server_that_works_again() -> None:
    pool = Pool()
    with replaying(fault=lambda body, seen: Slow(2.0)) as server:
        threading.Timer(0.3, lambda: pool.urls.append(server.url)).start()
        answers = list(pool_client(pool, patience=1.6).answers(requests(2)))
    assert {answer.status for answer in answers} == {"ok"}


def test_what_was_never_sent_was_no_attempt() -> None:
    pool = Pool(dead_url(), dead_url())
    with replaying() as server:
        threading.Timer(0.5, lambda: setattr(pool, "urls", [server.url])).start()
        answers = list(pool_client(pool, attempts=1).answers(requests(8)))
    assert {(answer.status, answer.attempts) for answer in answers} == {("ok", 1)}


def test_a_retry_goes_elsewhere() -> None:
    with replaying(fault=lambda body, seen: web.Response(status=500)) as lame, replaying() as sound:
        answers = ask(requests(40), lame, sound, attempts=2, breaker=NEVER_OPENS, give_up_after=1)
        assert len(lame.calls) >= 10
    assert {answer.status for answer in answers} == {"ok"}
    assert {answer.endpoint for answer in answers} == {sound.url}


def test_a_retry_waits_for_another_endpoint_rather_than_go_to_the_one_that_failed_it() -> None:
    """The other is full when the retry is due."""
    with replaying() as lame, replaying() as sound:
        lame.fault = lambda body, seen: web.Response(status=500)
        sound.fault = lambda body, seen: Slow(0.3)
        options: dict[str, Any] = {"attempts": 2, "breaker": NEVER_OPENS, "give_up_after": 1}
        answers = ask(requests(4), lame, sound, concurrency=2, per_endpoint=1, **options)
    assert {answer.status for answer in answers} == {"ok"}


def test_a_server_that_is_not_set_up_does_not_swallow_the_rows_of_the_others() -> None:
    """It answers at once, so it is always the least loaded."""
    with replaying(fault=lambda body, seen: web.Response(status=404)) as lame, replaying(delay=0.01) as sound:
        answers = ask(requests(200), lame, sound, concurrency=2, give_up_after=50)
    assert Counter(answer.status for answer in answers)["ok"] >= 180


def in_a_second() -> str:
    return formatdate(time.time() + 2, usegmt=True)


@pytest.mark.parametrize("header", [lambda: "1", in_a_second], ids=["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_a_rest_gets_it(status: int, header: Callable[[], str]) -> None:
    times: list[float] = []

    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        times.append(time.monotonic())
        return web.Response(status=status, headers={"Retry-After": header()}) if len(times) == 1 else None

    with replaying(fault=fault) as server:
        answers = ask(requests(6), server, concurrency=1)
    assert {answer.status for answer in answers} == {"ok"}
    assert times[1] - times[0] >= 0.95, "another row was sent while the server rested"


def test_while_one_rests_the_others_work() -> None:
    rest = first_times(99, lambda: web.Response(status=429, headers={"Retry-After": "30"}))
    with replaying(fault=rest) as tired, replaying() as sound:
        answers = ask(requests(30), tired, sound, concurrency=2, attempts=2)
        assert len(tired.calls) <= 2
    waits = [answer for answer in answers if answer.attempts == 2]
    assert {answer.status for answer in answers} == {"ok"}
    assert len(waits) <= 2


def test_past_its_deadline_a_request_fails_with_the_reason() -> None:
    with replaying(fault=lambda body, seen: web.Response(status=500, text="no GPU")) as server:
        started = time.monotonic()
        (answer,) = ask([request("k")], server, attempts=10_000, deadline=0.7, backoff=0.05, give_up_after=2)
    assert answer.status == "failed"
    assert answer.error == "no answer within the deadline of 0.7 s, the last error was: HTTP 500: no GPU"
    assert 0.6 <= time.monotonic() - started < 5
    assert answer.attempts >= 2


def test_an_attempt_ends_with_the_deadline() -> None:
    with replaying(fault=lambda body, seen: Slow(15)) as server:
        started = time.monotonic()
        (answer,) = ask([request("k")], server, deadline=0.5)
    assert answer.status == "failed"
    assert "no answer within the deadline of 0.5 s" in str(answer.error)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("before", [[], [dead_url()]], ids=["none", "dead"])
def test_while_nothing_can_be_asked_no_deadline_runs(before: list[str]) -> None:
    pool = Pool(*before)
    with replaying() as server:
        threading.Timer(1.2, lambda: pool.urls.append(server.url)).start()
        answers = list(pool_client(pool, deadline=0.4).answers(requests(3)))
    assert {answer.status for answer in answers} == {"ok"}


class Echo(web.Response):
    """Repeats the key that came with the request, as some servers do."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.text = f"wrong key: {request.headers.get('Authorization')}"
        return await super().prepare(request)


def test_the_key_goes_to_the_server_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    options = ClientOptions(backoff=QUICK, api_key="sk-secret")
    with replaying(fault=lambda body, seen: Echo(status=401)) as server:
        asked = CompletionClient([server.url], "replay", options)
        (answer,) = asked.answers([request("k")])
    assert answer.error == "HTTP 401: wrong key: Bearer ***"
    assert "sk-secret" not in repr(options) + repr(answer) + repr(vars(asked)) + caplog.text


def test_without_a_key_none_is_sent() -> None:
    with replaying(fault=lambda body, seen: Echo(status=401)) as server:
        (answer,) = ask([request("k")], server)
    assert answer.error == "HTTP 401: wrong key: None"


def test_an_address_that_is_none_fails_with_a_reason() -> None:
    (answer,) = CompletionClient(["localhost:8000/v1"], "replay", ClientOptions(backoff=QUICK)).answers([request("k")])
    assert answer.status == "failed"
    assert "localhost:8000/v1: not a URL" in str(answer.error)


def test_a_process_may_open_as_many_files_as_it_needs_connections(replay: ReplayServer) -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        ask(requests(3), replay, concurrency=100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 600
        ask(requests(3), replay, concurrency=10**8)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_the_stream_of_a_pool_can_be_left_early() -> None:
    async def listen(asked: CompletionClient) -> int:
        stream = asked.stream(request(str(number)) for number in itertools.count())
        count = 0
        async for _ in stream:
            count += 1
            if count == 5:
                break
        await stream.aclose()
        return count + asked.stats().running

    with replaying() as server:
        assert asyncio.run(listen(client(server))) == 5
        wait_until(lambda: not server.running)
