"""The page on deployment as a script: its commands, one after the other, as somebody would type them.

What needs root, systemd, containers or another machine is answered by a stand-in that notes how it was called; then
what it was called with must exist. Everything else is the real program.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.corpora import ROOT, Corpus, seeds
from tests.deploy.programs import Postgres, checkout, postgres, settings_of
from tests.deploy.service import write_settings
from tests.doubles.replay_server import replaying
from tests.unit.test_documents import shell_lines

PAGE = ROOT / "docs" / "deployment.md"
STAND_INS = ("make", "systemctl", "loginctl", "journalctl", "sudo", "docker", "ssh", "git", "curl")
NOTE = '#!/bin/sh\n{ printf %s "$(basename "$0")"; printf " %s" "$@"; echo; } >> "$NOTES"\n'
OPENSSL = '#!/bin/sh\n[ "$1" = passwd ] && set -- "$@" -stdin\necho a-password | {real} "$@"\n'
DOCTOR = '#!/bin/sh\ncase "$*" in *--slurm*) echo "cosmo $*" >> "$NOTES" ;; *) exec {real} "$@" ;; esac\n'
RESTORED = "20260101T033000Z"
"""The backup that the page restores."""


@dataclass
class Reader:
    """Somebody who follows the page: a home, the project, and a shell that remembers its variables."""

    corpus: Corpus
    url: str
    database: Postgres
    project: Path
    home: Path
    variables: dict[str, str]
    done: list[str] = field(default_factory=list)

    def type(self, line: str) -> None:
        """Run a line; what it exports is there for the next one."""
        program = f"{line}\nenv -0 > {self.home}/variables\n"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", program],
            env=self.variables,
            cwd=self.project,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=200,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        pairs = (self.home / "variables").read_text(encoding="utf-8").split("\0")
        self.variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        self.done.append(line)

    def edit(self, **changes: str) -> None:
        """Change the settings file as the page asks for; lines that are there already go."""
        path = self.home / "cosmo.env"
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if line.split("=")[0] not in changes]
        text = "\n".join([*kept, *(f"{name}={value}" for name, value in changes.items())])
        path.write_text(text + "\n", encoding="utf-8")

    def prepare(self, line: str) -> None:
        """What the words around a line tell somebody to do before it."""
        settings, data = self.home / "cosmo.env", self.corpus.folder
        if line.startswith("deploy/systemd/install.sh") and not settings.with_suffix(".edited").exists():
            write_settings(settings, self.project, self.corpus, self.url, None)
            settings.with_suffix(".edited").touch()
        elif line.startswith("deploy/postgres/create.sh"):
            port = str(self.database.port)
            self.edit(DAGSTER_HOME=f"{self.project}/deploy/postgres", PGHOST="127.0.0.1", PGPORT=port)
            self.edit(PGUSER="cosmo", PGDATABASE="cosmo")
            self.variables |= self.database.administrator
        elif line.startswith("python deploy/restore.py"):
            (taken,) = (path for path in (data / "backups").iterdir() if path.is_dir())
            taken.rename(taken.with_name(RESTORED))
            self.edit(
                COSMO_DATA=str(data / "new"), COSMO_STATE=str(data / "new-state"), PGUSER="next", PGDATABASE="next"
            )
            lines = [line for line in settings.read_text(encoding="utf-8").splitlines() if "PGPASSWORD" not in line]
            settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
            administrator = {**self.variables, **self.database.administrator}
            create = [str(self.project / "deploy" / "postgres" / "create.sh"), str(settings)]
            subprocess.run(create, env=administrator, check=True)
            self.type("set -a; . ~/cosmo.env; set +a")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    for name in ("openssl", "envsubst", "bash"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} on PATH")
    lines = [line for line in shell_lines(PAGE) if line.strip()]
    assert len(lines) > 40
    corpus = Corpus(tmp_path / "corpus").write(seeds(12))
    with replaying() as model, postgres() as database:
        corpus.build(model.url)
        reader = Reader(corpus, model.url, database, checkout(tmp_path / "project"), tmp_path, beginning(tmp_path))
        (tmp_path / "project" / "secrets").mkdir()
        for line in lines:
            if "login-node.env" in line:  # nobody has both
                assert (ROOT / line.split()[1]).is_file()
                continue
            reader.prepare(line)
            reader.type(line)
    notes = [shlex.split(line) for line in (tmp_path / "notes").read_text(encoding="utf-8").splitlines()]
    check_units(notes, tmp_path / ".config" / "systemd" / "user")
    check_containers(notes)
    restored = Corpus(tmp_path / "restored" / "recipe")
    assert restored.recipe.name == "tiny"
    settings = settings_of(tmp_path / "cosmo.env")
    corpus.data = Path(settings["COSMO_DATA"])
    assert corpus.data.name == "new"
    assert len(corpus.rows()) == 12
    assert '"tiny' not in (tmp_path / "project" / "cosmo.conf").read_text(encoding="utf-8")
    assert {"cosmo", "git", "make", "ssh", "curl"} <= {words[0] for words in notes}


def beginning(folder: Path) -> dict[str, str]:
    """The variables to begin with: stand-ins before the project's programs before the system's."""
    shims = folder / "bin"
    shims.mkdir()
    programs = Path(sys.executable).parent
    texts = dict.fromkeys(STAND_INS, NOTE)
    texts |= {"openssl": OPENSSL.format(real=shutil.which("openssl")), "cosmo": DOCTOR.format(real=programs / "cosmo")}
    for name, text in texts.items():
        (shims / name).write_text(text, encoding="utf-8")
        (shims / name).chmod(0o755)
    path = f"{shims}:{programs}:{os.environ['PATH']}"
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(folder), "PATH": path, "NOTES": str(folder / "notes")}


def check_units(notes: list[list[str]], folder: Path) -> None:
    units = {path.name for path in folder.iterdir()}
    named: set[str] = set()
    for words in notes:
        for word in words if words[0] in ("systemctl", "journalctl", "sudo") else ():
            if word.startswith("cosmo") and not word.endswith(".conf"):
                named.add(word if "." in word else f"{word}.service")
    assert "cosmo.target" in named
    assert named <= units


def check_containers(notes: list[list[str]]) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8"))
    ran: Mapping[str, list[str]] = {words[4]: words for words in notes if words[0] == "docker"}
    assert set(ran) == {"build", "up", "run"}
    assert ran["run"][-1] in compose["services"]
    assert (ROOT / ran["up"][3] / "compose.yaml").is_file()
