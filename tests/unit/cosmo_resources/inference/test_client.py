"""The streaming client: bounded, refilled one by one, patient with what passes and quick with what does not.

Belongs here: the client against servers that misbehave. Does not belong here: where answers are kept
(`test_generation_worker`).
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.breaker import BreakerOptions
from cosmo_resources.inference.client import Answer, ClientOptions, CompletionClient, Request
from tests.doubles.replay_server import ReplayServer, replaying
from tests.unit.cosmo_resources.inference.asking import (
    QUICK,
    ask,
    client,
    dead_url,
    first_times,
    prompt_of,
    request,
    requests,
)
from tests.unit.cosmo_resources.inference.broken_answers import Cut, Reset, Slow, reply


def test_every_request_is_answered_under_its_key(replay: ReplayServer) -> None:
    answers = ask(requests(30), replay)
    assert sorted(answer.key for answer in answers) == sorted(str(number) for number in range(30))
    assert {(answer.status, answer.error, answer.attempts) for answer in answers} == {("ok", None, 1)}


def test_an_answer_says_what_the_server_said(replay: ReplayServer) -> None:
    (answer,) = ask([request("k", "two words", max_tokens=7)], replay)
    assert replay.calls == [
        {"model": "replay", "messages": [{"role": "user", "content": "two words"}], "max_tokens": 7}
    ]
    assert answer.text.endswith(".")
    assert (answer.finish_reason, answer.prompt_tokens) == ("stop", 2)
    assert answer.completion_tokens == len(answer.text.split())
    assert 0 <= answer.seconds < 5


def test_no_requests_are_no_answers(replay: ReplayServer) -> None:
    assert ask([], replay) == []
    assert replay.calls == []


def test_no_endpoint_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(CosmoError, match="no inference endpoint") as caught:
        CompletionClient([], "replay")
    assert "COSMO_ENDPOINTS" in caught.value.remedy


@pytest.mark.parametrize("concurrency", [1, 7])
def test_no_more_requests_are_in_flight_than_allowed(concurrency: int) -> None:
    with replaying(delay=0.03) as server:
        ask(requests(4 * concurrency), server, concurrency=concurrency)
        assert server.most_running <= concurrency


def test_as_many_requests_are_in_flight_as_allowed() -> None:
    with replaying() as server:
        server.fault = lambda body, seen: Slow(10, until=lambda: len(server.calls) >= 7)  # none before all are there
        answers = ask(requests(14), server, concurrency=7, attempts=1)
    assert {answer.status for answer in answers} == {"ok"}


def test_a_slow_request_holds_no_other_back() -> None:
    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        return Slow(10, until=lambda: len(server.calls) == 30) if prompt_of(body) == "0" else None

    with replaying(fault=fault) as server:
        answers = ask(requests(30), server, concurrency=2, attempts=1)
    assert {answer.status for answer in answers} == {"ok"}


def test_answers_come_in_the_order_of_completion() -> None:
    came: list[str] = []

    def fault(body: dict[str, Any], _: int) -> web.Response:
        return Slow(10, until=lambda: len(came) == 2 - int(prompt_of(body)))

    with replaying(fault=fault) as server:
        came.extend(answer.key for answer in client(server, concurrency=3).answers(requests(3)))
    assert came == ["2", "1", "0"]


def test_requests_are_drawn_only_when_a_slot_is_free(replay: ReplayServer) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[Request]:
        for number in itertools.count():
            drawn.append(number)
            yield request(str(number))

    answers = client(replay, concurrency=3).answers(endless())
    for taken in range(1, 20):
        next(answers)
        assert taken <= len(drawn) <= taken + 3
    answers.close()
    assert len(drawn) <= 19 + 3


def test_requests_that_wait_to_be_retried_are_bounded() -> None:
    drawn: list[int] = []

    def endless() -> Iterator[Request]:
        for number in itertools.count():
            drawn.append(number)
            yield request(str(number))

    async def listen(url: str) -> None:
        options = ClientOptions(concurrency=2, attempts=9)
        async with aclosing(CompletionClient([url], "replay", options).stream(endless())) as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 1.0)

    with replaying(fault=lambda body, seen: web.Response(status=425, headers={"Retry-After": "50"})) as server:
        asyncio.run(listen(server.url))
    assert 2 < len(drawn) <= 4 * 2 + 2


def test_a_request_that_waits_to_be_retried_holds_no_slot() -> None:
    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        waits = prompt_of(body) == "0" and not seen
        return web.Response(status=425, headers={"Retry-After": "1"}) if waits else None

    with replaying(fault=fault) as server:
        assert [answer.key for answer in ask(requests(4), server, concurrency=1)] == ["1", "2", "3", "0"]


def test_an_error_while_drawing_requests_reaches_the_caller() -> None:
    gone: list[float] = []

    def broken() -> Iterator[Request]:
        yield request("0")
        raise ZeroDivisionError

    with replaying(fault=lambda body, seen: Slow(20, gone=gone)) as server, pytest.raises(ZeroDivisionError):
        ask(broken(), server)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: web.Response(status=500, text="out of memory"),
        lambda: web.Response(status=503),
        lambda: web.Response(status=429),
        lambda: web.Response(status=408),
        lambda: Reset(),
        lambda: Cut(),
        lambda: web.Response(text="<html>gateway</html>", content_type="text/html"),
        lambda: web.Response(body=b"\xff\xfe\xfd", content_type="application/json"),
        lambda: web.Response(text=""),
        lambda: web.json_response([]),
        lambda: web.json_response({}),
        lambda: web.json_response({"choices": []}),
        lambda: web.json_response({"choices": [None]}),
        lambda: web.json_response(reply("text", usage=["three"])),
        lambda: web.json_response(reply("text", usage={"prompt_tokens": "three"})),
    ],
    ids=[
        *("500", "503", "429", "408", "reset", "cut body", "html", "not UTF-8", "empty"),
        *("a list", "an empty object", "no choice", "null choice", "usage is a list", "usage is no number"),
    ],
)
def test_what_may_pass_is_tried_again(broken: Any) -> None:
    with replaying(fault=first_times(2, broken)) as server:
        (answer,) = ask([request("k")], server)
        calls = len(server.calls)
    assert (answer.status, answer.attempts, calls) == ("ok", 3, 3)


def test_an_answer_that_does_not_come_in_time_is_asked_for_again() -> None:
    with replaying(fault=first_times(1, lambda: Slow(20))) as server:
        (answer,) = ask([request("k")], server, timeout=0.8)
    assert (answer.status, answer.attempts) == ("ok", 2)


@pytest.mark.parametrize(
    ("broken", "timeout", "error"),
    [
        (lambda: web.Response(status=500, text="out of\n  memory"), 20, "HTTP 500: out of memory"),
        (lambda: Slow(5), 0.2, "no answer from http://.* within 0.2 s"),
        (lambda: Reset(), 20, "ServerDisconnectedError"),
        (lambda: web.json_response({"choices": []}), 20, "not a chat completion"),
    ],
    ids=["500", "timeout", "reset", "no choice"],
)
def test_what_does_not_pass_fails_with_its_last_error(broken: Any, timeout: float, error: str) -> None:
    with replaying(fault=first_times(99, broken)) as server:
        (answer,) = ask([request("k")], server, attempts=2, timeout=timeout)
    assert (answer.status, answer.text, answer.finish_reason, answer.attempts) == ("failed", "", None, 2)
    assert answer.error is not None
    with pytest.raises(CosmoError, match=error):
        raise CosmoError(answer.error, remedy="")


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_the_server_will_not_take_is_not_sent_again(status: int) -> None:
    def fault(body: dict[str, Any], _: int) -> web.Response:
        return web.json_response({"error": {"message": "prompt is too long"}}, status=status)

    with replaying(fault=fault) as server:
        (answer,) = ask([request("k")], server)
        assert len(server.calls) == 1
    assert (answer.status, answer.attempts, answer.text) == ("refused", 1, "")
    assert answer.error == f'HTTP {status}: {{"error": {{"message": "prompt is too long"}}}}'


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_address_or_model_is_no_refusal_of_a_request(status: int) -> None:
    with replaying(fault=first_times(99, lambda: web.Response(status=status, text="no such model"))) as server:
        (answer,) = ask([request("k")], server)
        assert len(server.calls) == 1
    assert (answer.status, answer.error) == ("failed", f"HTTP {status}: no such model")


def test_after_too_many_failures_in_a_row_the_run_ends_with_the_last_error() -> None:
    answers: list[Answer] = []
    with (
        replaying(fault=first_times(99, lambda: web.Response(status=500, text="no GPU"))) as server,
        pytest.raises(CosmoError, match="3 requests in a row failed, the last one with: HTTP 500: no GPU") as caught,
    ):
        options = {"attempts": 2, "give_up_after": 3, "breaker": BreakerOptions(cool_down=0.01)}
        answers.extend(client(server, **options).answers(request(str(n)) for n in itertools.count()))
    assert "run the command again" in caught.value.remedy
    assert len(answers) == 2, "the row that ended the run has no answer"


def test_a_success_between_failures_goes_on() -> None:
    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        return None if int(prompt_of(body)) % 3 == 2 else web.Response(status=500)

    with replaying(fault=fault) as server:
        answers = ask(requests(30), server, concurrency=1, attempts=1, give_up_after=3)
    assert Counter(answer.status for answer in answers) == {"failed": 20, "ok": 10}


def test_a_server_that_refuses_is_not_taken_for_one_that_is_gone() -> None:
    with replaying(fault=first_times(99, lambda: web.Response(status=400))) as server:
        answers = ask(requests(10), server, give_up_after=3)
    assert Counter(answer.status for answer in answers) == {"refused": 10}


def test_the_server_says_how_long_to_wait() -> None:
    fault = first_times(1, lambda: web.Response(status=429, headers={"Retry-After": "0.6"}))
    with replaying(fault=fault) as server:
        started = time.monotonic()
        (answer,) = ask([request("k")], server)
    assert answer.status == "ok"
    assert time.monotonic() - started >= 0.6


def test_the_server_says_not_to_wait() -> None:
    fault = first_times(3, lambda: web.Response(status=429, headers={"Retry-After": "0"}))
    with replaying(fault=fault) as server:
        started = time.monotonic()
        (answer,) = ask([request("k")], server, backoff=30.0)
    assert answer.status == "ok"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("header", ["nan", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", ""])
def test_a_wait_that_makes_no_sense_is_the_usual_wait(header: str) -> None:
    fault = first_times(1, lambda: web.Response(status=429, headers={"Retry-After": header}))
    with replaying(fault=fault) as server:
        started = time.monotonic()
        (answer,) = ask([request("k")], server, backoff=0.4)
    assert answer.status == "ok"
    assert 0.2 <= time.monotonic() - started < 5


def test_waits_grow_from_attempt_to_attempt() -> None:
    seen: list[float] = []

    def fault(body: dict[str, Any], _: int) -> web.Response:
        seen.append(time.monotonic())
        return web.Response(status=500)

    with replaying(fault=fault) as server:
        ask([request("k")], server, backoff=0.1, attempts=4)
    waits = [after - before for before, after in itertools.pairwise(seen)]
    for wait, shortest in zip(waits, (0.05, 0.1, 0.2), strict=True):
        assert wait >= shortest


def test_equal_servers_share_the_load_equally() -> None:
    with replaying() as left, replaying() as right:
        left.fault = right.fault = lambda body, seen: Slow(
            10, until=lambda: min(len(left.calls), len(right.calls)) >= 4
        )
        answers = ask(requests(8), left, right, concurrency=8, attempts=1)
        assert (len(left.calls), len(right.calls)) == (4, 4)
    assert {answer.status for answer in answers} == {"ok"}


def test_a_slow_server_gets_less_to_do() -> None:
    with replaying(delay=0.5) as slow, replaying(delay=0.01) as fast:
        ask(requests(60), slow, fast, concurrency=4)
        assert 0 < len(slow.calls) < len(fast.calls) / 2


@pytest.mark.parametrize("dead_first", [True, False])
def test_a_dead_server_costs_no_row_while_another_lives(dead_first: bool) -> None:
    with replaying(delay=0.02) as server:
        urls = [dead_url(), server.url] if dead_first else [server.url, dead_url()]
        lame = CompletionClient(urls, "replay", ClientOptions(concurrency=4, backoff=QUICK, attempts=3))
        answers = list(lame.answers(requests(60)))
    assert Counter(answer.status for answer in answers) == {"ok": 60}


def test_a_server_that_comes_back_is_used_again() -> None:
    broken = True
    with (
        replaying(fault=lambda body, seen: web.Response(status=500) if broken else None, delay=0.01) as lame,
        replaying(delay=0.01) as sound,
    ):
        answers = client(lame, sound, concurrency=2, breaker=BreakerOptions(cool_down=0.2)).answers(requests(250))
        for _ in range(10):
            next(answers)
        broken = False
        before = len(lame.calls)
        assert {answer.status for answer in answers} == {"ok"}
        assert len(lame.calls) - before > 20


def test_leaving_early_cancels_what_is_in_flight() -> None:
    gone: list[float] = []

    def fault(body: dict[str, Any], _: int) -> web.Response:
        if prompt_of(body) == "0":
            return Slow(10, until=lambda: len(server.calls) == 4)
        return Slow(20, gone=gone)

    with replaying(fault=fault) as server:
        answers = client(server, concurrency=4).answers(requests(50))
        assert next(answers).key == "0"
        answers.close()
        deadline = time.monotonic() + 5
        while len(gone) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(gone) == 3, "the server was left with requests that nobody waits for"
        assert len(server.calls) == 4


def test_any_text_goes_and_comes_unchanged() -> None:
    text = 'zwölf \u2028 日本語 🧪 \U0001f469\u200d🔬 e\u0301 \u0000 \\ " \ud83d end'

    def fault(body: dict[str, Any], _: int) -> web.Response:
        return web.json_response(reply(prompt_of(body)))

    with replaying(fault=fault) as server:
        (answer,) = ask([request("k", text)], server)
    assert answer.text == text


def test_an_answer_without_text_is_an_empty_text() -> None:
    with replaying(fault=lambda body, seen: web.json_response(reply(None))) as server:
        (answer,) = ask([request("k")], server)
    assert (answer.status, answer.text) == ("ok", "")


def test_a_server_that_does_not_count_tokens_counts_none() -> None:
    with replaying(fault=lambda body, seen: web.json_response(reply("text", usage=None))) as server:
        (answer,) = ask([request("k")], server)
    assert (answer.status, answer.prompt_tokens, answer.completion_tokens) == ("ok", 0, 0)
