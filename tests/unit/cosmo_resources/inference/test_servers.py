"""The life of a supervised server, with a scripted one in the engine's place."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference import server_process
from cosmo_resources.inference.server_process import ModelServer
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.inference.servers import EmbeddedServer, make_server
from tests.corpora import ROOT, wait_until
from tests.processes import below, exists

SCRIPT = str(ROOT / "tests" / "doubles" / "scripted_server.py")

Make = Callable[..., ModelServer]


def scripted(*options: str, **fields: Any) -> ServerSpec:
    command = (sys.executable, SCRIPT, "--port", "{port}", *options)
    return ServerSpec(**{"engine": "command", "model": "scripted", "ready_within": 20, **fields, "command": command})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[ModelServer] = []

    def make_one(*options: str, kept: bool = False, **fields: Any) -> ModelServer:
        made.append(make_server(scripted(*options, **fields), tmp_path / f"server-{len(made)}", kept=kept))
        return made[-1]

    yield make_one
    for server in made:
        server.stop()


def say(server: ModelServer, text: str) -> int:
    body = json.dumps({"model": "scripted", "prompt": text}).encode()
    try:
        with urllib.request.urlopen(f"{server.url}/completions", body, timeout=20) as reply:
            return int(reply.status)
    except OSError:
        return 0


def test_a_server_starts_answers_and_leaves_nothing(make: Make) -> None:
    server = make("--ready-after", "0.5")
    assert not server.alive() and server.url == ""
    begun = time.monotonic()
    (url,) = server.start()
    assert time.monotonic() - begun >= 0.5, "it was called ready before it was"
    assert url == server.url and url.startswith("http://127.0.0.1:") and url.endswith("/v1")
    assert server.alive() and server.healthy() and say(server, "hello") == 200
    assert server.pid is not None
    pids = below(server.pid)
    assert len(pids) == 2
    assert server.start() == [url] and server.pid == pids[0], "a second start started another"
    server.stop()
    assert not server.alive() and not server.healthy() and not any(exists(pid) for pid in pids)
    assert server.start() != [] and server.healthy(), "it cannot be started again"


@pytest.mark.parametrize("options", [("--no-health",), ("--no-template",)], ids=["no health route", "no chat"])
def test_servers_with_fewer_routes_will_do(make: Make, options: tuple[str, ...]) -> None:
    server = make(*options)
    server.start()
    assert server.healthy()


def test_a_server_that_is_never_ready_is_ended(make: Make) -> None:
    server = make("--ready-after", "600", ready_within=0.8)
    with pytest.raises(CosmoError, match=r"not ready within 0\.8 s.*server\.log says:\n  serving on port \d+"):
        server.start()
    assert not server.alive() and server.pid is None


def test_a_server_that_dies_at_its_start_is_quoted_and_explained(make: Make, tmp_path: Path) -> None:
    log = tmp_path / "said"
    log.write_text("loading\nValueError: No available memory for the cache blocks.\n" + "noise\n" * 30, "utf-8")
    begun = time.monotonic()
    with pytest.raises(CosmoError) as caught:
        make("--say", str(log), "--exit", "1").start()
    assert time.monotonic() - begun < 10, "it was waited for after its end"
    text = caught.value.message
    assert "ended before it was ready (exit code 1)" in text and "key-value cache is too small" in text
    assert "No available memory for the cache blocks" in text and "noise" in text
    assert "gpu-memory-utilization" in caught.value.remedy


def test_a_server_that_cannot_answer_a_first_request_is_not_ready(make: Make) -> None:
    server = make("--refuse")
    with pytest.raises(CosmoError, match=r"first request: status 500: .*broken engine"):
        server.start()
    assert not server.alive()


def test_a_server_of_another_model_is_refused_soon(make: Make) -> None:
    begun = time.monotonic()
    with pytest.raises(CosmoError, match="serves other, not scripted"):
        make("--model", "other").start()
    assert time.monotonic() - begun < 10


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    spec = ServerSpec(engine="command", model="m", command=("/none/such-engine", "{port}"))
    with pytest.raises(CosmoError, match=r"/none/such-engine: No such file") as caught:
        make_server(spec, tmp_path).start()
    assert "command" in caught.value.remedy
    spec = ServerSpec(engine="vllm", model="m", python="/none/python")
    with pytest.raises(CosmoError, match="/none/python is missing"):
        make_server(spec, tmp_path).start()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"no server can listen on 192\.0\.2\.1"):
        make_server(scripted(), tmp_path, host="192.0.2.1").start()


def test_a_port_that_is_taken_meanwhile_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = server_process._free_port("127.0.0.1")
        draws = iter([port, free])
        monkeypatch.setattr(server_process, "_free_port", lambda host: next(draws))
        server = make()
        assert server.start() == [f"http://127.0.0.1:{free}/v1"]


def test_a_port_on_which_another_server_answers_meanwhile_is_given_up(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that takes long to come to its port finds somebody else there."""
    other = make("--model", "other", model="other")
    other.start()
    free = server_process._free_port("127.0.0.1")
    draws = iter([int(other.url.removesuffix("/v1").rpartition(":")[2]), free])
    monkeypatch.setattr(server_process, "_free_port", lambda host: next(draws))
    slow = ("sh", "-c", 'sleep 2; exec "$0" "$@"', *scripted().command)
    server = make_server(scripted().model_copy(update={"command": slow}), tmp_path / "slow")
    try:
        assert server.start() == [f"http://127.0.0.1:{free}/v1"]
    finally:
        server.stop()


def test_a_crash_is_seen_and_a_restart_keeps_the_url(make: Make) -> None:
    server = make()
    (url,) = server.start()
    assert say(server, "crash") == 0
    wait_until(lambda: not server.alive(), seconds=5)
    assert not server.healthy()
    server.restart()
    assert server.url == url and server.healthy() and say(server, "hello") == 200


def test_an_engine_that_is_dead_behind_its_front_is_not_healthy(make: Make) -> None:
    server = make()
    server.start()
    assert say(server, "engine dies") == 200
    assert server.alive() and not server.healthy()
    server.restart()
    assert server.healthy()


def test_restarts_are_bounded_within_their_window(tmp_path: Path) -> None:
    now = 0.0
    server = ModelServer(scripted(restarts=2, restart_window=100), tmp_path, clock=lambda: now)
    try:
        server.start()
        server.restart()
        now = 10.0
        server.restart()
        now = 105.0  # the first is forgotten
        server.restart()
        assert server.healthy()
        now = 109.0
        with pytest.raises(CosmoError, match=r"another restart after 2 within 100 s.*\n.*serving on port"):
            server.restart()
        assert not server.alive()
        now = 300.0
        server.start()
        assert server.healthy()
    finally:
        server.stop()


def test_a_kept_server_is_restarted_until_the_bound(make: Make, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    server = make("--crash-starts", str(broken), restarts=2, kept=True)
    (url,) = server.start()
    pid = server.pid
    say(server, "crash")
    wait_until(lambda: server.pid not in {pid, None} and server.healthy(), seconds=15)
    assert server.start() == [url], "it was still starting"
    pid = server.pid
    say(server, "engine dies")
    wait_until(lambda: server.pid not in {pid, None} and server.healthy(), seconds=15)
    server.start()
    broken.touch()
    say(server, "crash")
    wait_until(lambda: not any(thread.name == "keep-command" for thread in threading.enumerate()), seconds=15)
    with pytest.raises(CosmoError, match="another restart after 2"):
        server.start()


def test_stop_ends_a_start_that_waits(make: Make) -> None:
    server = make("--ready-after", "600")
    failures: list[CosmoError] = []

    def start() -> None:
        try:
            server.start()
        except CosmoError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(server.alive, seconds=10)
    server.stop()
    thread.join(5)
    assert not thread.is_alive() and not server.alive() and "was stopped" in failures[0].message


@pytest.mark.parametrize("metric", ["vllm:num_requests_running", "cosmo_requests_running"])
def test_drain_waits_for_what_runs(make: Make, metric: str) -> None:
    server = make("--metric", metric)
    server.start()
    assert server.drain(5)
    asker = threading.Thread(target=say, args=(server, "wait 1.5"))
    begun = time.monotonic()
    asker.start()
    time.sleep(0.3)
    assert not server.drain(0.4) and time.monotonic() - begun < 1.4
    assert server.drain(10)
    assert 1.4 < time.monotonic() - begun < 5
    asker.join()


def test_drain_gives_a_server_that_tells_nothing_the_whole_grace(make: Make) -> None:
    server = make("--metric", "")
    server.start()
    begun = time.monotonic()
    assert not server.drain(0.6)
    assert 0.6 <= time.monotonic() - begun < 3


def test_stop_ends_grandchildren_in_sessions_of_their_own(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "STOP_SECONDS", 0.5)
    file = tmp_path / "children"
    server = make("--children", str(file), "--deaf")
    server.start()
    assert server.pid is not None
    pids = below(server.pid)
    assert len(pids) == 5 and {int(pid) for pid in file.read_text().split()} < set(pids)
    server.stop()
    assert not any(exists(pid) for pid in pids)


def test_a_crash_leaves_no_grandchildren_beside_the_next_start(make: Make, tmp_path: Path) -> None:
    server = make("--children", str(tmp_path / "children"))
    server.start()
    assert server.pid is not None
    pids = below(server.pid)
    say(server, "crash")
    wait_until(lambda: not server.alive(), seconds=10)
    assert not any(exists(pid) for pid in pids)


def test_a_guard_that_is_killed_takes_its_server_along(make: Make, tmp_path: Path) -> None:
    server = make("--children", str(tmp_path / "children"))
    server.start()
    assert server.pid is not None
    _, engine, *_ = below(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not exists(engine), seconds=5)
    assert not server.alive()
    own_session, *same_group = map(int, (tmp_path / "children").read_text().split())
    server.restart()
    assert server.healthy() and not any(exists(pid) for pid in same_group)
    os.kill(own_session, signal.SIGKILL)  # the one thing that only a living guard ends


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_a_supervisor_that_ends_takes_everything_along(tmp_path: Path, number: int) -> None:
    (tmp_path / "spec.json").write_text(scripted("--children", str(tmp_path / "children")).model_dump_json(), "utf-8")
    program = f"""
import sys, threading, time
from pathlib import Path
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.inference.servers import make_server
folder = Path({str(tmp_path)!r})
server = make_server(ServerSpec.model_validate_json((folder / "spec.json").read_text()), folder / "server")
starter = threading.Thread(target=server.start)  # whose end is not the supervisor's
starter.start()
starter.join()
time.sleep(1)
(folder / "pid.partial").write_text(str(server.pid) if server.healthy() else "0")
(folder / "pid.partial").rename(folder / "pid")
time.sleep(600)
"""
    supervisor = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    try:
        wait_until((tmp_path / "pid").is_file, seconds=30)
        pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
        assert pid, "the server ended with the thread that started it"
        pids = below(pid)
        assert len(pids) == 5
        supervisor.send_signal(number)
        supervisor.wait(30)
        wait_until(lambda: not any(exists(pid) for pid in pids), seconds=10)
    finally:
        supervisor.kill()
        supervisor.wait()


def test_the_last_few_logs_are_kept(make: Make) -> None:
    server = make(restarts=9)
    server.start()
    contents = []
    for _ in range(5):
        contents.insert(0, server.log.read_text(encoding="utf-8"))
        assert contents[0].startswith("serving on port")
        with server.log.open("a", encoding="utf-8") as log:
            log.write(f"start {len(contents)}")
        contents[0] += f"start {len(contents)}"
        server.restart()
    names = sorted(path.name for path in server.folder.glob("*.log"))
    assert names == ["server.1.log", "server.2.log", "server.3.log", "server.log"]
    for number in (1, 2, 3):
        text = (server.folder / f"server.{number}.log").read_text(encoding="utf-8")
        assert text.endswith(f"start {6 - number}")


def test_the_embedded_server_comes_back_after_a_crash(tmp_path: Path) -> None:
    server = EmbeddedServer("smollm2-135m-instruct", tmp_path)
    try:
        endpoints = server.start()
        assert server.pid is not None
        pid, engine = below(server.pid)
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: server.pid not in {pid, None} and server.healthy(), seconds=60)
        assert server.start() == endpoints and server.log.parent.parent == tmp_path
    finally:
        server.stop()
    assert not server.alive()


def test_an_embedded_model_that_is_none_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="no folder with a model") as caught:
        EmbeddedServer("no-such-model", tmp_path).start()
    assert "'no-such-model' is no model" in caught.value.message
