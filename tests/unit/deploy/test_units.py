"""The units, settings and instance of a service, without starting any: what systemd says of them, and what they say of
one another."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cosmo_resources.deployments import settings
from tests.corpora import ROOT
from tests.deploy.programs import Unit, checkout, settings_of

DEPLOY = ROOT / "deploy"
SERVICES = ("cosmo-code", "cosmo-daemon", "cosmo-ui", "cosmo-view")
LIST = re.compile(r"\$\{(\w+)\}")


def install(cosmo: Path, settings_file: Path, *more: Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    command = [str(cosmo / "deploy" / "systemd" / "install.sh"), str(settings_file), *map(str, more)]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as install.sh writes them for one user."""
    cosmo = checkout(tmp_path / "cosmo")
    shutil.copy(DEPLOY / "settings.env", tmp_path / "settings.env")
    install(cosmo, tmp_path / "settings.env", tmp_path / "units")
    return tmp_path / "units"


def changed(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def of_the_system(units: Path) -> Path:
    """The same units as root installs them: another line for the user, another target."""
    folder = shutil.copytree(units, units.parent / "system")
    for path in folder.iterdir():
        changed(path, "default.target", "multi-user.target")
        changed(path, "# the user whose manager runs it", "User=daemon")
    return folder


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH (Debian: systemd)")
@pytest.mark.parametrize("manager", ["--user", "--system"])
def test_systemd_finds_nothing_wrong_with_the_units(manager: str, units: Path, tmp_path: Path) -> None:
    folder = units if manager == "--user" else of_the_system(units)
    files = sorted(str(path) for path in folder.iterdir())
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    verify = ["systemd-analyze", manager, "--man=no", "verify"]
    done = subprocess.run([*verify, *files], env=environment, capture_output=True, text=True, timeout=60)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "cosmo" in line]
    assert done.returncode == 0, done.stderr
    assert ours == []
    broken = folder / "cosmo-ui.service"
    broken.write_text(
        broken.read_text(encoding="utf-8").replace("Restart=always", "Restart=sometimes"), encoding="utf-8"
    )
    done = subprocess.run([*verify, str(broken)], env=environment, capture_output=True, text=True, timeout=60)
    assert "sometimes" in done.stdout + done.stderr, "it does look"


def test_every_program_file_and_variable_of_a_unit_is_there(units: Path) -> None:
    found = {path.stem: Unit.read(path) for path in units.glob("*.service")}
    assert set(found) == {*SERVICES, "cosmo-backup"}
    for unit in found.values():
        assert "@" not in unit.path.read_text(encoding="utf-8")
        given = settings_of(Path(unit.one("EnvironmentFile")))
        assert set(LIST.findall(unit.one("ExecStart"))) <= set(given)
        assert Path(unit.one("WorkingDirectory")).is_dir()
        for word in unit.command():
            assert not word.startswith(str(units.parent / "cosmo")) or Path(word).exists(), word
        assert os.access(unit.command()[0], os.X_OK)


def test_services_start_again_however_often_they_end(units: Path) -> None:
    for name in SERVICES:
        unit = Unit.read(units / f"{name}.service")
        assert (unit.one("Restart"), unit.one("StartLimitIntervalSec")) == ("always", "0")
        assert int(unit.one("TimeoutStopSec")) >= 30
    code = Unit.read(units / "cosmo-code.service")
    assert code.one("KillMode") == "process", "runs are its children: they outlive it"
    wanted = Unit.read(units / "cosmo.target").one("Wants").split()
    assert {f"{name}.service" for name in SERVICES} | {"cosmo-backup.timer"} == set(wanted)


def test_what_the_installer_refuses(tmp_path: Path) -> None:
    cosmo = checkout(tmp_path / "cosmo")
    assert "no such file" in install(cosmo, tmp_path / "none.env", check=False).stderr
    odd = tmp_path / "my settings.env"
    shutil.copy(DEPLOY / "settings.env", odd)
    assert "may hold" in install(cosmo, odd, tmp_path / "units", check=False).stderr
    plain = odd.rename(tmp_path / "settings.env")
    (cosmo / ".venv").unlink()
    assert "make setup" in install(cosmo, plain, tmp_path / "units", check=False).stderr
    assert not (tmp_path / "units").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root would install units for the system")
def test_root_does_not_run_the_service(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "settings.env", tmp_path / "settings.env")
    done = install(checkout(tmp_path / "cosmo"), tmp_path / "settings.env", check=False)
    assert "belongs to root" in done.stderr


def test_the_settings_file_is_only_for_its_owner_and_holds_no_secret(units: Path) -> None:
    installed = Path(Unit.read(units / "cosmo-ui.service").one("EnvironmentFile"))
    assert installed.stat().st_mode & 0o777 == 0o600
    shipped = settings_of(DEPLOY / "settings.env")
    assert not [name for name in shipped if re.search("PASSWORD|SECRET|TOKEN|KEY", name)]
    chosen = settings(shipped)
    assert (str(chosen.data), str(chosen.state)) == (shipped["COSMO_DATA"], shipped["COSMO_STATE"])
    assert (shipped["COSMO_RECIPE"], shipped["COSMO_DEPLOYMENT"]) == ("demo", "laptop")


def test_the_instance_of_a_service_differs_in_storage_and_concurrency_alone() -> None:
    alone, service = (
        yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8")) for folder in (ROOT, DEPLOY / "postgres")
    )
    assert {key for key in alone | service if alone.get(key) != service.get(key)} == {"storage", "concurrency"}
    database = service["storage"]["postgres"]["postgres_db"]
    assert database.pop("scheme") == "postgresql+psycopg2", "SQLAlchemy 2.1 would take psycopg 3, which does not listen"
    assert {value["env"] for value in database.values()} <= {"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD"}


def test_the_settings_of_a_login_node_name_the_same_and_watch_slurm(tmp_path: Path) -> None:
    here, there = settings_of(DEPLOY / "settings.env"), settings_of(DEPLOY / "login-node.env")
    assert set(here) == set(there)
    chosen = settings(there)
    shared = {Path(there[name]).parts[1] for name in ("COSMO_DATA", "COSMO_RECIPE", "COSMO_DEPLOYMENT", "DAGSTER_HOME")}
    assert shared == {"shared"}
    assert not chosen.state.is_relative_to("/shared"), "SQLite breaks on a network's file system"
    cosmo = checkout(tmp_path / "cosmo")
    text = (DEPLOY / "login-node.env").read_text(encoding="utf-8")
    file = tmp_path / "cosmo.env"
    file.write_text(
        text.replace("/shared/cosmo/my-cluster.yaml", str(cosmo / "deploy" / "slurm" / "h100.yaml"))
        .replace("/shared/cosmo/recipes/my-corpus.yaml", "demo")
        .replace("/shared/cosmo/project", str(cosmo))
        .replace("/shared/cosmo/data", str(tmp_path / "data"))
        .replace("/var/tmp/cosmo-state", str(tmp_path / "state")),
        encoding="utf-8",
    )
    install(cosmo, file, tmp_path / "units")
    unit = Unit.read(tmp_path / "units" / "cosmo-code.service")
    program = "from cosmo_assets.definitions import defs; found = {one.name: one for one in defs().sensors}; "
    program += "print(found['slurm_orphans'].default_status.value, defs().resources['site'].in_slurm)"
    python = str(Path(unit.command()[0]).with_name("python"))
    done = subprocess.run(
        [python, "-c", program],
        env=unit.environment(),
        cwd=unit.one("WorkingDirectory"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["RUNNING", "True"], done.stderr
