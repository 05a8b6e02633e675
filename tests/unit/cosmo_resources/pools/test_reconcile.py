"""The size of a service pool: what is submitted, cancelled and drained, as a function of what is seen."""

from dataclasses import replace
from typing import Any

import pytest

from cosmo_resources.inference.leases import Lease
from cosmo_resources.pools.agent import Failure
from cosmo_resources.pools.reconcile import Actions, PoolSize, View, decide
from cosmo_resources.slurm.records import JobRecord

SIZE = PoolSize(floor=1, ceiling=4, rows_per_server=100)


def job(number: int, state: str = "RUNNING", **more: Any) -> JobRecord:
    return JobRecord(job=str(number), task=None, name="cosmo-pool-x", state=state, **more)


def lease(number: int, state: Any = "ready", restart: int = 0) -> Lease:
    return Lease(
        url=f"http://n{number}:8000/v1",
        model="m",
        engine="vllm",
        job=str(number),
        restart=restart,
        node=f"n{number}",
        gpus=1,
        state=state,
        beat=1,
        ttl=15,
    )


def failure(node: str) -> Failure:
    return Failure(job="1", node=node, error="out of memory", remedy="less")


def view(**seen: Any) -> View:
    return replace(View(jobs=(), leases=(), overdue=(), rows=1000, failures=()), **seen)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [(None, 0), (0, 1), (1, 1), (100, 1), (101, 2), (399, 4), (10_000, 4)],
)
def test_as_many_servers_as_there_is_work_for(rows: int | None, wanted: int) -> None:
    assert SIZE.wanted(rows) == wanted


def test_a_floor_is_kept_while_somebody_asks() -> None:
    size = PoolSize(floor=3, ceiling=4, rows_per_server=100)
    assert [size.wanted(rows) for rows in (None, 1, 1000)] == [0, 3, 4]


def test_what_is_missing_is_submitted() -> None:
    assert decide(view(), SIZE) == Actions(submit=4)
    assert decide(view(jobs=[job(1), job(2, "PENDING")]), SIZE) == Actions(submit=2)


def test_a_full_pool_is_left_alone() -> None:
    jobs = [job(1), job(2), job(3, "PENDING"), job(4, "CONFIGURING")]
    assert decide(view(jobs=jobs, leases=[lease(1), lease(2, "starting")]), SIZE) == Actions()


def test_one_that_drains_or_completes_is_replaced() -> None:
    jobs = [job(1), job(2), job(3), job(4, "COMPLETING")]
    assert decide(view(jobs=jobs, leases=[lease(1), lease(2, "draining")]), SIZE) == Actions(submit=2)


def test_one_whose_lease_is_overdue_is_cancelled_and_replaced() -> None:
    jobs = [job(1), job(2), job(3), job(4)]
    assert decide(view(jobs=jobs, overdue=[lease(3)]), SIZE) == Actions(submit=1, cancel=("3",))


def test_the_lease_of_an_earlier_life_says_nothing() -> None:
    jobs = [job(1), job(2), job(3, restarts=1), job(4)]
    assert decide(view(jobs=jobs, overdue=[lease(3, restart=0)]), SIZE) == Actions()


def test_an_overdue_lease_of_a_job_that_waits_again_says_nothing() -> None:
    jobs = [job(1), job(2), job(3, "PENDING", restarts=1), job(4)]
    assert decide(view(jobs=jobs, overdue=[lease(3, restart=1)]), SIZE) == Actions()


def test_of_too_many_those_that_wait_go_first() -> None:
    jobs = [job(1), job(2), job(3, "PENDING"), job(4, "PENDING")]
    assert decide(view(jobs=jobs, rows=250), SIZE) == Actions(cancel=("4",))
    assert decide(view(jobs=jobs, rows=150), SIZE) == Actions(cancel=("4", "3"))
    assert decide(view(jobs=jobs, rows=50), SIZE) == Actions(cancel=("4", "3"), drain=("2",))


def test_without_demand_nothing_starts_and_nobody_who_runs_is_disturbed() -> None:
    jobs = [job(1), job(2, "PENDING")]
    assert decide(view(jobs=jobs, rows=None), SIZE) == Actions(cancel=("2",))
    assert decide(view(rows=None), SIZE) == Actions()


def test_a_node_where_servers_fail_is_left_out() -> None:
    failures = [failure("n1"), failure("n2"), failure("n1")]
    assert decide(view(failures=failures), SIZE) == Actions(submit=4, exclude=("n1",))


def test_a_job_that_could_not_be_launched_is_cancelled_and_replaced() -> None:
    held = job(2, "PENDING", reason="launch failed requeued held")
    by_a_person = job(3, "PENDING", reason="JobHeldUser")
    found = decide(view(jobs=[job(1), held, by_a_person]), SIZE)
    assert found == Actions(submit=2, cancel=("2",))
    assert decide(view(jobs=[held], rows=None), SIZE) == Actions(cancel=("2",))
