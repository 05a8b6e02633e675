"""Backfills and nights through Dagster's own daemon, webserver and GraphQL, with everything killed in the middle."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cosmo_assets.build import UP_TO_PROMPTS
from tests.corpora import ROOT, Corpus, contents, seeds
from tests.doubles.replay_server import ReplayServer, replaying

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

BUCKETS = 4
SEEDS = 24
IN_FLIGHT = 2
START_SECONDS, RUN_SECONDS = 240, 600

LAUNCH_BACKFILL = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) { __typename ... on PartitionBackfill { status } }
}"""
START_SCHEDULE = """
mutation StartSchedule($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) {
    __typename
    ... on ScheduleStateResult { scheduleState { status } }
    ... on PythonError { message }
  }
}"""
RUNS = """
query Runs { runsOrError(limit: 200) { __typename
  ... on Runs { results { runId status jobName tags { key value } } } } }"""
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "cosmo"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Services:
    """A webserver and a daemon on one instance, each in a process group of its own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment, self.folder = environment, folder
        self.port = free_port()
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        arguments = {
            "webserver": ["dagster_webserver", "--host", "127.0.0.1", "--port", str(self.port)],
            "daemon": ["dagster._daemon", "run"],
        }[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--workspace", str(ROOT / "workspace.yaml")],
                env={**os.environ, **self.environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )

    def kill(self, name: str) -> None:
        """SIGKILL a service with all its children: its code server, and the runs that this one started."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> Any:
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/graphql", json={"query": query, "variables": variables or {}}, timeout=120
        )
        found = answer.json()
        assert "errors" not in found, found
        return found["data"]

    def runs(self) -> list[dict[str, Any]]:
        return list(self.ask(RUNS)["runsOrError"]["results"])

    def until(self, what: str, condition: Callable[[], Any], seconds: float = RUN_SECONDS) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := condition():
                    return found
            except httpx.TransportError:
                pass
            for name, process in self.running.items():
                log = self.folder / f"{name}.log"
                assert process.poll() is None, f"{name} ended:\n{log.read_text(encoding='utf-8')[-3000:]}"
            if time.monotonic() > deadline:
                logs = {
                    name: (self.folder / f"{name}.log").read_text(encoding="utf-8")[-3000:] for name in self.running
                }
                raise AssertionError(f"no sign of {what}: {self.runs()} {logs}")
            time.sleep(0.3)


@contextmanager
def services(environment: dict[str, str], folder: Path) -> Iterator[Services]:
    found = Services(environment, folder)
    found.start("webserver")
    found.start("daemon")
    try:
        found.until("the webserver", lambda: found.runs() is not None, START_SECONDS)
        yield found
    finally:
        for name in list(found.running):
            found.kill(name)


@contextmanager
def installation(folder: Path, **nightly: Any) -> Iterator[tuple[Corpus, ReplayServer, Services]]:
    """A corpus up to its prompts, a slow model, and Dagster's services on it."""
    corpus = Corpus(folder / "corpus", buckets=BUCKETS).write(seeds(SEEDS))
    with ExitStack() as stack:
        server = stack.enter_context(replaying(delay=0.6))
        environment = corpus.environment(server.url, concurrency=IN_FLIGHT)
        if nightly:
            site = folder / "site.yaml"
            model = {"engine": "embedded", "model": "smollm2-135m-instruct"}
            site.write_text(yaml.safe_dump({"server": model, "nightly": nightly}), encoding="utf-8")
            environment["COSMO_DEPLOYMENT"] = str(site)
        corpus.build(server.url, UP_TO_PROMPTS)
        server.calls.clear()
        corpus.state.mkdir(parents=True, exist_ok=True)
        yield corpus, server, stack.enter_context(services(environment, folder))


def check_that_nothing_was_lost_or_doubled(corpus: Corpus, server: ReplayServer, kills: int) -> None:
    rows = contents(corpus)
    assert len(rows) == SEEDS
    asked = [call["messages"][-1]["content"] for call in server.generation_calls]
    assert len(set(asked)) == SEEDS
    assert SEEDS <= len(asked) <= SEEDS + kills * IN_FLIGHT, "only what was in flight may be asked again"


def test_a_backfill_of_all_buckets_survives_the_death_of_the_daemon_and_of_its_runs(tmp_path: Path) -> None:
    with installation(tmp_path) as (corpus, server, dagster):
        found = dagster.ask(
            LAUNCH_BACKFILL,
            {
                "backfillParams": {
                    "assetSelection": [{"path": ["generations"]}, {"path": ["generation_quality"]}],
                    "partitionNames": [f"b{index:03d}" for index in range(BUCKETS)],
                }
            },
        )["launchPartitionBackfill"]
        assert found["__typename"] == "LaunchBackfillSuccess", found
        dagster.until("the first answers", lambda: len(server.generation_calls) >= 4)
        dagster.kill("daemon")
        dagster.start("daemon")
        ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")

        def state() -> str:
            status = dagster.ask(BACKFILL, {"id": found["backfillId"]})["partitionBackfillOrError"]["status"]
            return status if status in ended or status == "COMPLETED" else ""

        assert dagster.until("the end of the backfill", state) == "COMPLETED_SUCCESS"
        states = sorted(run["status"] for run in dagster.runs())
        assert states.count("SUCCESS") == BUCKETS
        assert states.count("FAILURE") >= 1, "the run that was killed is ended, and repeated"
        check_that_nothing_was_lost_or_doubled(corpus, server, 1)


def test_the_nightly_schedule_goes_on_after_the_death_of_the_daemon(tmp_path: Path) -> None:
    night = {"window": "00:00-00:00", "every_minutes": 1, "buckets": BUCKETS, "at_once": BUCKETS}
    with installation(tmp_path, **night) as (corpus, server, dagster):
        corpus.changes = {"budget": {"tokens_per_second": 1e6}}
        corpus.write()
        dagster.kill("daemon")
        dagster.start("daemon")
        selector = {**REPOSITORY, "scheduleName": "nightly"}
        started = dagster.ask(START_SCHEDULE, {"selector": selector})["startSchedule"]
        assert started.get("scheduleState", {}).get("status") == "RUNNING", started
        dagster.until("the first answers", lambda: len(server.generation_calls) >= 4)
        dagster.kill("daemon")
        dagster.start("daemon")

        def done() -> bool:
            good = {tag["value"] for run in dagster.runs() if run["status"] == "SUCCESS" for tag in run["tags"]}
            return {f"b{index:03d}" for index in range(BUCKETS)} <= good

        dagster.until("the end of the night", done)
        check_that_nothing_was_lost_or_doubled(corpus, server, 1)
