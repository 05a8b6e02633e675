"""Dagster's record of a corpus: rebuilding it from what lies on disk, comparing the two, and pruning what grows old.

Belongs here: reading and writing the instance's events about datasets. Does not belong here: making or removing
datasets (the stages, `garbage`).
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from cosmo_assets.partitions import buckets
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import CHECKS_OF, Show, check_result, metadata_of
from cosmo_assets.schemas.tables import TABLES
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL, CorpusStore

DATA_VERSION_TAG = "dagster/data_version"
KEEP_DAYS = 30
"""Runs that ended less long ago are kept, whatever they did."""
PAGE = 500


@dataclass(frozen=True)
class Difference:
    """Where the disk and the record do not agree about an asset's bucket, and the command that mends it."""

    asset: str
    bucket: str
    state: str
    detail: str
    remedy: str


@dataclass(frozen=True)
class Attempt:
    """An attempt to materialize a bucket of an asset that failed, and that nothing has made good since."""

    asset: str
    bucket: str
    run: str
    status: str
    remedy: str


@dataclass(frozen=True)
class Pruned:
    """What `prune` removed: runs, ticks and evaluations older than its limit; and the old runs that it kept."""

    runs: int
    kept: int
    bytes: int


def adopt(recipe: Recipe, store: CorpusStore, instance: dg.DagsterInstance) -> tuple[list[Manifest], list[CosmoError]]:
    """Report every current manifest that the instance does not hold at that version, as of when it was built, and the
    results of its asset's checks. Buckets that the recipe does not have (any more) are left alone.

    Returns: the manifests that were reported, and the errors of those that are damaged.
    """
    adopted: list[Manifest] = []
    damaged: list[CosmoError] = []
    order = {asset: number for number, asset in enumerate(TABLES)}
    for asset in sorted(
        store.assets(), key=lambda asset: order.get(asset, len(order))
    ):  # inputs before what reads them
        known, there = recorded(instance, asset), []
        for bucket, found in _on_disk(recipe, store, asset):
            if isinstance(found, CosmoError):
                damaged.append(found)
                continue
            there.append(found)
            if known.get(bucket) != found.version:
                _report(instance, _materialization(found), _built_at(found, store))
                adopted.append(found)
        if there and adopted and adopted[-1].asset == asset:
            for evaluation in _evaluations(recipe, asset, there):
                instance.report_runless_asset_event(evaluation)
    return adopted, damaged


def recorded(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    """The data version that the instance holds of each bucket of an asset, or of `all`. Cost: two queries."""
    versions = {}
    for record in _latest(instance, dg.AssetKey(asset)):
        event = record.asset_materialization
        if event is not None and (version := (event.tags or {}).get(DATA_VERSION_TAG)) is not None:
            versions[event.partition or ALL] = version
    return versions


def differences(recipe: Recipe, store: CorpusStore, instance: dg.DagsterInstance) -> Iterator[Difference]:
    """Where the datasets on disk and the instance's latest materializations disagree, by asset and bucket; damaged
    datasets are among them. Cost: the manifests, one look at each file, two queries per asset."""
    assets = set(store.assets()) | {
        key.path[0] for key in instance.all_asset_keys() if len(key.path) == 1 and _latest(instance, key)
    }
    for asset in sorted(assets):
        known = recorded(instance, asset)
        for bucket, found in _on_disk(recipe, store, asset):
            version = known.pop(bucket, None)
            if isinstance(found, CosmoError):
                yield Difference(asset, bucket, "damaged", found.message, _again(asset, bucket))
            elif version is None:
                yield Difference(asset, bucket, "not in the record", f"version {found.version}", "cosmo adopt")
            elif version != found.version:
                detail = f"version {found.version}, in the record {version}"
                yield Difference(asset, bucket, "another version", detail, "cosmo adopt")
        for bucket, version in known.items():
            yield Difference(asset, bucket, "not on disk", f"in the record {version}", _again(asset, bucket))


def failed_attempts(instance: dg.DagsterInstance) -> Iterator[Attempt]:
    """The attempts that failed or were cancelled since the last materialization, by asset and bucket. Cost: a few
    queries per asset, one per failed attempt."""
    for key in sorted(instance.all_asset_keys()):
        for bucket, run_id in _open_attempts(instance, key):
            run = instance.get_run_by_id(run_id)
            if run is not None and run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
                asset = key.to_user_string()
                yield Attempt(asset, bucket, run_id, run.status.value, _again(asset, bucket))


def prune(
    instance: dg.DagsterInstance, state: Path, checks: Sequence[dg.AssetCheckKey], *, days: int = KEEP_DAYS
) -> Pruned:
    """Remove the runs that ended more than `days` days ago, with all their events and logs, unless something still
    shows them: the latest materialization of an asset or of one of its buckets, its latest attempt, its latest
    observation, the latest result of a check, a backfill under way. So no bucket turns grey. Ticks and evaluations of
    automation conditions of that age go as well.

    Works through the instance alone, whatever its storage; what SQLite's files hold beyond is then given back.
    """
    limit = datetime.now(UTC) - timedelta(days=days)
    before = _size(state)
    needed = _shown(instance, checks)
    removed = kept = 0
    for run in _ended_before(instance, limit):
        if run in needed:
            kept += 1
            continue
        instance.delete_run(run)
        instance.compute_log_manager.delete_logs(prefix=[run])
        removed += 1
    for instigator in instance.all_instigator_state():
        instance.purge_ticks(instigator.instigator_origin_id, instigator.selector_id, limit.timestamp())
    if instance.schedule_storage is not None:
        instance.schedule_storage.purge_asset_evaluations(limit.timestamp())
    _shrink(instance, state)
    return Pruned(removed, kept, before - _size(state))


def _on_disk(recipe: Recipe, store: CorpusStore, asset: str) -> Iterator[tuple[str, Manifest | CosmoError]]:
    """The current manifest of each bucket, or what is wrong with it."""
    for bucket in (ALL, *buckets(recipe).get_partition_keys()):
        try:
            dataset = store.current(asset, bucket)
        except CosmoError as error:
            yield bucket, error
            continue
        if dataset is not None:
            yield bucket, dataset.manifest


def _materialization(manifest: Manifest) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset_key=manifest.asset,
        partition=None if manifest.bucket == ALL else manifest.bucket,
        metadata=metadata_of(manifest, Show()),
        tags={DATA_VERSION_TAG: manifest.version},
    )


def _built_at(manifest: Manifest, store: CorpusStore) -> float:
    """When a version was built, in seconds of the epoch."""
    folder = store.place(manifest.asset, manifest.bucket) / manifest.version
    return float(manifest.run.get("built_at") or folder.stat().st_mtime)


def _report(instance: dg.DagsterInstance, event: dg.AssetMaterialization, timestamp: float) -> None:
    """`report_runless_asset_event`, at a time of the past."""
    instance.report_dagster_event(
        DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name=RUNLESS_JOB_NAME,
            event_specific_data=StepMaterializationData(event),
        ),
        run_id=RUNLESS_RUN_ID,
        timestamp=timestamp,
    )


def _evaluations(recipe: Recipe, asset: str, manifests: Sequence[Manifest]) -> Iterator[dg.AssetCheckEvaluation]:
    """One result of each check of an asset: of a bucket where it fails, if there is one. Dagster shows the latest."""
    for check in CHECKS_OF.get(asset, ()):
        results = [check_result(check, manifest, recipe) for manifest in manifests]
        found = next((result for result in results if not result.passed), results[-1])
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset),
            check_name=check.name,
            passed=found.passed,
            metadata=found.metadata,
            severity=found.severity,
            description=found.description,
        )


def _latest(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[dg.EventLogRecord]:
    """The latest materialization of each partition of an asset, and of the whole where it has none."""
    storage = instance.event_log_storage
    ids = list(storage.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION).values())
    found = [*instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=1).records]
    if ids:
        chosen = dg.AssetRecordsFilter(key, storage_ids=ids)
        found = [one for one in found if one.partition_key is None]
        found += instance.fetch_materializations(chosen, limit=len(ids)).records
    return found


def _again(asset: str, bucket: str) -> str:
    """The command that makes a dataset again; one that is damaged is replaced."""
    return f"cosmo run --asset {asset}{'' if bucket == ALL else f' --bucket {bucket}'}"


def _open_attempts(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[tuple[str, str]]:
    """Each bucket of an asset, or `all`, that was to be materialized and was not since, and the run that was to."""
    storage = instance.event_log_storage
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
    yield from sorted((bucket, run) for bucket, (run, _) in attempts.items())
    planned = storage.get_latest_planned_materialization_info(key)
    if planned is not None and not attempts:
        latest = instance.fetch_materializations(key, limit=1).records
        if not latest or (latest[0].partition_key is None and latest[0].storage_id < planned.storage_id):
            yield ALL, planned.run_id


def _shown(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> set[str]:
    """The runs whose events Dagster still shows as the state of something."""
    storage = instance.event_log_storage
    shown = set()
    for key in instance.all_asset_keys():
        shown |= {record.run_id for record in _latest(instance, key)}
        shown |= {run for _, run in _open_attempts(instance, key)}
        shown |= {record.run_id for record in instance.fetch_observations(key, limit=1).records}
    shown |= {record.run_id for record in storage.get_latest_asset_check_execution_by_key(list(checks)).values()}
    under_way = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    for backfill in instance.get_backfills(filters=under_way):
        shown |= set(instance.get_run_ids(dg.RunsFilter(tags={"dagster/backfill": backfill.backfill_id})))
    return shown


def _ended_before(instance: dg.DagsterInstance, limit: datetime) -> list[str]:
    old = dg.RunsFilter(statuses=[*FINISHED_STATUSES], updated_before=limit)
    found: list[str] = []
    while page := instance.get_run_ids(old, cursor=found[-1] if found else None, limit=PAGE):
        found += page
    return found


def _shrink(instance: dg.DagsterInstance, state: Path) -> None:
    """SQLite's storage has a file per run, which stays when the run is deleted, and gives no freed page back."""
    events = state / "history" / "runs"
    for path in events.glob("*-*-*-*-*.db"):
        if not instance.has_run(path.stem):
            for part in events.glob(f"{path.name}*"):
                part.unlink(missing_ok=True)
    for path in (events / "index.db", state / "history" / "runs.db", state / "schedules" / "schedules.db"):
        if path.is_file():
            with contextlib.closing(sqlite3.connect(path, timeout=5)) as database, contextlib.suppress(sqlite3.Error):
                database.execute("VACUUM")  # in use: the next time


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
