"""Runs: the instance, the order of runs that builds a corpus, and materializing it in this process.

Belongs here: what starts work. Does not belong here: the assets, or printing (`cli`).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from cosmo_assets.build import build_defs, on_request_of, steps_of
from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import LISTENER, Listener
from cosmo_assets.sensors import bury_dead_runs
from cosmo_assets.stage import FITTED
from cosmo_resources.deployments import Settings, deployment
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

UNCAPTURED = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
"""The terminal shows what assets print; capturing it as well costs four processes per run."""


@dataclass(frozen=True)
class Run:
    """One run: some assets, of one bucket or of none; where there is a `config`, it is that of the only asset."""

    assets: tuple[str, ...]
    bucket: str | None
    config: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def open_instance(chosen: Settings, *, logs: bool = False) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of DAGSTER_HOME, or of this folder if it holds a dagster.yaml. `logs` is for who looks at
    those that were captured.

    Raises:
        CosmoError: there is neither.
    """
    os.environ["COSMO_STATE"] = str(chosen.state)
    chosen.state.mkdir(parents=True, exist_ok=True)
    if not os.environ.get("DAGSTER_HOME"):
        if not Path("dagster.yaml").is_file():
            raise CosmoError(
                "no Dagster instance: DAGSTER_HOME is not set and there is no dagster.yaml here",
                remedy="run the command in the project's folder, or set DAGSTER_HOME to it",
            )
        os.environ["DAGSTER_HOME"] = str(Path.cwd())
    reference = InstanceRef.from_dir(os.environ["DAGSTER_HOME"], overrides=None if logs else UNCAPTURED)
    with dg.DagsterInstance.from_ref(reference) as instance:
        yield instance


def plan_runs(recipe: Recipe, assets: Sequence[str] = (), buckets: Sequence[str] = ()) -> list[Run]:
    """The runs that build some assets (default: all) of some buckets (default: each), in order.

    Raises:
        CosmoError: there is no such asset or bucket.
    """
    known = [*(asset for step, _ in steps_of(recipe) for asset in step), *on_request_of(recipe)]
    names = [bucket_name(index) for index in range(recipe.buckets)]
    for given, all_of, what in ((assets, known, "asset"), (buckets, names, "bucket")):
        if unknown := [name for name in given if name not in all_of]:
            raise CosmoError(
                f"no {what} {unknown[0]!r} in recipe {recipe.name}", remedy=f"name one of {', '.join(all_of)}"
            )
    runs: list[Run] = []
    for step, per_bucket in steps_of(recipe):
        chosen = tuple(asset for asset in step if not assets or asset in assets)
        if chosen:
            runs += [Run(chosen, bucket) for bucket in (buckets or names)] if per_bucket else [Run(chosen, None)]
    return [*runs, *(Run((asset,), None) for asset in on_request_of(recipe) if asset in assets)]


def materialize(
    recipe: Recipe,
    chosen: Settings,
    instance: dg.DagsterInstance,
    runs: Sequence[Run],
    *,
    refit: bool = False,
    retry_refused: bool = False,
    started: Callable[[Run], None] = lambda run: None,
    progress: Listener | None = None,
) -> list[str]:
    """Materialize runs one after another in this process: the same assets and events as a queued run, without daemon
    or queue.

    Returns: the checks that failed without blocking, as `asset: check (bucket)`.

    Raises:
        CosmoError: an asset failed, or a blocking check did; earlier runs stand.
    """
    definitions = build_defs(recipe, deployment(chosen, recipe.name))
    warnings: list[str] = []
    bury_dead_runs(instance, CorpusStore(chosen.data / recipe.name))
    token = LISTENER.set(progress)
    try:
        for run in runs:
            started(run)
            warnings += _materialize(definitions, instance, run, refit=refit, retry_refused=retry_refused)
    finally:
        LISTENER.reset(token)
    return warnings


def _materialize(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    run: Run,
    *,
    refit: bool,
    retry_refused: bool,
) -> list[str]:
    config: dict[str, Any] = dict(QUIET)
    if refit:
        config["ops"] = {asset: {"config": {"refit": True}} for asset in FITTED if asset in run.assets}
    if retry_refused and "generations" in run.assets:
        config.setdefault("ops", {})["generations"] = {"config": {"retry_refused": True}}
    if run.config:
        config["ops"] = {run.assets[0]: {"config": dict(run.config)}}
    resources: Mapping[str, Any] = definitions.resources or {}
    try:
        result = dg.materialize(
            list(definitions.assets or []),  # type: ignore[arg-type]
            selection=list(run.assets),
            partition_key=run.bucket,
            instance=instance,
            resources=dict(resources),
            run_config=config,
        )
    except dg.DagsterError as error:
        raise CosmoError(
            f"{', '.join(run.assets)}{f' of bucket {run.bucket}' if run.bucket else ''}: {error}",
            remedy="open the asset in the UI (make ui) and look at the failed check; then mend its cause and run again",
        ) from error
    return [
        f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}" + (f" ({run.bucket})" if run.bucket else "")
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    ]
