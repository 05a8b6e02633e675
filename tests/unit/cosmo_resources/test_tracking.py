"""Tracking: what is logged can be found again, once."""

from pathlib import Path

import pytest

from cosmo_resources.tracking import MlflowTracker, Work


@pytest.mark.slow
def test_a_version_is_logged_once_with_its_course_and_its_charts(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = MlflowTracker(uri, "tiny", str(tmp_path / "artifacts"))
    for _ in range(2):
        tracker.log(
            Work(
                "generations/b000",
                "v1",
                {"model": "replay"},
                {"documents": 40},
                {"tokens_per_second_over_time": [(0.0, 10.0), (5.0, 30.0)]},
                {"throughput.svg": "<svg/>"},
            )
        )
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.data.params, run.data.metrics["documents"]) == ({"model": "replay"}, 40)
    course = client.get_metric_history(run.info.run_id, "tokens_per_second_over_time")
    assert [(point.step, point.value) for point in course] == [(0, 10.0), (5, 30.0)]
    assert [found.path for found in client.list_artifacts(run.info.run_id)] == ["throughput.svg"]
    assert run.info.status == "FINISHED"
