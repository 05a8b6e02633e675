"""Nights: which buckets a schedule may generate now, within a time window and a budget of GPU hours.

Belongs here: the window, what a bucket costs, which buckets need work, the choice. Does not belong here: asking for
runs (`automation`), or the arithmetic of a whole corpus (`cosmo_assets.prompts.forecast`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cosmo_assets.generation.generate import build_plan
from cosmo_assets.generation.plan import documents_of
from cosmo_assets.ids import bucket_name
from cosmo_assets.prompts.forecast import measured, speed
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.deployment_file import NightlySection
from cosmo_resources.storage.store import CorpusStore


@dataclass(frozen=True)
class Night:
    """One opening of the window."""

    begin: datetime
    end: datetime

    @property
    def name(self) -> str:
        """The day on which it begins."""
        return f"{self.begin:%Y-%m-%d}"


@dataclass(frozen=True)
class Pace:
    """What a document costs: device hours, and seconds by the clock of one bucket at work. None where nobody knows."""

    gpu_hours: float | None
    seconds: float | None


@dataclass(frozen=True)
class Need:
    """A bucket that needs work, and how many documents of it are to be generated at most."""

    bucket: str
    documents: int


@dataclass(frozen=True)
class Left:
    """What a night still allows."""

    slots: int
    """Buckets that may begin now, beside those at work."""
    buckets: int
    gpu_hours: float
    seconds: float


@dataclass(frozen=True)
class Choice:
    """The buckets to begin now, each with its expected GPU hours, and why there are no more of them."""

    buckets: tuple[tuple[str, float], ...]
    reason: str


def night_of(section: NightlySection, now: datetime) -> Night | None:
    """The night that `now` is in, by the window's own clock; None outside the window. A window whose ends are equal is
    the whole day."""
    begins, ends = section.times
    local = now.astimezone(section.zone)
    for day in (local - timedelta(days=1), local):
        begin = day.replace(hour=begins.hour, minute=begins.minute, second=0, microsecond=0)
        end = begin.replace(hour=ends.hour, minute=ends.minute)
        if end <= begin:
            end += timedelta(days=1)
        if begin <= local < end:
            return Night(begin, end)
    return None


def pace(recipe: Recipe, store: CorpusStore) -> Pace:
    """What a document has cost in the buckets that were generated; before there are any, what the plan expects."""
    runs = [manifest.run for bucket in _names(recipe) if (manifest := store.current_manifest("generations", bucket))]
    runs = [run for run in runs if run.get("computed_rows") and run.get("generation_seconds")]
    if runs:
        rows = sum(int(run["computed_rows"]) for run in runs)
        seconds = sum(float(run["generation_seconds"]) for run in runs)
        return Pace(sum(float(run.get("gpu_hours") or 0.0) for run in runs) / rows, seconds / rows)
    found = speed(recipe, measured(recipe, store))
    if found is None:
        return Pace(None, None)
    seconds = recipe.generation.max_tokens / found.tokens_per_second  # no answer is longer
    return Pace(seconds / 3600, None)


def needs(recipe: Recipe, store: CorpusStore) -> Iterator[Need]:
    """The buckets that need work, in the order in which they are to have it: those that were never generated; those
    whose prompts, model or sampling have changed since; those with documents that failed for reasons of the moment.
    Those of the latter kinds are counted only when they are reached."""
    prompts = store.current("prompt_table")
    if prompts is None:
        return
    sizes = dict.fromkeys(_names(recipe), 0)
    for entry in prompts.manifest.files:
        if entry.role == "rows" and entry.bucket in sizes:
            sizes[entry.bucket] += entry.rows * recipe.generation.samples
    stale, failed = [], []
    for bucket in sizes:
        manifest = store.current_manifest("generations", bucket)
        if manifest is None:
            yield Need(bucket, sizes[bucket])
        elif manifest.plan != build_plan(recipe, prompts, bucket).digest:
            stale.append(bucket)
        elif manifest.flow.failed.get("failed"):
            failed.append(manifest)
    for bucket in stale:
        wanted, there = documents_of(recipe, store, bucket)
        yield Need(bucket, wanted - there)
    for manifest in failed:
        yield Need(manifest.bucket, manifest.flow.failed["failed"])


def choose(found: Iterator[Need], at: Pace, left: Left) -> Choice:
    """The next buckets that fit in what is left of the night, in order. One that does not fit is passed over for a
    smaller one behind it only where it is too long for the night's rest, never where it is too dear: that would put it
    off for ever."""
    if left.slots <= 0:
        return Choice((), "as many buckets as may be are at work")
    if left.buckets <= 0:
        return Choice((), "this night has had its buckets")
    if at.gpu_hours is None:
        return Choice((), "nobody knows what a bucket costs: generate a pilot, or set budget.tokens_per_second")
    chosen: list[tuple[str, float]] = []
    hours, reason = left.gpu_hours, "no other bucket needs work"
    for need in found:
        if len(chosen) == min(left.slots, left.buckets):
            reason = "more buckets wait for their turn"
            break
        cost = need.documents * at.gpu_hours
        if cost > hours:
            reason = f"{need.bucket} needs {cost:.2f} GPU hours, {max(hours, 0.0):.2f} are left of the budget"
            break
        if need.documents * (at.seconds or 0.0) > left.seconds:
            reason = f"{need.bucket} would not be done before the night ends"
            continue
        chosen.append((need.bucket, cost))
        hours -= cost
    return Choice(tuple(chosen), reason)


def _names(recipe: Recipe) -> list[str]:
    return [bucket_name(index) for index in range(recipe.buckets)]
