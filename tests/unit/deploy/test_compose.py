"""The compose file: what an engine would read, and that everything it names is there. Its commands are those of the
units, which `tests/deploy/test_service.py` runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.corpora import ROOT
from tests.deploy.programs import Unit

COMPOSE = ROOT / "deploy" / "compose"
OWN = {"code": "cosmo-code", "daemon": "cosmo-daemon", "ui": "cosmo-ui", "view": "cosmo-view", "backup": "cosmo-backup"}
"""The services that run Cosmo, and the unit of each."""
PLACED = ("--host", "--port", "--to", "--keep", "--workspace", "--also")
"""Options that say where, which is another place in a container."""


def written() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    return found


def composer() -> list[str]:
    """A command that reads compose files without an engine, or a skip."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    pytest.skip("neither `docker compose` nor docker-compose is installed (Debian: docker-compose)")


def what_it_does(words: list[str]) -> list[str]:
    """A command without the place of its program, and without options that say where."""
    kept = [Path(words[0]).name]
    for before, word in pairwise(words):
        if before not in PLACED and word not in PLACED:
            kept.append(Path(word).name if word.endswith(".py") else word)
    return kept


def test_a_composer_accepts_it(tmp_path: Path) -> None:
    command = [*composer(), "--file", str(COMPOSE / "compose.yaml"), "--project-directory", str(COMPOSE), "config"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COSMO", "PG"))}
    without = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert without.returncode != 0
    assert "prepare.sh" in without.stderr, "without a password nothing starts"
    done = subprocess.run(command, env={**environment, "PGPASSWORD": "x"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {*OWN, "postgres", "proxy"} >= set(services) >= {*OWN, "postgres", "proxy"} - {"backup"}
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"proxy"}, "nobody comes in but by the door"


@pytest.mark.parametrize(("service", "unit"), OWN.items())
def test_a_service_runs_what_its_unit_runs(service: str, unit: str) -> None:
    command = shlex.split(written()["services"][service]["command"])
    of_unit = Unit.read(ROOT / "deploy" / "systemd" / f"{unit}.service").one("ExecStart").split()
    assert what_it_does(command) == what_it_does(of_unit)
    settings = written()["services"][service]["environment"]
    for assignment in Unit.read(ROOT / "deploy" / "systemd" / f"{unit}.service").settings.get("Environment", ()):
        name, value = assignment.split("=", 1)
        assert settings.get(name) == value or name == "PYTHONUNBUFFERED", "the image has that one"
    for word in command:
        if word.startswith("/opt/cosmo/"):
            assert (ROOT / word.removeprefix("/opt/cosmo/")).is_file(), word


def test_ports_hosts_and_variables_agree() -> None:
    services, settings = written()["services"], written()["x-cosmo"]["environment"]
    for name in OWN:
        assert services[name]["environment"] == settings
    port = re.search(r"--port (\d+)", services["code"]["command"])
    assert port is not None
    assert (settings["COSMO_CODE_HOST"], settings["COSMO_CODE_PORT"]) == ("code", port[1])
    assert services["code"]["healthcheck"]["test"][-1] == port[1]
    proxy = services["proxy"]["environment"]
    for name, variable in (("ui", "COSMO_UI"), ("view", "COSMO_VIEW")):
        listens = re.search(r"--port (\d+)", services[name]["command"])
        assert listens is not None
        assert proxy[variable] == f"{name}:{listens[1]}"
    template = (ROOT / "deploy" / "nginx" / "cosmo.conf.template").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)\}", template)) == set(proxy)
    named: set[str] = set()
    for path in (ROOT / "deploy" / "postgres" / "dagster.yaml", ROOT / "deploy" / "workspace.yaml"):
        named |= set(re.findall(r"env: (\w+)", path.read_text(encoding="utf-8")))
    assert named <= set(settings)
    database = services["postgres"]["environment"]
    assert (database["POSTGRES_USER"], database["POSTGRES_DB"]) == (settings["PGUSER"], settings["PGDATABASE"])
    assert database["POSTGRES_PASSWORD"] == settings["PGPASSWORD"]


def test_every_file_that_is_mounted_or_copied_exists_and_images_are_pinned() -> None:
    mounted = 0
    for service in written()["services"].values():
        assert re.search(r":\d+\.\d+", service["image"]), service["image"]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("../"):
                assert (COMPOSE / source).is_file(), source
                mounted += 1
    assert mounted == 1
    build = written()["x-cosmo"]["build"]
    context = (COMPOSE / build["context"]).resolve()
    assert context == ROOT
    lines = (context / build["dockerfile"]).read_text(encoding="utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert {"Makefile", "constraints.txt", "cosmo_assets", "deploy"} <= copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    (base,) = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)
    ignored = (context / f"{build['dockerfile']}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_what_is_copied_into_the_image_suffices_to_load_the_code(tmp_path: Path) -> None:
    image = tmp_path / "image"
    ignore = shutil.ignore_patterns("__pycache__", "secrets", ".env")
    for line in (COMPOSE / "Dockerfile").read_text(encoding="utf-8").splitlines():
        for name in line.split()[1:-1] if line.startswith("COPY ") else ():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, image / name, ignore=ignore)
            else:
                image.mkdir(exist_ok=True)
                shutil.copy(ROOT / name, image / name)
    program = "import cosmo_assets, cosmo_assets.definitions as d; d.defs(); print(cosmo_assets.__file__)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COSMO"))}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=image, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(image / "cosmo_assets" / "__init__.py")


def test_preparing_makes_secrets_once(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH")
    folder = tmp_path / "compose"
    folder.mkdir()
    shutil.copy(COMPOSE / "prepare.sh", folder)
    # openssl asks the terminal for a password, and standard input where there is none.
    shim = tmp_path / "bin" / "openssl"
    shim.parent.mkdir()
    real = shutil.which("openssl")
    shim.write_text(f'#!/bin/sh\n[ "$1" = passwd ] && exec {real} "$@" -stdin\nexec {real} "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    environment = {**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"}
    made = []
    for _ in range(2):
        command = [str(folder / "prepare.sh"), "ada"]
        subprocess.run(command, env=environment, input="operates\n", text=True, check=True, capture_output=True)
        made.append({path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()})
    assert made[0] == made[1], "what is there stays"
    assert re.search(r"^PGPASSWORD=[0-9a-f]{48}$", made[0][".env"], re.MULTILINE)
    assert re.fullmatch(r"ada:\$6\$.*\n", made[0]["operators"])
    assert made[0]["readers"] == made[0]["operators"]
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    assert (folder / "secrets" / "tls.key").stat().st_mode & 0o077 == 0
    assert subprocess.run([str(folder / "prepare.sh")], capture_output=True).returncode == 1
