"""The view of generation under way, for a terminal: buckets, servers, throughput; read from disk alone.

Belongs here: what `cosmo watch` shows, as rich renderables. Does not belong here: doing or measuring any of it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from cosmo_assets.generation.accounting import Account, account
from cosmo_assets.generation.plan import GenerationPlan, read_plan
from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.leases import Lease, read_leases
from cosmo_resources.pools.agent import LEASES
from cosmo_resources.storage.ledger import ShardLedger, work_folders
from cosmo_resources.storage.store import CorpusStore

BAR = 12


@dataclass(frozen=True)
class BucketView:
    """One bucket: published, under way, or not begun (no rows)."""

    bucket: str
    rows: int
    total: int
    published: bool
    account: Account | None

    @property
    def eta_seconds(self) -> float | None:
        rate = self.account.requests_per_second if self.account else 0.0
        return (self.total - self.rows) / rate if rate and not self.published else None


def buckets(recipe: Recipe, store: CorpusStore) -> list[BucketView]:
    """Every bucket of a corpus. Cost: manifests of published buckets; ledgers and meters of those under way."""
    found = []
    for index in range(recipe.buckets):
        name = bucket_name(index)
        work = list(_under_way(store, recipe, name))
        if work:
            plan, folder = work[-1]
            rows = ShardLedger(folder).finished_rows()
            found.append(BucketView(name, rows, plan.rows, False, account(folder, recipe.budget)))
            continue
        current = store.current("generations", name)
        rows = current.manifest.rows if current is not None else 0
        found.append(BucketView(name, rows, rows, current is not None, None))
    return found


def screen(recipe: Recipe, store: CorpusStore, pools: Path) -> RenderableType:
    """Everything, as it is now."""
    views = buckets(recipe, store)
    return Group(_summary(recipe, views), _buckets(views), *_pools(pools))


def _under_way(store: CorpusStore, recipe: Recipe, bucket: str) -> Iterator[tuple[GenerationPlan, Path]]:
    for folder in sorted(work_folders(store.place("generations", bucket)), key=lambda path: path.stat().st_mtime):
        try:
            plan = read_plan(folder)
        except (CosmoError, OSError, ValueError):  # published and removed meanwhile
            continue
        if plan.bucket == bucket and plan.buckets == recipe.buckets:
            yield plan, folder


def _summary(recipe: Recipe, views: list[BucketView]) -> Table:
    accounts = [view.account for view in views if view.account]
    rate = sum(one.tokens_per_second for one in accounts)
    etas = [eta for view in views if (eta := view.eta_seconds) is not None]
    table = Table(title=f"{recipe.name}: generation", show_header=False, box=None, padding=(0, 1))
    rows = {
        "buckets": f"{sum(view.published for view in views)} of {len(views)} published, {len(accounts)} under way",
        "tokens/s, last minutes": f"{rate:,.0f}",
        "requests": f"{sum(one.running for one in accounts)} running, {sum(one.waiting for one in accounts)} waiting",
        "device hours": f"{sum(one.gpu_hours for one in accounts):,.2f}",
        "cost so far": f"{sum(one.cost for one in accounts):,.2f}",
        "energy": f"{sum(one.energy_kwh for one in accounts):,.2f} kWh",
        "under way ends in": _duration(max(etas)) if etas else "unknown",
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/]", value)
    return table


def _buckets(views: list[BucketView]) -> Table:
    table = Table("bucket", "progress", "rows", "tokens/s", "a device", "running", "workers", "cached", "ends in")
    for view in views:
        if view.account is None:
            if not view.published:
                table.add_row(view.bucket, "[dim]not begun[/]")
            continue
        one = view.account
        table.add_row(
            view.bucket,
            _bar(view.rows, view.total),
            f"{view.rows:,}/{view.total:,}",
            f"{one.tokens_per_second:,.0f}",
            "" if one.tokens_per_second_per_gpu is None else f"{one.tokens_per_second_per_gpu:,.0f}",
            f"{one.running}+{one.waiting}",
            str(one.workers),
            "" if one.prefix_hits is None else f"{one.prefix_hits:.0%}",
            "" if view.eta_seconds is None else _duration(view.eta_seconds),
        )
    return table


def _pools(root: Path) -> Iterator[Table]:
    for folder in sorted(root.glob("*")) if root.is_dir() else ():
        leases = read_leases(folder / LEASES)
        if leases:
            yield _pool(folder.name, leases)


def _pool(name: str, leases: list[Lease]) -> Table:
    states = Counter(lease.state for lease in leases)
    title = f"pool {name}: {leases[0].model}, " + ", ".join(f"{count} {state}" for state, count in states.items())
    table = Table("job", "node", "state", "restarts", "devices", "url", title=title)
    for lease in leases:
        table.add_row(lease.job, lease.node, lease.state, str(lease.restart), str(lease.gpus), lease.url)
    return table


def _bar(done: int, total: int) -> str:
    filled = BAR * done // max(total, 1)
    return f"[green]{'━' * filled}[/][dim]{'━' * (BAR - filled)}[/]"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
