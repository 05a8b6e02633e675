"""The account of a job's generation: throughput now and in total, devices, money, energy.

Belongs here: putting together what meters and usage records in a job's folder say. Does not belong here: measuring
(`cosmo_resources.pools`), or showing it (`assets`, `cosmo_assets.cli.watch_screen`).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from cosmo_assets.recipe.generation import Budget
from cosmo_resources.pools.meters import read_meters
from cosmo_resources.pools.serving import usage_records

HOUR = 3600.0


@dataclass(frozen=True)
class Account:
    """Figures of one job over all its lives. `gpu_hours` are those that devices were held for it, idle or not, or, of
    shared servers, those in which they answered it; `energy_kwh` is
    measured where the devices say, else `gpu_hours` at the recipe's `budget.gpu_watts`. `prefix_hits` is the share of
    prompt tokens that servers found in their cache, null where none says."""

    tokens_per_second: float
    tokens_per_second_per_gpu: float | None
    requests_per_second: float
    running: int
    waiting: int
    workers: int
    completion_tokens: int
    prompt_tokens: int
    retried: int
    gpu_hours: float
    cost: float
    energy_kwh: float
    prefix_hits: float | None
    device: str

    def figures(self) -> dict[str, float | int | str]:
        """Those that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


def account(folder: Path, budget: Budget) -> Account:
    """The account of the job in a folder. Cost: reads its meters and usage records."""
    meters, usage = read_meters(folder), usage_records(folder)
    held = sum(record.gpus * record.seconds for record in usage) or meters.gpu_seconds
    hours = held / HOUR
    measured = sum(record.joules or 0.0 for record in usage) / HOUR / 1000
    unmeasured = hours - sum(record.gpus * record.seconds for record in usage if record.joules is not None) / HOUR
    queries = sum(record.metrics.get("prefix_queries", 0.0) for record in usage)
    hits = sum(record.metrics.get("prefix_hits", 0.0) for record in usage)
    return Account(
        tokens_per_second=meters.tokens_per_second,
        tokens_per_second_per_gpu=round(meters.totals["completion_tokens"] / held, 1) if held else None,
        requests_per_second=meters.requests_per_second,
        running=meters.running,
        waiting=meters.waiting,
        workers=meters.workers,
        completion_tokens=meters.totals["completion_tokens"],
        prompt_tokens=meters.totals["prompt_tokens"],
        retried=meters.totals["retried"],
        gpu_hours=round(hours, 4),
        cost=round(hours * budget.gpu_hour_price, 2),
        energy_kwh=round(measured + unmeasured * budget.gpu_watts / 1000, 4),
        prefix_hits=round(hits / queries, 4) if queries else None,
        device=next((record.device for record in usage if record.device), ""),
    )
