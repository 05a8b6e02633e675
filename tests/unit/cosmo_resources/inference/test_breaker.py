"""The circuit breaker of one endpoint, on a clock of the test's own."""

import pytest

from cosmo_resources.inference.breaker import Breaker, BreakerOptions

OPTIONS = BreakerOptions(failures=3, cool_down=1.0, longest=30.0)


def fail(breaker: Breaker, now: float = 0.0, *, reachable: bool = True) -> None:
    breaker.fail(breaker.begin(), now, reachable=reachable)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(OPTIONS)
    fail(breaker, now, reachable=False)
    assert breaker.state == "open"
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(OPTIONS)
    for _ in range(2):
        fail(breaker)
        assert breaker.state == "closed"
    breaker.succeed(breaker.begin())
    for _ in range(2):
        fail(breaker)
    assert (breaker.state, breaker.admits(0.0)) == ("closed", True)
    fail(breaker)
    assert (breaker.state, breaker.admits(0.0), breaker.reachable) == ("open", False, True)


def test_a_refused_connection_opens_it_at_once() -> None:
    breaker = Breaker(OPTIONS)
    fail(breaker, reachable=False)
    assert (breaker.state, breaker.reachable) == ("open", False)


def test_after_it_cooled_down_one_probe_goes_through_and_closes_it() -> None:
    breaker = opened()
    assert not breaker.admits(0.7)
    assert breaker.admits(1.3)
    epoch = breaker.begin()
    assert (breaker.state, breaker.admits(1.3), breaker.admits(99.0)) == ("half-open", False, False)
    breaker.succeed(epoch)
    assert (breaker.state, breaker.admits(1.3), breaker.reachable) == ("closed", True, True)


def test_each_probe_that_fails_doubles_the_rest_up_to_a_limit() -> None:
    breaker, now = opened(), 0.0
    for rest in (1, 2, 4, 8, 16, 30, 30, 30):
        assert 0.75 * rest <= breaker.until - now <= 1.25 * rest
        now = breaker.until
        fail(breaker, now)
    breaker.succeed(breaker.begin())
    for _ in range(3):
        fail(breaker, now)
    assert breaker.until - now <= 1.25, "after a success it begins anew"


def test_rests_are_not_all_alike() -> None:
    assert len({opened().until for _ in range(20)}) > 10


def test_what_was_sent_before_it_opened_says_nothing_after() -> None:
    breaker = Breaker(OPTIONS)
    before = [breaker.begin() for _ in range(9)]
    for epoch in before[:3]:
        breaker.fail(epoch, 0.0, reachable=True)
    until = breaker.until
    for epoch in before[3:8]:
        breaker.fail(epoch, 0.5, reachable=True)
    assert breaker.until == until, "failures of one crash made the rest longer"
    breaker.succeed(before[8])
    assert breaker.state == "open"
    probe = breaker.begin()
    breaker.succeed(before[8])
    assert breaker.state == "half-open"
    breaker.fail(before[8], 5.0, reachable=True)
    assert breaker.state == "half-open"
    breaker.succeed(probe)
    assert breaker.state == "closed"


@pytest.mark.parametrize("again", [1, 3])
def test_a_probe_that_nobody_waits_for_makes_room_for_another(again: int) -> None:
    breaker = opened()
    for _ in range(again):
        breaker.forget(breaker.begin())
        assert (breaker.state, breaker.admits(2.0)) == ("open", True)
