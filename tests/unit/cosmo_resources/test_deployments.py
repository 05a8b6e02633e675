"""What the environment and a deployment file make of each other."""

from pathlib import Path

import pytest

from cosmo_resources.deployments import CONCURRENCY, deployment, settings

FILE = "server: {engine: embedded, model: smollm2-135m-instruct}\nconcurrency: 40\n"


@pytest.mark.parametrize(
    ("environment", "each"),
    [
        pytest.param({}, 40, id="the file's"),
        pytest.param({"COSMO_WORKERS": "3"}, 14, id="shared by the workers"),
        pytest.param({"COSMO_CONCURRENCY": "5"}, 5, id="the variable's"),
        pytest.param({"COSMO_DEPLOYMENT": "laptop"}, CONCURRENCY, id="without a file"),
    ],
)
def test_requests_in_flight(tmp_path: Path, environment: dict[str, str], each: int) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(FILE, encoding="utf-8")
    chosen = settings({"COSMO_DEPLOYMENT": str(site), "COSMO_MLFLOW": "off", **environment})
    found = deployment(chosen, "tiny")
    assert found["engine"].concurrency == found["pool"].engine.concurrency == each
