"""Sensors: what asks for a run because something outside has changed.

Belongs here: watching the source folders of a recipe, and the job that takes new seeds in; looking after Slurm jobs
whose run is gone. Does not belong here: how seeds are read (`cosmo_assets.seeds`), or work that asks a model or fits
one: that starts because a person asked.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import dagster as dg

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.seeds.readers.sources import units
from cosmo_assets.stage import FITTED
from cosmo_resources.errors import CosmoError
from cosmo_resources.resources import SiteResource, StoreResource
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.store import CorpusStore

JOB = "new_seeds"
SENSOR = "new_seed_files"
GENERATE = "generate"
SETTLED_SECONDS = 10.0
"""A file that was written to less long ago is taken to be still in the making."""
INTERVAL_SECONDS = 60

_FITTED = frozenset({*FITTED, "topic_map"})
"""Assets that are fitted on all seeds: too dear, and too consequential, to be made by themselves."""

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

Entry = tuple[str, str, int, int]
"""Source, path of a file of it, bytes, and time of the last change in nanoseconds. A dataset of the hub stands there by
its name and commit, with zeros."""


def watch(assets: Sequence[dg.AssetsDefinition]) -> tuple[Any, dg.SensorDefinition]:
    """The job that takes new seeds in, and the sensor that asks for it. `assets` are those up to the prompts; the ones
    that ask a model or are fitted must be there already, and are left as they are."""
    cheap = [asset for asset in assets if _is_cheap(asset)]
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*(asset.key for asset in cheap)),
        description="Take new seeds in, up to their prompts: the clusters and their labels stay, no model is asked.",
    )
    return job, _sensor(needed_for_seeds(assets))


def needed_for_seeds(assets: Sequence[dg.AssetsDefinition]) -> list[str]:
    """The assets that must be there before new seeds can be taken in."""
    names = [asset.key.to_user_string() for asset in assets if not _is_cheap(asset)]
    return [name for name in names if name != "topic_map"]


def _is_cheap(asset: dg.AssetsDefinition) -> bool:
    return not asset.op.pool and asset.key.to_user_string() not in _FITTED


def _sensor(needed: Sequence[str]) -> dg.SensorDefinition:
    @dg.sensor(
        name=SENSOR,
        job_name=JOB,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks for `new_seeds` when files of a source are new, changed or gone. Stopped until switched on.",
    )
    def new_seed_files(
        context: dg.SensorEvaluationContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
    ) -> dg.SensorResult | dg.SkipReason:
        if absent := missing(store.create(), needed):
            return dg.SkipReason(f"{', '.join(absent)} not built yet: build the corpus once, then new files follow")
        try:
            entries = listing(recipe)
        except (CosmoError, FileNotFoundError) as error:  # a folder that is being emptied or renamed
            return dg.SkipReason(str(error))
        if young := unsettled(entries, time.time()):
            return dg.SkipReason(f"{young} changed less than {SETTLED_SECONDS:g} seconds ago")
        last: dict[str, Any] = json.loads(context.cursor) if context.cursor else {"number": 0, "files": ""}
        now = json_digest(entries)
        if now == last["files"]:
            return dg.SkipReason("no file is new, changed or gone")
        if context.instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=UNDER_WAY), limit=1):
            return dg.SkipReason(f"a run of {JOB} is under way; the change waits for its end")
        number = last["number"] + 1  # the files may come back to an earlier state: that is a change, too
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"{number}-{now}")],
            cursor=json.dumps({"number": number, "files": now}),
        )

    return new_seed_files


def orphans(recipe: Recipe, *, in_slurm: bool) -> dg.SensorDefinition:
    """The sensor that looks for Slurm jobs without a run. On where there is Slurm."""
    prefix = f"cosmo-{recipe.name}-"

    @dg.sensor(
        name="slurm_orphans",
        job_name=GENERATE,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if in_slurm else dg.DefaultSensorStatus.STOPPED,
        description="Asks for a run of every bucket whose Slurm jobs have none: it finds the jobs by their name, waits "
        "for them, and publishes what they did.",
    )
    def slurm_orphans(context: dg.SensorEvaluationContext, site: SiteResource) -> dg.SensorResult | dg.SkipReason:
        if not site.in_slurm:
            return dg.SkipReason("this deployment has no Slurm")
        jobs = {job.name.removeprefix(prefix).split("-")[0]: job for job in site.slurm().jobs(prefix)}
        orphaned = {bucket: job for bucket, job in jobs.items() if not _run_of(context.instance, bucket)}
        seen = set(json.loads(context.cursor)) if context.cursor else set()
        cursor = json.dumps(sorted(job.job for job in orphaned.values()))
        # A job that was without a run at one look only may belong to one that is just beginning.
        requests = [
            dg.RunRequest(run_key=f"{job.name}-{job.job}", partition_key=bucket, tags={"cosmo/slurm_job": job.job})
            for bucket, job in sorted(orphaned.items())
            if job.job in seen
        ]
        return dg.SensorResult(run_requests=requests, cursor=cursor)

    return slurm_orphans


@dg.sensor(
    name="dead_runs",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone: killed, it could not say so itself. Dagster then repeats them as "
    "`run_retries` says.",
)
def dead_runs(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
    """The sensor that looks for runs without a process. Always on: nothing else would ever end such a run, and what
    waits for it, a backfill or a slot of a pool, would wait for ever."""
    buried = bury_dead_runs(context.instance, store.create())
    return dg.SkipReason(f"ended, as their process is gone: {', '.join(buried)}" if buried else "no run is dead")


def bury_dead_runs(instance: dg.DagsterInstance, store: CorpusStore) -> list[str]:
    """End the runs whose process is gone. A living one holds the corpus under the run's id.

    Returns: the ids of the runs that were ended.
    """
    buried = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])):
        if store.abandoned(run.run_id):
            instance.report_run_failed(run, "the process of this run is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            buried.append(run.run_id)
    return buried


def _run_of(instance: dg.DagsterInstance, bucket: str) -> bool:
    """Whether a run of this bucket is under way."""
    under_way = dg.RunsFilter(tags={"dagster/partition": bucket}, statuses=UNDER_WAY)
    return bool(instance.get_runs(under_way, limit=1))


def missing(store: CorpusStore, needed: Sequence[str]) -> list[str]:
    """Those of some assets that are not built."""
    return [name for name in needed if store.current_version(name) is None]


def listing(recipe: Recipe) -> list[Entry]:
    """Every file of every source, by name, size and time of change, sorted. Cost: one look at each file, none inside.

    Raises:
        CosmoError: no file matches a source's path.
        FileNotFoundError: a file went away meanwhile.
    """
    entries: list[Entry] = []
    for source in recipe.all_sources:
        for unit in units(recipe, source):
            if not unit.files:
                entries.append((source.name, unit.name, 0, 0))
            for file in unit.files:
                facts = file.stat()
                entries.append((source.name, str(file), facts.st_size, facts.st_mtime_ns))
    return sorted(entries)


def unsettled(entries: Sequence[Entry], now: float) -> str | None:
    """A file that changed within `SETTLED_SECONDS` of `now`, on either side, for clocks of other machines differ."""
    changed = (name for _, name, _, mtime in entries if mtime and abs(now - mtime / 1e9) < SETTLED_SECONDS)
    return next(changed, None)
