"""What follows from what probes saw, where a test's cluster cannot show it."""

import http.server
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cosmo_resources.examination import verdicts
from cosmo_resources.examination.cluster import Beats
from cosmo_resources.slurm.records import EndRecord, JobRecord

CONFIG = "PreemptType             = preempt/partition_prio\nSlurmctldParameters     = {}\n"
PARTITION = "PartitionName=spot AllowGroups=ALL PreemptMode={} GraceTime={} State=UP"


def report(node: str, **locks: str) -> dict[str, Any]:
    return {"node": node, "locked": "held", "locks": {"examiner": "held", "0": "held", **locks}}


@pytest.mark.parametrize(
    ("config", "partition", "state", "detail"),
    [
        pytest.param("PreemptType = preempt/none\n", PARTITION.format("REQUEUE", 0), "ok", "not preempted", id="none"),
        pytest.param(CONFIG.format(""), PARTITION.format("OFF", 0), "ok", "not preempted", id="off"),
        pytest.param(CONFIG.format(""), PARTITION.format("REQUEUE", 120), "ok", "told by TERM, have 120 s", id="term"),
        pytest.param(
            CONFIG.format("preempt_send_user_signal"), PARTITION.format("REQUEUE", 120), "ok", "by USR1", id="notice"
        ),
        pytest.param(CONFIG.format(""), PARTITION.format("REQUEUE", 0), "warn", "have 0 s", id="no grace"),
        pytest.param(CONFIG.format(""), PARTITION.format("CANCEL", 120), "warn", "cancelled", id="cancel"),
        pytest.param("PreemptType = preempt/qos\n", PARTITION.format("OFF", 0), "ok", "not preempted", id="qos off"),
        pytest.param("PreemptType = preempt/qos\n", PARTITION.format("REQUEUE", 0), "ok", "by QOS", id="qos"),
    ],
)
def test_preemption(config: str, partition: str, state: str, detail: str) -> None:
    found = verdicts.preemption(config, partition, 60.0)
    assert found.state == state
    assert detail in found.detail


def test_locks_that_others_do_not_see() -> None:
    both = [report("n1"), report("n2")]
    assert verdicts.locks(both, "held").state == "ok"
    for reports, here, named in (
        ([report("n1"), report("n2", **{"0": "free"})], "held", "the lock of n1, on n2: free"),
        ([report("n1", examiner="free"), report("n2")], "held", "the lock of this machine, on n1: free"),
        (both, "free", "the lock of n1, here: free"),
        ([{**report("n1"), "locked": "No locks available"}, report("n2")], "held", "n1 got no lock: No locks"),
    ):
        found = verdicts.locks(reports, here)
        assert found.state == "bad"
        assert named in found.detail


def test_files_that_are_seen_half_written_or_late() -> None:
    quick = Beats(moves=10, longest=0.3)
    assert verdicts.renames([quick, quick], "service").state == "ok"
    assert verdicts.renames([quick, Beats(moves=9, longest=0.3, torn=1)], "batch").state == "bad"
    assert verdicts.renames([quick, Beats(moves=2, longest=9.0)], "service").state == "warn"
    assert verdicts.renames([quick, Beats(moves=2, longest=29.0)], "service").state == "bad"
    assert verdicts.renames([quick, Beats(moves=2, longest=29.0)], "batch").state == "warn"


def test_clocks_that_differ_are_no_fault() -> None:
    nodes = [report("n1"), report("n2")]
    assert verdicts.clocks(nodes, [0.1, -0.4]).state == "ok"
    found = verdicts.clocks(nodes, [0.1, -3600.0])
    assert found.state == "warn"
    assert "that of n2 differs by -3600 s" in found.detail


def test_what_is_seen_of_a_beat(tmp_path: Path) -> None:
    path, beats = tmp_path / "beat-0.json", Beats()

    def beat(number: int, *, restart: int = 0, notice: str = "", ahead: float = 0.0) -> None:
        fields = {"beat": number, "restart": restart, "notice": notice, "time": time.time() + ahead}
        path.write_text(json.dumps(fields), encoding="utf-8")
        beats.look(path)

    beats.look(path)
    assert beats.moves == 0
    beat(0, ahead=100)
    time.sleep(0.05)
    beats.look(path)
    assert beats.moves == 1
    assert beats.longest >= 0.05
    assert beats.offset == pytest.approx(100, abs=1)
    path.write_text('{"beat": 1, "restart": 0, "pad', encoding="utf-8")
    beats.look(path)
    assert (beats.torn, beats.moves) == (1, 1)
    beat(2, notice="SIGUSR1")
    longest = beats.longest
    beats.since -= 60
    beats.look(path)
    assert beats.longest == longest, "it waits in the queue"
    beat(0, restart=1)
    assert (beats.longest, beats.moves) == (longest, 3)


def test_what_a_job_without_a_report_died_of(tmp_path: Path) -> None:
    log = tmp_path / "1_0.log"

    def subject(code: int, text: str = "", signal: int = 0) -> tuple[str, str]:
        log.write_text(text, encoding="utf-8")
        end = EndRecord("1", 0, "cosmo-doctor", "FAILED", exit_code=code, signal=signal, nodes="n1")
        found = verdicts.ended_early([end], log, "/env/bin/python")
        assert found.state == "bad"
        return found.subject, found.detail

    assert subject(0, signal=53)[0] == "data root"
    assert subject(127, "slurm_script: line 4: /env/bin/python: No such file or directory")[0] == "worker environment"
    assert subject(127, "slurm_script: line 2: module: command not found")[0] == "probe"
    assert subject(1, "/env/bin/python: Error while finding module: No module named 'cosmo'")[0] == "worker environment"
    assert subject(1, "")[1].endswith("its log is empty")


def test_a_job_that_is_held() -> None:
    held = JobRecord("7", 0, "cosmo-doctor", "PENDING", reason="launch failed requeued held")
    assert verdicts.not_started(held, 1.0).state == "bad"
    waiting = JobRecord("7", 0, "cosmo-doctor", "PENDING", reason="Priority")
    assert verdicts.not_started(waiting, 300.0).state == "warn"


def test_an_address_is_only_right_when_the_probe_answers() -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert verdicts.reach(url, "token") == "another program answers there"
        assert verdicts.reach(url, "hello") == ""
        server.shutdown()
    assert "refused" in verdicts.reach(url, "token").lower()
