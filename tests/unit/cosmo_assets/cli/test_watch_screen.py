"""What `cosmo watch` shows, of a job that stopped half-way and a pool that left its leases."""

import json
from pathlib import Path

import pytest
from aiohttp import web
from rich.console import Console

from cosmo_assets.cli.watch_screen import buckets, screen
from cosmo_assets.generation.accounting import account
from cosmo_assets.recipe.generation import Budget
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.leases import Lease, write_lease
from cosmo_resources.pools.agent import LEASES
from cosmo_resources.pools.meters import TOTALS
from cosmo_resources.pools.serving import UsageRecord
from tests.doubles.replay_server import replaying
from tests.unit.cosmo_assets.generation.jobs import job, work, workspace
from tests.unit.cosmo_assets.synthetic import recipe


def usage(folder: Path, name: str, gpus: int, seconds: float, joules: float | None, **metrics: float) -> None:
    record = UsageRecord(
        job=name, restart=0, node="n1", device="H100", gpus=gpus, seconds=seconds, joules=joules, metrics=metrics
    )
    (folder / f"usage-{name}.0.json").write_text(record.model_dump_json(), encoding="utf-8")


def meter(folder: Path, seconds: float, tokens: int, answered: int, gpu_seconds: float = 0.0) -> None:
    line = dict.fromkeys(TOTALS, 0) | {"completion_tokens": tokens, "answered": answered}
    line |= {"at": 1e9, "seconds": seconds, "gpu_seconds": gpu_seconds, "running": 7, "waiting": 2}  # type: ignore[dict-item]
    (folder / "meter-n1-1.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")


def test_the_account_adds_up_all_lives(tmp_path: Path) -> None:
    usage(tmp_path, "1", 2, 1800, 1.8e6, prefix_queries=300, prefix_hits=60)
    usage(tmp_path, "2", 1, 3600, None, prefix_queries=100, prefix_hits=40)
    meter(tmp_path, 100, 7200, 10)
    found = account(tmp_path, Budget(gpu_hour_price=3.0, gpu_watts=600))
    assert (found.gpu_hours, found.cost) == (2.0, 6.0)
    assert found.energy_kwh == pytest.approx(0.5 + 0.6)
    assert (found.prefix_hits, found.device) == (0.25, "H100")
    assert (found.tokens_per_second, found.tokens_per_second_per_gpu) == (72.0, 1.0)
    assert (found.running, found.waiting, found.workers) == (7, 2, 1)


def test_of_shared_servers_the_time_in_which_they_answered_counts(tmp_path: Path) -> None:
    meter(tmp_path, 100, 7200, 10, gpu_seconds=7200)
    found = account(tmp_path, Budget(gpu_watts=500))
    assert (found.gpu_hours, found.energy_kwh, found.tokens_per_second_per_gpu) == (2.0, 1.0, 1.0)


def test_without_devices_nothing_is_claimed_of_them(tmp_path: Path) -> None:
    meter(tmp_path, 100, 7200, 10)
    figures = account(tmp_path, Budget()).figures()
    assert figures["gpu_hours"] == 0.0
    assert "tokens_per_second_per_gpu" not in figures
    assert "prefix_hits" not in figures


def test_buckets_and_pools_are_shown(tmp_path: Path) -> None:
    chosen = recipe(buckets=2, generation={"shard_rows": 4})
    plan, folder = job(tmp_path, chosen, 12)
    with replaying() as server:
        server.fault = lambda body, seen: web.Response(status=500) if len(server.calls) > 5 else None
        with pytest.raises(CosmoError):
            work(folder, server, attempts=1, give_up_after=1, concurrency=1)
    meter(folder, 10, 1000, 5)
    usage(folder, "17_0", 1, 3600, None)
    pool = tmp_path / "pools" / "abc"
    lease = Lease(
        url="http://n1:8000/v1", model="m", engine="vllm", job="7", restart=2, node="n1", gpus=4, state="ready", beat=1,
        ttl=15,
    )  # fmt: skip
    write_lease(pool / LEASES, lease)
    store = workspace(tmp_path, chosen).store
    first, second = buckets(chosen, store)
    assert (first.rows, first.total, first.published) == (5, plan.rows, False)
    assert first.eta_seconds == (plan.rows - 5) / 0.5
    assert (second.rows, second.published, second.account) == (0, False, None)
    console = Console(width=140, record=True)
    console.print(screen(chosen, store, tmp_path / "pools"))
    text = console.export_text()
    assert "0 of 2 published, 1 under way" in text
    assert f"5/{plan.rows}" in text
    assert "not begun" in text
    assert "pool abc: m, 1 ready" in text
    assert "http://n1:8000/v1" in text
