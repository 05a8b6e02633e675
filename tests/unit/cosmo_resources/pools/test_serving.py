"""The record of what servers were used for, with servers that say of themselves what a test wants."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from cosmo_resources.pools import serving
from cosmo_resources.pools.serving import SlurmPlace, UsageKeeper, UsageRecord, usage, usage_records
from tests.doubles.replay_server import ReplayServer, replaying

PLACE = SlurmPlace(job="7", restart=0, node="n", requeue="7")

NAMES = {"running": "num_requests_running", "tokens": "generation_tokens_total", "hits": "prefix_cache_hits_total"}


class Says:
    """A server's figures; None: it gives no page."""

    def __init__(self, **figures: float) -> None:
        self.figures: dict[str, float] | None = figures

    async def page(self, _: web.Request) -> web.Response:
        if self.figures is None:
            return web.Response(status=500)
        names = {
            "running": "num_requests_running",
            "tokens": "generation_tokens_total",
            "hits": "prefix_cache_hits_total",
        }
        return web.Response(text="".join(f"vllm:{names[name]} {value}\n" for name, value in self.figures.items()))


@contextmanager
def server(says: Says) -> Iterator[ReplayServer]:
    with replaying(routes={"/metrics": says.page}) as server:
        yield server


def record(folder: Path) -> UsageRecord:
    (found,) = usage_records(folder)
    return found


def test_counters_are_those_of_this_life_alone(tmp_path: Path) -> None:
    one, two = Says(tokens=1000, hits=50, running=3), Says(tokens=0, running=1)
    with server(one) as first, server(two) as second:
        with usage(tmp_path, 0, [first.url, second.url]):
            one.figures = {"tokens": 1007, "hits": 52, "running": 4}
            two.figures = {"tokens": 30, "running": 2}
        assert record(tmp_path).metrics == {"completion_tokens": 37, "prefix_hits": 2, "running": 6}


def test_a_server_that_was_started_anew_counts_from_zero(tmp_path: Path) -> None:
    says = Says(tokens=10)
    with server(says) as one:
        keeper = UsageKeeper(tmp_path, PLACE, 0)
        keeper.watch([one.url])
        for tokens in (25, 25, 5, 8):
            says.figures = {"tokens": tokens}
            keeper.look()
        keeper.start()
        keeper.close()
    assert record(tmp_path).metrics == {"completion_tokens": 15 + 5 + 3}


def test_what_was_done_before_servers_are_stopped_is_kept(tmp_path: Path) -> None:
    says = Says(tokens=1, running=9)
    keeper = UsageKeeper(tmp_path, PLACE, 0)
    keeper.start()
    with server(says) as one:
        keeper.watch([one.url])
        says.figures = {"tokens": 12, "running": 0}
        keeper.look()
    keeper.close()
    assert record(tmp_path).metrics == {"completion_tokens": 11, "running": 0}


def test_a_server_that_was_silent_at_first_is_counted_from_its_first_word(tmp_path: Path) -> None:
    says = Says()
    says.figures = None
    with server(says) as one:
        keeper = UsageKeeper(tmp_path, PLACE, 0)
        keeper.watch([one.url])
        for tokens in (500, 510):
            says.figures = {"tokens": tokens}
            keeper.look()
        says.figures = None
        keeper.look()
        keeper.start()
        keeper.close()
    assert record(tmp_path).metrics == {"completion_tokens": 10}


def test_a_proxy_for_the_outside_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    says = Says(tokens=3)
    with server(says) as one, usage(tmp_path, 0, [one.url]):
        says.figures = {"tokens": 4}
    assert record(tmp_path).metrics == {"completion_tokens": 1}


def test_without_servers_there_is_a_record_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RECORD_SECONDS", 0.01)
    with usage(tmp_path, 0, []):
        pass
    found = record(tmp_path)
    assert (found.metrics, found.gpus, found.joules) == ({}, 0, None) and found.seconds < 5
