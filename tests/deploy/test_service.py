"""The service as its units start it, on a real Postgres: a backfill through the queue, crashes, reloading, stopping."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosmo_assets.build import PER_BUCKET, UP_TO_PROMPTS
from tests.corpora import ROOT, Corpus, seeds, wait_until
from tests.deploy.programs import answers, free_port, postgres, settings_of
from tests.deploy.service import SERVERS, Service, installed
from tests.doubles.replay_server import ReplayServer, replaying
from tests.processes import below, exists

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BACKFILL = """mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""
STATUS = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
PARTITIONS = """query ($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    partitionStats { numMaterialized numFailed numPartitions }
    assetChecksOrError { ... on AssetChecks { checks { name } } }
  } }
}"""
EXECUTIONS = """query ($asset: AssetKeyInput!, $check: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $check, limit: 10) { status run { tags { key value } } }
}"""
RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "cosmo") {
  __typename ... on WorkspaceLocationEntry { locationOrLoadError { __typename } }
} }"""
LAUNCH = """mutation { launchRun(executionParams: {
  selector: { repositoryLocationName: "cosmo", repositoryName: "__repository__", jobName: "__ASSET_JOB",
    assetSelection: [{ path: ["generation_quality"] }] }
  runConfigData: {}, executionMetadata: { tags: [{ key: "dagster/partition", value: "b000" }] }
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
BUCKETS = """{ assetNodes(assetKeys: [{path: ["generations"]}]) { partitionKeys } }"""


@pytest.fixture(scope="module")
def model() -> Iterator[ReplayServer]:
    with replaying() as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model: ReplayServer) -> Iterator[Service]:
    corpus = Corpus(tmp_path_factory.mktemp("service")).write(seeds(24))
    with postgres() as database, installed(corpus, model.url, database) as service:
        service.run("cosmo", "run", *(word for asset in UP_TO_PROMPTS for word in ("--asset", asset)))
        service.start("cosmo-code", "cosmo-daemon", "cosmo-ui", "cosmo-view")
        yield service


def launch(service: Service, *assets: str) -> str:
    """Launch a backfill of all buckets in the UI's way; its id."""
    params = {
        "assetSelection": [{"path": [asset]} for asset in assets],
        "partitionNames": ["b000", "b001"],
        "fromFailure": False,
    }
    launched = service.ask(BACKFILL, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def backfill(service: Service, *assets: str) -> str:
    """Launch a backfill, wait for its end, and say what it was."""
    identity = launch(service, *assets)

    wait_until(lambda: state(service, identity) not in ("REQUESTED", "COMPLETING", "CANCELING"), seconds=240)
    return state(service, identity)


def state(service: Service, identity: str) -> str:
    return str(service.ask(STATUS, id=identity)["partitionBackfillOrError"]["status"])


def outcomes(service: Service, asset: str, check: str) -> list[tuple[str, str]]:
    """Bucket and status of every execution of a check. Runs side by side may record them in any order, so that the last
    one need not be of the bucket that was materialized last."""
    executions = service.ask(EXECUTIONS, asset={"path": [asset]}, check=check)["assetCheckExecutions"]
    tags = [{tag["key"]: tag["value"] for tag in execution["run"]["tags"]} for execution in executions]
    return sorted(
        (tag["dagster/partition"], execution["status"]) for tag, execution in zip(tags, executions, strict=True)
    )


def counted(service: Service, rows: str) -> int:
    """How many rows there are of a table, or of a part of one."""
    return int(service.run("psql", "--no-psqlrc", "-Atc", f"select count(*) from {rows}"))


def test_a_backfill_goes_through_the_queue_and_stands_in_postgres(service: Service) -> None:
    assert backfill(service, *PER_BUCKET) == "COMPLETED_SUCCESS"
    for asset in PER_BUCKET:
        found = service.ask(PARTITIONS, asset={"path": [asset]})["assetNodeOrError"]
        assert found["partitionStats"] == {"numMaterialized": 2, "numFailed": 0, "numPartitions": 2}
        checks = [check["name"] for check in found["assetChecksOrError"]["checks"]]
        assert checks
        for check in checks:
            assert outcomes(service, asset, check) == [("b000", "SUCCEEDED"), ("b001", "SUCCEEDED")], (asset, check)
    assert len(service.corpus.rows()) == 24
    assert counted(service, "asset_check_executions") > 0
    assert counted(service, "runs where status = 'SUCCESS'") >= 3, "two buckets, and what was run before"
    assert not list(service.corpus.state.rglob("*.db")), "nothing of the record is kept in SQLite"
    home = Path(settings_of(service.settings)["DAGSTER_HOME"])
    kept = {path.name for path in home.rglob("*") if path.is_file()}
    assert kept == {"create.sh", "dagster.yaml"}, "DAGSTER_HOME holds nothing but what is in the project"


def test_code_server_and_daemon_say_that_they_are_well(service: Service) -> None:
    health = ("dagster", "api", "grpc-health-check", "--port")
    service.run(*health, str(service.port("cosmo-code")))
    service.run("dagster-daemon", "liveness-check")
    with pytest.raises(AssertionError):
        service.run(*health, str(free_port()))


def test_new_code_is_taken_in_without_a_restart(service: Service) -> None:
    corpus, server = service.corpus, service.processes["cosmo-code"]

    def reloaded() -> list[str]:
        entry = service.ask(RELOAD)["reloadRepositoryLocation"]
        assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
        (node,) = service.ask(BUCKETS)["assetNodes"]
        return list(node["partitionKeys"])

    corpus.buckets = 3
    corpus.write()
    assert service.ask(BUCKETS)["assetNodes"][0]["partitionKeys"] == ["b000", "b001"], "not before it is told to"
    assert reloaded() == ["b000", "b001", "b002"]
    corpus.buckets = 2
    corpus.write()
    assert reloaded() == ["b000", "b001"]
    assert server.poll() is None


def test_a_migrated_record_is_the_same_record(service: Service) -> None:
    counts = ("psql", "--no-psqlrc", "-Atc", "select count(*) from runs union all select count(*) from event_logs")
    service.stop("cosmo-daemon")
    before = service.run(*counts)
    service.run("dagster", "instance", "migrate")
    assert service.run(*counts) == before
    assert "PostgresEventLogStorage" in service.run("dagster", "instance", "info")
    service.start("cosmo-daemon")


def test_a_backup_restored_into_another_database_is_the_same_record(service: Service, tmp_path: Path) -> None:
    corpus, unit = service.corpus, service.units["cosmo-backup"]
    done = subprocess.run(unit.command(), env=unit.environment(), cwd=unit.one("WorkingDirectory"), timeout=240)
    assert done.returncode == 0
    (backup,) = (path for path in (corpus.folder / "backups").iterdir() if path.is_dir())
    password = settings_of(service.settings)["PGPASSWORD"]
    for path in backup.rglob("*"):
        assert not path.is_file() or password.encode() not in path.read_bytes(), path
    settings = tmp_path / "settings.env"
    settings.write_text("PGUSER=second\nPGDATABASE=second\n", encoding="utf-8")
    create = [str(ROOT / "deploy" / "postgres" / "create.sh"), str(settings)]
    subprocess.run(create, env={**os.environ, **service.administrator}, check=True, timeout=60)
    place = {"COSMO_DATA": str(tmp_path / "data"), "COSMO_STATE": str(tmp_path / "state"), **settings_of(settings)}
    service.run(sys.executable, str(ROOT / "deploy" / "restore.py"), str(backup), **place)
    runs = ("psql", "--no-psqlrc", "-Atc", "select run_id, status from runs order by 1")
    assert service.run(*runs, **place) == service.run(*runs) != ""
    assert "0 adopted, 0 damaged" in service.run("cosmo", "adopt", **place)
    again = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "restore.py"), str(backup)],
        env={**service.environment, **place, "COSMO_DATA": str(tmp_path / "d"), "COSMO_STATE": str(tmp_path / "s")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 1
    assert "already exists" in again.stderr, "a database that is not empty is left as it is"


def test_what_was_killed_goes_on_where_it_was(service: Service) -> None:
    service.kill("cosmo-code")
    service.kill("cosmo-daemon")
    service.start("cosmo-code", "cosmo-daemon")
    assert service.ask(RELOAD)["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"
    assert backfill(service, "text_signatures") == "COMPLETED_SUCCESS"
    assert service.processes["cosmo-ui"].poll() is None
    assert service.processes["cosmo-view"].poll() is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["restarted", "crashed"])
def test_runs_outlive_their_code_server(how: signal.Signals, service: Service, model: ReplayServer) -> None:
    corpus, asked = service.corpus, len(model.generation_calls)
    for bucket in ("b000", "b001"):
        shutil.rmtree(corpus.store.place("generations", bucket), ignore_errors=True)
    model.delay = 240.0  # until it is told otherwise: the runs last longer than it takes the daemon to notice
    identity = launch(service, "generations")
    wait_until(lambda: len(model.generation_calls) > asked, seconds=120)
    wait_until(
        lambda: counted(service, "runs where status = 'STARTED'") == 2, seconds=120
    )  # both, not one and a queued
    process = service.processes.pop("cosmo-code")
    children = below(process.pid)
    process.send_signal(how)  # to it alone: KillMode=process
    process.wait(60)
    told = len(service.log("cosmo-daemon"))
    wait_until(lambda: "will resume once" in service.log("cosmo-daemon")[told:], seconds=120)  # the daemon has noticed
    service.start("cosmo-code")
    model.delay = 0.0
    wait_until(lambda: service.ask(BUCKETS)["assetNodes"] != [], seconds=120)  # nobody needs to press Reload
    wait_until(lambda: state(service, identity) == "COMPLETED_SUCCESS", seconds=240)
    assert counted(service, "runs where status in ('FAILURE', 'CANCELED')") == 0
    assert len(model.generation_calls) == asked + 24, "nothing was asked twice"
    wait_until(lambda: not any(map(exists, children)), seconds=120)


def test_a_queued_run_waits_for_the_code_server(service: Service) -> None:
    service.stop("cosmo-daemon")
    launched = service.ask(LAUNCH)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = f"runs where run_id = '{launched['run']['runId']}' and status"
    assert counted(service, f"{run} = 'QUEUED'") == 1
    service.kill("cosmo-code")
    service.start("cosmo-daemon")
    told = "event_logs where event like '%re-submitting the run into the queue%'"
    wait_until(lambda: counted(service, told) > 0, seconds=120)
    service.start("cosmo-code")
    wait_until(lambda: counted(service, f"{run} = 'SUCCESS'") == 1, seconds=120)


def test_they_stop_when_they_are_told_to(service: Service) -> None:
    for name in ("cosmo-view", "cosmo-ui", "cosmo-daemon", "cosmo-code"):
        children = below(service.processes[name].pid)
        assert service.stop(name) in (0, -signal.SIGTERM), service.log(name)[-2000:]
        wait_until(lambda found=children: not any(map(exists, found)), seconds=30)
    assert not any(answers(service.port(name)) for name in SERVERS)
