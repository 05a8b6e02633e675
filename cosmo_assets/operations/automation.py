"""Jobs and schedules: what a person starts with a click, and what starts by the clock once a person has switched it on.

Belongs here: their definitions, and which assets follow changed data by themselves. Does not belong here: which buckets
a night may take (`nights`), or what reacts to something that happened outside (`sensors`).
"""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from cosmo_assets.operations.adopt import KEEP_DAYS, prune
from cosmo_assets.operations.checks import CORPUS, STANDING_CHECKS
from cosmo_assets.operations.nights import Choice, Left, Night, choose, needs, night_of, pace
from cosmo_assets.operations.smoke import build_smoke_corpus
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.sensors import JOB as NEW_SEEDS
from cosmo_assets.sensors import UNDER_WAY, missing
from cosmo_assets.signals.catalogue import CATALOGUE
from cosmo_resources.deployment_file import NightlySection
from cosmo_resources.deployments import settings
from cosmo_resources.resources import StoreResource
from cosmo_resources.storage.store import CorpusStore

NEXT_BUCKET = "next_bucket"
NIGHT_TAG = "cosmo/night"
EXPECTED_TAG = "cosmo/expected_gpu_hours"
BUCKET_TAG = "dagster/partition"

FOLLOWING: Mapping[str, tuple[str, ...]] = {
    "generation_quality": ("generations",),
    "decontaminated": ("generations", "generation_quality"),
    "text_signatures": ("generations", "generation_quality", "decontaminated"),
    **{
        f"text_{family}": ("generations", "generation_quality", "decontaminated")
        for family in CATALOGUE
        if family != "neural"
    },
    "selection": ("deduplicated",),
    "mixture": ("deduplicated",),
    "corpus_report": ("token_lineage", "proxy_evaluation"),
}
"""Assets that follow by themselves, and the inputs that they follow: cheap, on processors, and asking no model. Inputs
whose change would redo every bucket are not among them (`benchmark_index`), nor are those that change before others
which belong to them have followed, nor signals by transformers, which may take a GPU."""


NOT_WITH: Mapping[str, str] = {"selection": "text_embeddings"}
"""What does not follow where it reads this: comparing all documents is not cheap, and embeddings do not follow."""

MAY_BE_MISSING = "proxy_evaluation"
"""What no follower waits for: somebody has to ask for it."""

INSTEAD: Mapping[str, str] = {"mixture": "selection"}
"""What is followed instead, where a recipe has it: it stands between."""


def following(spec: dg.AssetSpec) -> dg.AssetSpec:
    """The spec of an asset with all its inputs, with the condition on which it is made by itself, where it is one that
    follows. A dataset that was materialized again with the same data version changes nothing."""
    name = spec.key.to_user_string()
    inputs, between = FOLLOWING.get(name), INSTEAD.get(name)
    read = {dep.asset_key.to_user_string() for dep in spec.deps}
    if inputs is None or NOT_WITH.get(name) in read:
        return spec
    inputs = (str(between),) if between in read else tuple(name for name in inputs if name in read)
    missing = dg.AutomationCondition.any_deps_missing()
    if MAY_BE_MISSING in read:
        missing = missing.ignore(dg.AssetSelection.assets(MAY_BE_MISSING))
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    condition = (
        changed.allow(dg.AssetSelection.assets(*inputs)).since_last_handled()
        & ~missing
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    )
    return spec.replace_attributes(
        automation_condition=condition.with_label(f"the data version of {' or '.join(inputs)} has changed")
    )


def jobs(
    assets: Sequence[dg.AssetsDefinition],
    partitions: dg.PartitionsDefinition[str],
    *,
    per_bucket: Sequence[str],
    to_the_end: Sequence[str],
) -> list[Any]:
    """The jobs on a corpus: `assets` are those that are built, the others the names of those in its steps."""
    buckets = dg.AssetSelection.assets(*per_bucket)
    return [
        dg.define_asset_job(
            "pilot",
            selection=buckets,
            partitions_def=partitions,
            description="Generate and judge one bucket, an unbiased sample: choose b000 first.",
        ),
        dg.define_asset_job(
            NEXT_BUCKET,
            selection=buckets,
            partitions_def=partitions,
            description="Generate and judge one bucket: what the schedule `nightly` asks for.",
        ),
        dg.define_asset_job(
            "finish_corpus",
            selection=dg.AssetSelection.assets(*to_the_end),
            description="Mixture, shards, lineage, report and export from the buckets that are there.",
        ),
        dg.define_asset_job(
            "standing_checks",
            selection=dg.AssetSelection.checks_for_assets(CORPUS),
            description="Look for failed buckets, and compare what lies on disk with Dagster's record.",
        ),
        _build(assets),
        _prune([*(key for asset in assets for key in asset.check_keys), *(spec.key for spec in STANDING_CHECKS)]),
        smoke,
    ]


def schedules(section: NightlySection, needed: Sequence[str]) -> list[dg.ScheduleDefinition]:
    """All off until a person switches them on. `needed` must be built before new seeds are taken in."""
    return [
        _nightly(section),
        _weekly_seeds(section, needed),
        *(
            dg.ScheduleDefinition(
                name=name,
                job_name=job,
                cron_schedule=cron,
                execution_timezone=section.timezone,
                description=description,
                default_status=dg.DefaultScheduleStatus.STOPPED,
            )
            for name, job, cron, description in (
                ("daily_checks", "standing_checks", "30 6 * * *", "Failed buckets, and the disk against the record."),
                ("daily_smoke", "smoke", "0 12 * * *", "A tiny corpus, to see that the installation still works."),
                ("weekly_pruning", "prune_record", "0 5 * * 0", "Old runs and events that nothing shows any more."),
            )
        ),
    ]


def _nightly(section: NightlySection) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="nightly",
        job_name=NEXT_BUCKET,
        cron_schedule=section.cron,
        execution_timezone=section.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Generates the next missing or stale buckets from {section.window}, at most {section.buckets} "
        f"a night within {section.gpu_hours:g} GPU hours.",
    )
    def nightly(
        context: dg.ScheduleEvaluationContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        night = night_of(section, context.scheduled_execution_time)
        if night is None:
            return dg.SkipReason(f"outside the window {section.window}")
        if night.end <= datetime.now(UTC):  # the daemon was down, and makes up for ticks that it missed
            return dg.SkipReason(f"the night of {night.name} has ended")
        found = next_buckets(context.instance, recipe, store.create(), section, night, context.scheduled_execution_time)
        if not found.buckets:
            return dg.SkipReason(found.reason)
        context.log.info(f"after these: {found.reason}")
        return [
            dg.RunRequest(
                run_key=f"{night.name}-{bucket}",
                partition_key=bucket,
                tags={NIGHT_TAG: night.name, EXPECTED_TAG: f"{hours:.4f}"},
            )
            for bucket, hours in found.buckets
        ]

    return nightly


def next_buckets(
    instance: dg.DagsterInstance,
    recipe: Recipe,
    store: CorpusStore,
    section: NightlySection,
    night: Night,
    now: datetime,
) -> Choice:
    """The buckets that may begin now. Those at work, whoever began them, and those that this night has had are left
    out: what failed tonight is looked at by a person, or tried again in the next night."""
    tonight = instance.get_runs(dg.RunsFilter(tags={NIGHT_TAG: night.name}))
    under_way = {
        run.tags[BUCKET_TAG]
        for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))
        if BUCKET_TAG in run.tags and run.job_name != NEW_SEEDS
    }
    had = {run.tags[BUCKET_TAG] for run in tonight}
    left = Left(
        slots=section.at_once - len({run.tags[BUCKET_TAG] for run in tonight if run.status in UNDER_WAY}),
        buckets=section.buckets - len(had),
        gpu_hours=section.gpu_hours - sum(_gpu_hours(run, store) for run in tonight),
        seconds=(night.end - now).total_seconds(),
    )
    open_ = (need for need in needs(recipe, store) if need.bucket not in had | under_way)
    return choose(open_, pace(recipe, store), left)


def _gpu_hours(run: dg.DagsterRun, store: CorpusStore) -> float:
    """What a run of a night has cost: as its version says, else as was expected of it."""
    manifest = store.current_manifest("generations", run.tags[BUCKET_TAG])
    if manifest is not None and manifest.run.get("run_id") == run.run_id:
        return float(manifest.run.get("gpu_hours") or 0.0)
    return 0.0 if run.status is dg.DagsterRunStatus.SUCCESS else float(run.tags[EXPECTED_TAG])


def _weekly_seeds(section: NightlySection, needed: Sequence[str]) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="weekly_seeds",
        job_name=NEW_SEEDS,
        cron_schedule="0 4 * * 0",
        execution_timezone=section.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Reads the sources again and takes new seeds in, up to their prompts; asks no model.",
    )
    def weekly_seeds(context: dg.ScheduleEvaluationContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
        if absent := missing(store.create(), needed):
            return dg.SkipReason(f"{', '.join(absent)} not built yet: build the corpus once, then new seeds follow")
        return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}")

    return weekly_seeds


def _build(assets: Sequence[dg.AssetsDefinition]) -> dg.JobDefinition:
    @dg.op
    def launch_backfill(context: dg.OpExecutionContext) -> None:
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=make_new_backfill_id(),
            asset_graph=AssetGraph.from_assets(AssetGraph.normalize_assets(assets)),
            partition_names=None,
            asset_selection=[asset.key for asset in assets],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=context.instance,
            all_partitions=True,
            title="build",
            description="Every asset and bucket: what is built already is not built again.",
            run_config=None,
        )
        context.instance.add_backfill(backfill)
        context.log.info(f"backfill {backfill.backfill_id} of {len(assets)} assets")

    @dg.job(description="Build the corpus: a backfill of every asset and bucket. What is built is not built again.")
    def build() -> None:
        launch_backfill()

    return build


def _prune(checks: Sequence[dg.AssetCheckKey]) -> dg.JobDefinition:
    @dg.op
    def prune_old_runs(context: dg.OpExecutionContext) -> None:
        pruned = prune(context.instance, settings(os.environ).state, checks)
        context.log.info(f"{pruned.runs} runs removed, {pruned.kept} old ones kept, {pruned.bytes} bytes freed")

    @dg.job(description=f"Remove runs older than {KEEP_DAYS} days that no asset, bucket or check shows any more.")
    def prune_record() -> None:
        prune_old_runs()

    return prune_record


@dg.op
def build_tiny_corpus(context: dg.OpExecutionContext) -> None:
    """See `smoke`."""
    context.log.info(build_smoke_corpus(os.environ))


@dg.job(description="Build a tiny corpus from nothing, apart from the real one: does the installation work?")
def smoke() -> None:
    build_tiny_corpus()
