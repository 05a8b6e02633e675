"""The balancer: who is sent where, and how requests that kill servers are found and kept apart."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cosmo_resources.inference.balancer import Balancer, Call, Effect
from cosmo_resources.inference.breaker import BreakerOptions
from cosmo_resources.inference.endpoints import Endpoint

A, B, C = (Endpoint(f"http://{name}/v1") for name in "abc")


def balancer(*endpoints: Endpoint, **options: Any) -> Balancer:
    usual: dict[str, Any] = {
        "concurrency": 100,
        "per_endpoint": None,
        "patience": None,
        "breaker": BreakerOptions(failures=1000, cool_down=0.01),
        "wake": lambda: None,
    }
    made = Balancer(**{**usual, **options})
    made.refresh(endpoints)
    return made


def in_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 20))

    run.__name__ = test.__name__  # type: ignore[attr-defined]
    return run


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def crash(of: Balancer, calls: list[Call], effect: Effect = "reset") -> None:
    """Send all, then let their server go down under them."""
    sent = [await of.acquire(call) for call in calls]
    for sending in sent:
        of.release(sending, effect)


@in_loop
async def test_the_least_loaded_is_asked() -> None:
    of = balancer(A, B, C)
    sent = [await of.acquire(Call()) for _ in range(9)]
    assert sorted(sending.target.endpoint.url for sending in sent) == [E.url for E in (A, B, C) for _ in range(3)]
    for sending in sent:
        if sending.target.endpoint == B:
            of.release(sending, "answered")
    assert (await of.acquire(Call())).target.endpoint == B


@in_loop
async def test_those_that_wait_are_served_in_order() -> None:
    of = balancer(A, concurrency=1)
    held = await of.acquire(Call())
    order: list[int] = []

    async def take(number: int) -> None:
        sending = await of.acquire(Call())
        order.append(number)
        of.release(sending, "answered")

    tasks = [asyncio.create_task(take(number)) for number in range(5)]
    await turns()
    assert (of.waiting, of.room(), order) == (5, 0, [])
    of.release(held, "answered")
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


@in_loop
async def test_who_is_cancelled_while_it_waits_takes_no_slot() -> None:
    of = balancer(A, concurrency=1)
    held = await of.acquire(Call())
    waits = [asyncio.create_task(of.acquire(Call())) for _ in range(3)]
    await turns()
    waits[0].cancel()
    await turns()
    of.release(held, "answered")  # hands the slot to the second ...
    waits[1].cancel()  # ... which is cancelled in the same turn
    await turns()
    assert waits[2].done()
    of.release(await waits[2], "answered")
    assert (of.running, of.waiting, of.room()) == (0, 0, 1)


@in_loop
async def test_after_two_crashes_a_request_is_alone_on_its_endpoint() -> None:
    of = balancer(A)
    calls = [Call() for _ in range(3)]
    await crash(of, calls)
    assert not any(call.suspect for call in calls), "once is no suspicion"
    await crash(of, calls)
    assert all(call.suspect for call in calls)
    normal = await of.acquire(Call())
    waits = [asyncio.create_task(of.acquire(call)) for call in calls]
    other = asyncio.create_task(of.acquire(Call()))
    await turns()
    assert (of.running, of.room()) == (1, 0), "the endpoint is emptied first"
    of.release(normal, "answered")
    for count in range(3):
        await turns()
        assert (sum(task.done() for task in waits), of.running, other.done()) == (count + 1, 1, False)
        assert of.isolated is not None
        of.release(of.isolated, "answered")
    await turns()
    assert other.done()


@in_loop
async def test_a_suspect_empties_one_endpoint_and_the_others_go_on() -> None:
    of = balancer(A, B)
    poison = Call()
    await crash(of, [poison])
    await crash(of, [poison])
    sent = [await of.acquire(Call()) for _ in range(4)]
    waits = asyncio.create_task(of.acquire(poison))
    await turns()
    others = [await of.acquire(Call()) for _ in range(4)]
    (crowded,) = {sending.target.endpoint for sending in others}
    for sending in sent:
        if sending.target.endpoint != crowded:
            of.release(sending, "answered")
    alone = await waits
    assert alone.target.endpoint != crowded
    assert alone.target.running == 1


@in_loop
async def test_the_culprit_explains_the_crashes_and_clears_the_others() -> None:
    of = balancer(A)
    poison, others = Call(), [Call() for _ in range(20)]
    await crash(of, [*others, poison])
    await crash(of, [*others, poison])
    assert all(call.suspect for call in others)
    busy = await of.acquire(Call())
    waits = [asyncio.create_task(of.acquire(call)) for call in [*others, poison]]
    await turns()
    of.release(busy, "answered")
    await turns()
    assert waits[-1].done(), "what was sent last before a crash is tried first"
    of.release(waits[-1].result(), "reset")
    await turns()
    assert poison.culprit
    assert poison.suspect
    assert not any(call.suspect for call in others)
    assert {call.attempts - call.chances_used for call in others} == {2}, "its crashes cost the others no chance"
    assert poison.chances_used == poison.attempts
    assert all(task.done() for task in waits), "they were cleared, and go at the same time"


@in_loop
async def test_a_server_that_answers_with_errors_and_then_is_gone_went_down_under_them() -> None:
    of = balancer(A)
    poison, probe = Call(), Call()
    for crashes in (1, 2):
        await crash(of, [poison], "failed")
        assert len(poison.crashes) == crashes
        assert poison.suspect == (crashes > 2)
        await crash(of, [probe], "unsent")
        await asyncio.sleep(0.05)
    assert poison.suspect
    assert not probe.suspect


@in_loop
async def test_errors_of_a_server_that_lives_on_are_no_crash() -> None:
    of = balancer(A)
    call = Call()
    for _ in range(3):
        await crash(of, [call], "failed")
        of.release(await of.acquire(Call()), "answered")
        await crash(of, [Call()], "unsent")
        await asyncio.sleep(0.05)
    assert not call.suspect


@in_loop
async def test_a_server_that_vanishes_after_errors_went_down_under_them() -> None:
    of = balancer(A)
    call = Call()
    for _ in range(2):
        await crash(of, [call], "failed")
        of.refresh([])
        of.refresh([A])
    assert call.suspect


@pytest.mark.parametrize("effect", ["failed", "unsent"])
def test_no_endpoint_is_remembered_that_is_gone(effect: Effect) -> None:
    async def test() -> None:
        of = balancer(A)
        held = await of.acquire(Call())
        for number in range(50):
            of.refresh([Endpoint(f"http://n{number}/v1")])
            assert len(of.targets()) == 2
        of.release(held, effect)
        assert [target.endpoint.url for target in of.targets()] == ["http://n49/v1"]

    asyncio.run(test())


@in_loop
async def test_a_new_job_at_an_old_address_starts_with_a_closed_breaker() -> None:
    of = balancer(Endpoint("http://a/v1", job="1"), breaker=BreakerOptions(cool_down=100.0))
    await crash(of, [Call()], "unsent")
    assert (of.room(), of.works) == (0, False)
    of.refresh([Endpoint("http://a/v1", job="2")])
    assert (of.room(), of.works) == (100, True)
