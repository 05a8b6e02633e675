"""Demand for a shared pool: added up while it is renewed, void when it is not, whatever the clocks of others say."""

import os
from pathlib import Path

from cosmo_resources.pools.demand import TTL_SECONDS, DemandReader, DemandWriter, demand


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_demand_there_is_none(tmp_path: Path) -> None:
    assert DemandReader(tmp_path / "nowhere").rows() is None


def test_demands_are_added_up(tmp_path: Path) -> None:
    DemandWriter(tmp_path, "one").renew(5)
    DemandWriter(tmp_path, "two").renew(7)
    assert DemandReader(tmp_path).rows() == 12


def test_the_latest_word_counts(tmp_path: Path) -> None:
    writer = DemandWriter(tmp_path, "one")
    reader = DemandReader(tmp_path)
    for rows in (9, 4, 0):
        writer.renew(rows)
        assert reader.rows() == rows


def test_one_that_is_not_renewed_lapses(tmp_path: Path) -> None:
    clock = Clock()
    reader = DemandReader(tmp_path, clock)
    writer = DemandWriter(tmp_path, "one")
    writer.renew(5)
    assert reader.rows() == 5
    clock.now += TTL_SECONDS
    assert reader.rows() == 5
    clock.now += 0.1
    assert reader.rows() is None
    writer.renew(3)
    assert reader.rows() == 3


def test_a_file_from_another_time_is_judged_by_its_beat(tmp_path: Path) -> None:
    """Clocks of nodes differ: a file dated years ago, or ahead, is alive while its beat moves."""
    clock = Clock()
    reader = DemandReader(tmp_path, clock)
    writer = DemandWriter(tmp_path, "one")
    for moment in (1e9, 4e9, 1e9):
        writer.renew(5)
        os.utime(tmp_path / "one.json", (moment, moment))
        clock.now += TTL_SECONDS - 1
        assert reader.rows() == 5


def test_a_broken_file_is_nobodys_demand(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"name": "x', encoding="utf-8")
    DemandWriter(tmp_path, "one").renew(2)
    assert DemandReader(tmp_path).rows() == 2


def test_a_demand_ends_with_its_block(tmp_path: Path) -> None:
    reader = DemandReader(tmp_path)
    with demand(tmp_path, "one") as wanted:
        wanted.renew(2)
        assert reader.rows() == 2
    assert reader.rows() is None


def test_what_a_dead_client_left_is_removed_and_one_that_was_slow_comes_back(tmp_path: Path) -> None:
    clock = Clock()
    reader = DemandReader(tmp_path, clock)
    writer = DemandWriter(tmp_path, "slow")
    writer.renew(5)
    reader.rows()
    clock.now += TTL_SECONDS + 0.1
    assert reader.rows() is None
    assert list(tmp_path.glob("*.json")) == []
    writer.renew(4)
    assert reader.rows() == 4


def test_only_a_beat_that_moves_is_a_sign_of_life(tmp_path: Path) -> None:
    writer = DemandWriter(tmp_path, "one")
    writer.renew(5)
    reader = DemandReader(tmp_path)
    for _ in range(3):
        reader.rows()
    assert not reader.renewed
    writer.renew(5)
    reader.rows()
    assert reader.renewed
