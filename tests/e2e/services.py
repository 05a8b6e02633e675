"""Dagster's webserver and daemon on one instance, as processes that a test may kill.

Belongs here: starting, killing and asking them. Does not belong here: what is expected of them.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.corpora import ROOT

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

    def backfill(self, assets: Sequence[str], buckets: Sequence[str]) -> str:
        """Launch a backfill in the UI's way; its id."""
        params = {"assetSelection": [{"path": [asset]} for asset in assets], "partitionNames": list(buckets)}
        found = self.ask(LAUNCH_BACKFILL, {"backfillParams": params})["launchPartitionBackfill"]
        assert found["__typename"] == "LaunchBackfillSuccess", found
        return str(found["backfillId"])

    def end_of(self, backfill: str) -> str:
        """Wait for the end of a backfill; its status then."""
        ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED", "COMPLETED")

        def status() -> str:
            found = str(self.ask(BACKFILL, {"id": backfill})["partitionBackfillOrError"]["status"])
            return found if found in ended else ""

        return str(self.until("the end of the backfill", status))

    def start_schedule(self, name: str) -> None:
        started = self.ask(START_SCHEDULE, {"selector": {**REPOSITORY, "scheduleName": name}})["startSchedule"]
        assert started.get("scheduleState", {}).get("status") == "RUNNING", started

    def succeeded(self) -> set[str]:
        """The values of the tags of the runs that succeeded, buckets among them."""
        return {tag["value"] for run in self.runs() if run["status"] == "SUCCESS" for tag in run["tags"]}

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
