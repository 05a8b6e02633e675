"""The sensor of failures: people hear of runs that failed and checks that did not hold.

Belongs here: finding what is new since the last notice. Does not belong here: delivering notices
(`cosmo_resources.notifier`), or repeating runs (Dagster's `run_retries`).
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pydantic
from dagster._core.events import DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import RunRecord

from cosmo_resources.notifier import Notice
from cosmo_resources.resources import NotifierResource
from cosmo_resources.storage.manifest import Frozen

INTERVAL_SECONDS = 60
MOST_LINES = 20
"""Things that one notice names; more are counted. So a thousand failures are one message."""
MOST_RUNS = 500
REMEMBERED = 1000
"""Runs that are remembered as told: a run is updated again after it failed, when a tag is set."""
PER_CHECK = 20
CAUSE_CHARS = 400


class Told(Frozen):
    """How far people have been told: the sensor's cursor."""

    until: float
    """When the last run that was looked at was updated, in seconds of the epoch."""
    runs: tuple[str, ...] = ()
    check: int = 0
    """The last result of a check that was looked at, by its number."""


@dg.sensor(
    name="failures",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Tells people, in one notice a minute, which runs failed and which checks did not hold since the last "
    "one. What could not be delivered is told again.",
)
def failures(context: dg.SensorEvaluationContext, notifier: NotifierResource) -> dg.SensorResult | dg.SkipReason:
    """The sensor. Its cursor moves only once a notice is delivered; when it is not, the tick fails and says why."""
    graph = context.repository_def.asset_graph if context.repository_def else None
    keys = sorted(graph.asset_check_keys) if graph else []
    told = _told(context.cursor)
    if told is None:
        latest = max((record.id for record in _failed_checks(context.instance, keys, 0)), default=0)
        begin = Told(until=datetime.now(UTC).timestamp(), check=latest)
        old = tuple(record.dagster_run.run_id for record in _failed_runs(context.instance, begin))
        cursor = begin.model_copy(update={"runs": old}).model_dump_json()
        return dg.SensorResult(cursor=cursor, skip_reason="from now on")
    runs = _failed_runs(context.instance, told)
    checks = sorted(_failed_checks(context.instance, keys, told.check), key=lambda record: record.id)
    if not runs and not checks:
        return dg.SkipReason("nothing has failed since the last look")
    told_runs = [record for record in runs if record.dagster_run.tags.get("dagster/will_retry") != "true"]
    lines = [*(_run_line(context.instance, record) for record in told_runs), *map(_check_line, checks)]
    if lines:
        notifier.create().send(_notice(len(told_runs), len(checks), lines))
    reached = Told(
        until=max([told.until, *(record.update_timestamp.timestamp() for record in runs)]),
        runs=(*told.runs, *(record.dagster_run.run_id for record in runs))[-REMEMBERED:],
        check=max([told.check, *(record.id for record in checks)]),
    )
    return dg.SensorResult(cursor=reached.model_dump_json(), skip_reason=f"{len(lines)} failures told")


def _told(cursor: str | None) -> Told | None:
    try:
        return Told.model_validate_json(cursor) if cursor else None
    except (pydantic.ValidationError, json.JSONDecodeError):  # of an earlier version
        return None


def _failed_runs(instance: dg.DagsterInstance, told: Told) -> list[RunRecord]:
    since = datetime.fromtimestamp(told.until - 1, UTC)  # storages keep time to the second, some of them
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    found = instance.get_run_records(filters, limit=MOST_RUNS, order_by="update_timestamp", ascending=True)
    return [record for record in found if record.dagster_run.run_id not in told.runs]


def _failed_checks(instance: dg.DagsterInstance, keys: list[dg.AssetCheckKey], after: int) -> Iterator[Any]:
    for key in keys:
        for record in instance.event_log_storage.get_asset_check_execution_history(
            key, limit=PER_CHECK, status={AssetCheckExecutionRecordStatus.FAILED}
        ):
            if record.id > after:
                yield record


def _run_line(instance: dg.DagsterInstance, record: RunRecord) -> str:
    run = record.dagster_run
    bucket = run.tags.get("dagster/partition")
    step, cause = _cause(instance, run.run_id)
    return f"run {run.run_id} failed: {step or run.job_name}{f' of {bucket}' if bucket else ''}: {cause}"


def _cause(instance: dg.DagsterInstance, run_id: str) -> tuple[str | None, str]:
    """The first step that failed, and its innermost error; or what Dagster says of the run."""
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    records = instance.get_records_for_run(run_id, of_type=kinds, limit=1).records
    event = records[0].event_log_entry.dagster_event if records else None
    if event is None:
        return None, "no reason recorded"
    error = event.step_failure_data.error if event.is_step_failure else None
    while error is not None and error.cause is not None:
        error = error.cause
    text = " ".join(((error.message if error else event.message) or "").split())
    return event.step_key, text[:CAUSE_CHARS]


def _check_line(record: Any) -> str:
    evaluation = record.evaluation
    severity = "failed" if evaluation.severity is dg.AssetCheckSeverity.ERROR else "warns"
    bucket = evaluation.metadata.get("bucket")
    of_bucket = f" of {bucket.value}" if bucket is not None else ""
    name = f"{evaluation.asset_key.to_user_string()}{of_bucket}: {evaluation.check_name}"
    return f"check {severity}: {name}: {(evaluation.description or '')[:CAUSE_CHARS]}"


def _notice(runs: int, checks: int, lines: list[str]) -> Notice:
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    title = f"Cosmo: {runs} runs failed, {checks} checks did not hold"
    return Notice(title, (*lines[:MOST_LINES], *more), {"runs": runs, "checks": checks})
