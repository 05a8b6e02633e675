"""Tracking: figures of finished work, logged to MLflow.

Belongs here: the tracker. Does not belong here: what is worth logging (the stages' assets).
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Series = Sequence[tuple[float, float]]
"""Seconds since the start, and the figure then."""


@dataclass(frozen=True)
class Work:
    """One finished piece of work; `version` identifies it. `series` are metrics over time, which the tracker draws;
    `pages` are texts (SVG, HTML) by file name."""

    name: str
    version: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    series: Mapping[str, Series] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)


class Tracker(Protocol):
    """Somewhere to log to."""

    def log(self, work: Work) -> None:
        """Log a piece of work, at most once."""
        ...


class NoTracker:
    """Logs nothing."""

    def log(self, work: Work) -> None:
        return None


class MlflowTracker:
    """Logs to an MLflow server or file (sqlite:///PATH). MLflow is loaded at the first use: that takes seconds."""

    def __init__(self, uri: str, experiment: str, artifacts: str = "") -> None:
        self._uri = uri
        self._experiment = experiment
        self._artifacts = artifacts

    def log(self, work: Work) -> None:
        """See `Tracker.log`."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self._uri)
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is None:
            location = Path(self._artifacts).resolve().as_uri() if self._artifacts else None
            number = client.create_experiment(self._experiment, artifact_location=location)
        else:
            number = experiment.experiment_id
        if client.search_runs(
            [number], f"tags.`cosmo.version` = '{work.version}' and tags.`cosmo.name` = '{work.name}'"
        ):
            return
        run = client.create_run(
            number, tags={"cosmo.version": work.version, "cosmo.name": work.name}, run_name=work.name
        )
        for key, value in work.params.items():
            client.log_param(run.info.run_id, key, value)
        for key, figure in work.metrics.items():
            client.log_metric(run.info.run_id, key, figure)
        for key, points in work.series.items():
            for at, figure in points:
                client.log_metric(run.info.run_id, key, figure, step=round(at))
        for file, text in work.pages.items():
            client.log_text(run.info.run_id, text, file)
        client.set_terminated(run.info.run_id)
