"""Operators: who starts a generation, sees it end, and starts it again after whatever has happened to it.

Belongs here: the two ways to start one, `cosmo run` and a run in Dagster's queue, and their processes. Does not belong
here: what happens to them (`disturbances`), or when that is (`rounds`).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import dagster as dg
import yaml

from cosmo_assets.sensors import GENERATE
from tests.corpora import ROOT, Corpus
from tests.slurm.daemons import PROC, kill_all, with_descendants, with_environment

SETTLE_SECONDS = 3.0
"""How long an operator looks at a failed run before the next is started: Dagster may start one itself."""


class Operator(Protocol):
    starts: int
    output: list[str]
    """What failed attempts said."""

    def start(self) -> None:
        """Start the generation, or what is missing to it."""
        ...

    def ended(self) -> bool | None:
        """None while it works, else whether it ended well."""
        ...

    def kill(self) -> None:
        """SIGKILL to all of it on this machine, as a reboot of the login node would be."""
        ...

    def leave(self) -> None:
        """Work is over: end what still runs for the operator's sake."""
        ...


class Command:
    """`cosmo run` in a terminal."""

    def __init__(self, corpus: Corpus, site: Path, environment: Mapping[str, str]) -> None:
        self.starts, self.output = 0, list[str]()
        self._corpus, self._site, self._environment = corpus, site, environment
        self._log = site.parent / "command.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cosmo_assets.cli.main", "run", "--asset", "generations"],
                env=environment(self._corpus, self._site, self._environment),
                cwd=self._corpus.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> bool | None:
        if self._process is None or self._process.poll() is None:
            return None
        if self._process.returncode:
            self.output.append(self._log.read_text(encoding="utf-8", errors="replace")[-2000:])
        return self._process.returncode == 0

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def leave(self) -> None:
        self.kill()


class Queue:
    """A run in Dagster's queue, and the daemon that takes it from there; what the UI's button does is done through the
    same GraphQL."""

    def __init__(self, corpus: Corpus, site: Path, more: Mapping[str, str]) -> None:
        self.starts, self.output = 0, list[str]()
        self._folder = site.parent / "dagster"
        self._folder.mkdir()
        self._environment = {**environment(corpus, site, more), "DAGSTER_HOME": str(self._folder)}
        self._mark = next(f"{name}={value}" for name, value in more.items())
        self._daemon: subprocess.Popen[bytes] | None = None
        self._launch: subprocess.Popen[bytes] | None = None
        self._killed, self._before = False, 0
        (self._folder / "dagster.yaml").write_text(yaml.safe_dump(instance(corpus.state / "queue")), encoding="utf-8")
        location = {"module_name": "cosmo_assets.definitions", "location_name": "cosmo"}
        workspace = {"load_from": [{"python_module": location}]}
        (self._folder / "workspace.yaml").write_text(yaml.safe_dump(workspace), encoding="utf-8")
        self._instance = dg.DagsterInstance.from_config(str(self._folder))
        self._since = 0.0

    def start(self) -> None:
        """The daemon where it does not run; then, as no run is under way, one more."""
        self.start_daemon()
        self._killed, self._since, self._before = False, 0.0, len(self._runs())
        for run in self._runs():
            if not run.is_finished:  # its process is dead: `ended` has seen that
                self._instance.report_run_canceled(run, "marked as ended by the operator")
        self.starts += 1
        selector = {"repositoryLocationName": "cosmo", "repositoryName": "__repository__", "jobName": GENERATE}
        tags = [{"key": "dagster/partition", "value": "b000"}]
        variables = {"executionParams": {"selector": selector, "executionMetadata": {"tags": tags}}}
        query = ("-p", "launchPipelineExecution", "-v", json.dumps(variables))
        self._launch = self._program("dagster-graphql", "-w", "workspace.yaml", *query)

    def start_daemon(self) -> None:
        if self._daemon is None or self._daemon.poll() is not None:
            self._daemon = self._program("dagster-daemon", "run", "-w", "workspace.yaml")

    def _program(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / name), *arguments],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> bool | None:
        if self._killed:
            return False
        runs = self._runs()
        launched = len(runs) > self._before
        if self._launch is None or (self._launch.poll() is None and not launched):
            return None
        if not launched:
            log = self._folder / "dagster-graphql.log"
            self.output.append(f"no run was launched: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
            return False
        alive = [run for run in runs if not run.is_finished]
        started = any(run.status is dg.DagsterRunStatus.STARTED for run in alive)
        if alive and (not started or self.workers()):
            self._since = 0.0
            return None
        if not alive and runs[0].status is dg.DagsterRunStatus.SUCCESS:
            return True
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since < SETTLE_SECONDS:
            return None
        self.output += [str(event.user_message) for event in self._instance.all_logs(runs[0].run_id)[-5:]]
        return False

    def workers(self) -> set[int]:
        """The processes of runs."""
        return {pid for pid in with_environment(self._mark) if "spawn_main" in command_line(pid)}

    def kill_daemon(self) -> None:
        """The daemon alone: the server of the code and the runs in it live on."""
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.kill()
            self._daemon.wait()

    def kill(self) -> None:
        if self._daemon is not None:
            mine = with_environment(self._mark, f"DAGSTER_HOME={self._folder}") - _of_slurm()
            kill_all(with_descendants(mine) - _of_slurm())
            self._daemon.wait()
            self._killed = True

    def leave(self) -> None:
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.terminate()
            self._daemon.wait(60)
        self.kill()
        self._instance.dispose()

    def _runs(self) -> list[dg.DagsterRun]:
        """The newest first."""
        return list(self._instance.get_runs())


def environment(corpus: Corpus, site: Path, more: Mapping[str, str]) -> dict[str, str]:
    given = corpus.environment("", deployment=str(site))
    return {**os.environ, **given, "PYTHONPATH": str(ROOT), **more}


def instance(state: Path) -> dict[str, object]:
    """As the project's own instance, with everything that waits for minutes waiting for seconds."""
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    text = json.dumps(settings).replace('{"env": "COSMO_STATE"}', json.dumps(str(state)))
    state.mkdir(parents=True, exist_ok=True)
    return {
        **json.loads(text),
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"dequeue_interval_seconds": 1},
        },
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1},
    }


def command_line(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _of_slurm() -> set[int]:
    """Processes of jobs: they have the environment of who submitted them, and live elsewhere."""
    found = set()
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                if b"\0SLURMD_NODENAME=" in b"\0" + (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found
