"""The probe without a Slurm: what it tells, and that it never stays alone."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from cosmo_resources.examination import probe
from tests.corpora import ROOT, wait_until

SPEC = {
    "modules": ["json"],
    "server": {"engine": "command", "model": "m", "command": ["no-such-program", "{port}"]},
    "model": "m",
    "host": "127.0.0.1",
    "token": "abc",
}


def start(folder: Path, *, forsaken: float = 60.0, **environment: str) -> "subprocess.Popen[str]":
    program = f"from cosmo_resources.examination import probe; probe.FORSAKEN_SECONDS = {forsaken}; "
    program += f"raise SystemExit(probe.main([{str(folder)!r}]))"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / probe.SPEC_NAME).write_text(json.dumps(SPEC), encoding="utf-8")
    return tmp_path


@pytest.fixture
def first(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    process = start(folder, SLURM_ARRAY_TASK_ID="0", SLURMD_NODENAME="n1", CUDA_VISIBLE_DEVICES="2,3")
    yield process
    process.kill()
    process.wait()


def test_a_report_says_what_is_there(folder: Path, first: "subprocess.Popen[str]") -> None:
    with (folder / "lock-examiner").open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        wait_until((folder / "report-0.0.json").exists, process=first)
    report = json.loads((folder / "report-0.0.json").read_text(encoding="utf-8"))
    assert (report["node"], report["task"], report["locked"]) == ("n1", 0, "held")
    assert report["locks"] == {"examiner": "held"}
    assert report["devices"] == ["2", "3"]
    assert report["worker"]["error"] == ""
    assert report["server"]["error"] == "no-such-program is not there"
    assert report["code"] == probe.code_digest()
    with urlopen(report["url"], timeout=5) as reply:
        assert reply.read() == b"abc"
    assert probe.lock_state(folder / "lock-0") == "held"
    (folder / probe.END_NAME).touch()
    assert first.wait(10) == 0
    assert probe.lock_state(folder / "lock-0") == "free"


def test_a_probe_that_is_forsaken_ends(folder: Path) -> None:
    process = start(folder, forsaken=0.5)
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert (folder / "report-0.0.json").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    process = start(tmp_path / "other")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == probe.NO_FOLDER
    assert str(tmp_path / "other") in output


def test_a_lock_that_cannot_be(tmp_path: Path) -> None:
    assert probe.lock_state(tmp_path / "none") == "No such file or directory"


def test_hidden_modules_are_not_there() -> None:
    assert probe.imports(sys.executable, ["json"], os.environ)["error"] == ""
    hidden = probe.imports(sys.executable, ["json"], os.environ, without=["json"])
    assert "import of json halted" in hidden["error"]
    assert "No such file" in probe.imports("/nowhere/python", ["json"], os.environ)["error"]


def test_every_change_of_the_code_changes_its_digest(tmp_path: Path) -> None:
    for package in probe.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()

    def digest() -> str:
        program = f"import sys; sys.path[:0] = {[str(tmp_path), str(ROOT)]!r}; import importlib.util as u; "
        program += f"s = u.spec_from_file_location('probe', {probe.__file__!r}); m = u.module_from_spec(s); "
        program += "s.loader.exec_module(m); print(m.code_digest())"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    before = digest()
    assert before == digest() != probe.code_digest()
    (tmp_path / "cosmo_assets" / "notes.txt").write_text("no code", encoding="utf-8")
    assert digest() == before
    (tmp_path / "cosmo_assets" / "new.py").write_text("", encoding="utf-8")
    assert digest() != before
