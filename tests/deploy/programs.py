"""Programs that a deployment consists of: Postgres, nginx and the processes of units, started for a test and ended."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.corpora import ROOT, wait_until

NEVER_AS_ROOT = ("postgres", "nobody")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex(("127.0.0.1", port)) == 0


def program(name: str) -> str:
    """A program of Postgres, from PATH or where Debian keeps those of a server; or a skip."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, reversed(debian))]))
    if found is None:
        pytest.skip(f"no Postgres: {name} is neither on PATH nor below /usr/lib/postgresql (Debian: postgresql)")
    return found


@dataclass(frozen=True)
class Postgres:
    """A server of the test's own. `administrator` are the variables of libpq for its superuser, who needs no password
    on the socket."""

    port: int
    administrator: Mapping[str, str]


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A Postgres that asks for passwords over TCP, on a free port; its files are not durable."""
    programs = {name: program(name) for name in ("initdb", "postgres", "pg_isready")}
    account = next((name for name in NEVER_AS_ROOT if _exists(name)), None) if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="cosmo-postgres-"))  # not below pytest's folder, which only root may enter
    if account is not None:
        shutil.chown(folder, account)
    cluster, port = folder / "data", free_port()
    try:
        subprocess.run(
            [programs["initdb"], "--username=admin", "--auth-local=trust", "--auth-host=scram-sha-256", str(cluster)],
            user=account,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
        server = subprocess.Popen(
            [programs["postgres"], "-D", str(cluster), "-p", str(port)]
            + [part for name, value in options.items() for part in ("-c", f"{name}={value}")],
            user=account,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ready = [programs["pg_isready"], "--quiet", "--host", str(folder), "--port", str(port)]
            wait_until(lambda: subprocess.run(ready).returncode == 0, process=server)
            yield Postgres(
                port, {"PGHOST": str(folder), "PGPORT": str(port), "PGUSER": "admin", "PGDATABASE": "postgres"}
            )
        finally:
            server.send_signal(signal.SIGINT)  # fast: it waits for no client
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


def settings_of(path: Path) -> dict[str, str]:
    """An EnvironmentFile, as systemd reads one without quotes."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@dataclass(frozen=True)
class Unit:
    """A unit as it is written; a setting that stands there several times has all its values."""

    path: Path
    settings: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, path: Path) -> "Unit":
        found: dict[str, list[str]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if "=" in line and line[0] not in "#;":
                name, value = line.split("=", 1)
                found.setdefault(name, []).append(value)
        return cls(path, found)

    def one(self, name: str) -> str:
        (value,) = self.settings[name]
        return value

    def environment(self) -> dict[str, str]:
        """What systemd gives the process: of this one's environment only what finds programs and the code."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "LANG") if name in os.environ}
        own = dict(assignment.split("=", 1) for assignment in self.settings.get("Environment", ()))
        return {**kept, **own, **settings_of(Path(self.one("EnvironmentFile")))}

    def command(self) -> list[str]:
        """ExecStart with its variables filled in, as systemd does it: one that is not set is an error here."""
        environment = self.environment()
        return [
            re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], word) for word in self.one("ExecStart").split()
        ]

    def start(self, log: Path) -> "subprocess.Popen[str]":
        with log.open("a", encoding="utf-8") as stream:
            return subprocess.Popen(
                self.command(),
                env=self.environment(),
                cwd=self.one("WorkingDirectory"),
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )


def filled(template: Path, values: Mapping[str, str]) -> str:
    """A template of nginx as envsubst fills it in: only the variables that are given."""
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def checkout(folder: Path) -> Path:
    """An installation of this project in `folder`, with the environment that runs the tests."""
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("__pycache__", ".env", "secrets"))
    for name in ("dagster.yaml", "cosmo_assets", "cosmo_resources"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder
