"""A whole service: a small corpus, Postgres, the settings and units that the install scripts wrote, their processes.

Belongs here: installing and starting it, and asking its web servers. Does not belong here: what is expected of it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.corpora import ROOT, Corpus, wait_until
from tests.deploy.programs import Postgres, Unit, answers, checkout, free_port, settings_of

SERVERS = {"cosmo-code": "COSMO_CODE_PORT", "cosmo-ui": "COSMO_UI_PORT", "cosmo-view": "COSMO_VIEW_PORT"}
START_SECONDS = 120
STOP_SECONDS = 30


def write_settings(path: Path, cosmo: Path, corpus: Corpus, url: str, database: Postgres | None) -> Path:
    """The shipped settings with what a site changes in them."""
    lines = (ROOT / "deploy" / "settings.env").read_text(encoding="utf-8").splitlines()
    site = {
        **{name: value for name, value in corpus.environment(url).items() if name != "DAGSTER_HOME"},
        "DAGSTER_HOME": str(cosmo / "deploy" / "postgres" if database else cosmo),
        **{name: str(free_port()) for name in SERVERS.values()},
        "COSMO_BACKUPS": str(corpus.folder / "backups"),
    }
    if database:
        site |= {"PGHOST": "127.0.0.1", "PGPORT": str(database.port), "PGUSER": "cosmo", "PGDATABASE": "cosmo"}
    changed = [line.lstrip("# ") if line.startswith("# PG") and database else line for line in lines]
    kept = [line for line in changed if line.split("=", 1)[0] not in site]
    path.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in site.items())]) + "\n", encoding="utf-8")
    return path


@dataclass
class Service:
    """An installation and the processes of its units that run."""

    corpus: Corpus
    settings: Path
    units: Mapping[str, Unit]
    logs: Path
    administrator: Mapping[str, str]
    """libpq's variables for who may create databases; empty without Postgres."""
    processes: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, **settings_of(self.settings)}

    def port(self, name: str) -> int:
        return int(settings_of(self.settings)[SERVERS[name]])

    def start(self, *names: str) -> None:
        """Start units and wait until their servers answer."""
        for name in names:
            self.processes[name] = process = self.units[name].start(self.logs / f"{name}.log")
            if name in SERVERS:
                wait_until(lambda n=name: answers(self.port(n)), seconds=START_SECONDS, process=process)

    def stop(self, name: str) -> int:
        """End a unit as systemd does, by SIGTERM to its main process; its exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(STOP_SECONDS)

    def kill(self, name: str) -> None:
        """SIGKILL a unit with everything that it started, which is what systemd leaves of one that crashed."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(encoding="utf-8")

    def ask(self, query: str, *, server: str = "cosmo-ui", **variables: Any) -> dict[str, Any]:
        """The data that a GraphQL query of a web server gives."""
        prefix = "/view" if server == "cosmo-view" else ""
        url = f"http://127.0.0.1:{self.port(server)}{prefix}/graphql"
        reply = requests.post(url, json={"query": query, "variables": variables}, timeout=60)
        body = reply.json()
        assert reply.ok and "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    def run(self, *command: str, **changes: str) -> str:
        """Run a command in the installation with its settings, some of them changed, to its end."""
        environment = {**self.environment, **changes}
        done = subprocess.run(
            command, env=environment, cwd=self.corpus.folder, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def installed(corpus: Corpus, url: str, database: Postgres | None) -> Iterator[Service]:
    """The corpus as a service, installed by the scripts of deploy/; nothing runs yet, and nothing is left running."""
    cosmo = checkout(corpus.folder / "cosmo")
    settings = write_settings(corpus.folder / "settings.env", cosmo, corpus, url, database)
    if database:
        create = [str(cosmo / "deploy" / "postgres" / "create.sh"), str(settings)]
        subprocess.run(create, env={**os.environ, **database.administrator}, check=True, timeout=60)
    folder, logs = corpus.folder / "units", corpus.folder / "logs"
    install = [str(cosmo / "deploy" / "systemd" / "install.sh"), str(settings), str(folder)]
    subprocess.run(install, check=True, timeout=60)
    logs.mkdir()
    corpus.state.mkdir(parents=True, exist_ok=True)
    units = {path.stem: Unit.read(path) for path in folder.glob("*.service")}
    service = Service(corpus, settings, units, logs, database.administrator if database else {})
    try:
        yield service
    finally:
        for name in list(service.processes):
            service.kill(name)
