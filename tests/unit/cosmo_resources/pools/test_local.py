"""The local pool: workers that are started, watched, quoted when they fail, and never outlive their parent.

Belongs here: processes. Does not belong here: what a generation worker does (`test_generation_worker`).
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.servers import RemoteServer
from cosmo_resources.pools.jobs import Job
from cosmo_resources.pools.local import LocalPool
from tests.doubles.replay_server import replaying
from tests.unit.cosmo_assets.generation.jobs import job, wait_until
from tests.unit.cosmo_assets.synthetic import recipe
from tests.unit.cosmo_resources.inference.broken_answers import Slow

URLS = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1/"]

WORKER = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / f"{os.getpid()}.arguments").write_text(json.dumps(sys.argv[2:]))
"""

PARENT = """
import sys
from pathlib import Path
from cosmo_resources.inference.servers import RemoteServer
from cosmo_resources.pools.jobs import Job
from cosmo_resources.pools.local import LocalPool
pool = LocalPool(lambda: RemoteServer([sys.argv[2]]), workers=1, concurrency=4)
for rows in pool.run(Job("cosmo_assets.generation.worker", Path(sys.argv[1]), 40)):
    print(rows, flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `some_worker` that a test can add lines to."""
    modules = tmp_path / "modules"
    modules.mkdir()
    path = modules / "some_worker.py"
    path.write_text(WORKER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(modules), prepend=os.pathsep)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def add(worker: Path, lines: str) -> None:
    worker.write_text(worker.read_text(encoding="utf-8") + lines, encoding="utf-8")


def run(folder: Path, *, workers: int = 1) -> list[int]:
    pool = LocalPool(lambda: RemoteServer(URLS), workers=workers, concurrency=7, timeout=90)
    return list(pool.run(Job("some_worker", folder, 3)))


def arguments(folder: Path) -> list[list[str]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.arguments")]


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def test_as_many_workers_run_as_wanted_and_each_knows_its_task(worker: Path, folder: Path) -> None:
    run(folder, workers=2)
    expected = ["--concurrency", "7", "--endpoint", "http://127.0.0.1:1/v1", "--endpoint", "http://127.0.0.1:2/v1"]
    expected += ["--engine", "remote", "--parent", str(os.getpid()), "--timeout", "90"]
    assert arguments(folder) == [expected, expected]


def test_the_finished_rows_are_told_at_the_end(worker: Path, folder: Path) -> None:
    add(worker, 'time.sleep(0.3)\n(folder / "shard-00000.rows.jsonl").write_text("{}\\n{}\\n{}\\n")\n')
    assert run(folder)[-1] == 3


def test_the_finished_rows_are_told_while_workers_run(worker: Path, folder: Path) -> None:
    add(
        worker,
        "for row in range(3):\n"
        '    with (folder / "shard-00000.rows.jsonl").open("a") as log:\n'
        '        log.write("{}\\n")\n'
        "    time.sleep(0.5)\n",
    )
    told = run(folder)
    assert told == sorted(told)
    assert {1, 2} & set(told)
    assert told[-1] == 3


def test_a_failing_workers_own_error_and_remedy_are_quoted(worker: Path, folder: Path) -> None:
    add(worker, 'sys.exit("the disk is full\\n  remedy: buy another")')
    with pytest.raises(CosmoError, match="exit code 1:\nthe disk is full") as caught:
        run(folder)
    assert caught.value.remedy == "buy another"


def test_of_a_crash_the_end_is_quoted_and_the_log_is_named(worker: Path, folder: Path) -> None:
    add(worker, "for line in range(50): print(line)\n1 / 0\n")
    with pytest.raises(CosmoError, match="ZeroDivisionError") as caught:
        run(folder)
    assert "\n49" in caught.value.message
    assert "\n5\n" not in caught.value.message
    assert str(folder / "worker-0.log") in caught.value.remedy


def test_a_worker_that_was_killed_is_an_error(worker: Path, folder: Path) -> None:
    add(worker, "os.kill(os.getpid(), 9)")
    with pytest.raises(CosmoError, match="exit code -9"):
        run(folder)


def test_the_error_of_any_worker_counts(worker: Path, folder: Path) -> None:
    add(worker, 'time.sleep(0.3)\nsys.exit(1 if max(folder.glob("*.arguments")).stem == str(os.getpid()) else 0)')
    with pytest.raises(CosmoError, match="exit code 1"):
        run(folder, workers=2)


def test_leaving_early_ends_the_workers(worker: Path, folder: Path) -> None:
    add(worker, "time.sleep(60)")
    progress = LocalPool(lambda: RemoteServer(URLS), workers=2).run(Job("some_worker", folder, 3))
    while len(arguments(folder)) < 2:
        next(progress)
    workers = [int(path.stem) for path in folder.glob("*.arguments")]
    progress.close()
    assert [ended(pid) for pid in workers] == [True, True]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    _, place = job(tmp_path, recipe(generation={"shard_rows": 4}), 40)
    with replaying(fault=lambda body, seen: Slow(60)) as server:
        command = [sys.executable, "-c", PARENT, str(place), server.url]
        parent = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: len(server.calls) == 4)
        workers = children(parent.pid)
        assert len(workers) == 1
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_until(lambda: all(map(ended, workers)), seconds=10)
