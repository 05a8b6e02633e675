"""A short round of chaos; `python -m tests.benchmarks.chaos` runs many longer ones."""

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.rounds import Plan, draw_plan, prepare, repeat_command

SHORT = Plan(
    name="short",
    way="batch",
    partition="spot",
    tasks=2,
    servers=1,
    concurrency=4,
    delay=0.3,
    daemon=False,
    small_disk=False,
    clock=False,
    short=False,
    moments=((0.05, "reset"), (0.2, "task"), (0.5, "client"), (0.7, "worker")),
)


@pytest.mark.timeout(400)
def test_nothing_is_lost_or_doubled_while_things_break(cluster: Cluster, tmp_path: Path) -> None:
    verdict = prepare(cluster, tmp_path, prompts=80).run(SHORT, tmp_path / "round")
    assert verdict.wrong == []
    assert verdict.rows > 70
    assert verdict.faults > 0
    assert verdict.starts > 1
    assert verdict.bound >= verdict.repeated


def test_a_round_can_be_drawn_again() -> None:
    plan = draw_plan(1, 3)
    assert plan == draw_plan(1, 3)
    assert plan != draw_plan(1, 4)
    assert repeat_command(plan) == "python -m tests.benchmarks.chaos --seed 1 --round 3"
