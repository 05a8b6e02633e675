"""The worker: asks what is missing, keeps what it got, and shares a job with others, whoever is killed.

Belongs here: one job in its folder. Does not belong here: what is published of it (`test_generation_reuse`).
"""

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cosmo_assets.generation.worker import Worker, main
from cosmo_assets.ids import request_seed
from cosmo_assets.schemas.generation import GENERATIONS
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.storage.ledger import ShardLedger
from cosmo_resources.storage.writer import read_table
from tests.doubles.replay_server import Fault, ReplayServer, replaying
from tests.unit.cosmo_assets.generation.jobs import asked, job, sealed_rows, start_worker, wait_until, work
from tests.unit.cosmo_assets.synthetic import recipe
from tests.unit.cosmo_resources.inference.broken_answers import Slow

IN_FLIGHT = 3


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"])


def completion(text: str, finish_reason: str = "stop") -> web.Response:
    message = {"role": "assistant", "content": text}
    return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})


def at_call(number: int, server: ReplayServer, act: Callable[[], None]) -> Fault:
    """Answer as ever, but act first when so many calls have come."""

    def fault(body: dict[str, Any], _: int) -> None:
        if len(server.calls) >= number:  # two calls may come before the first of them is looked at
            act()

    return fault


def documents(plan: Any) -> list[dict[str, Any]]:
    return list(plan.documents(plan.prompt_table(), 0, plan.rows))


def test_every_document_is_answered_in_the_order_of_the_plan(tmp_path: Path, replay: ReplayServer) -> None:
    plan, folder = job(tmp_path, recipe(generation={"samples": 2, "shard_rows": 4}), 7)
    work(folder, replay)
    rows = sealed_rows(plan, folder)
    assert [row["doc_id"] for row in rows] == [document["doc_id"] for document in documents(plan)]
    assert {row["status"] for row in rows} == {"ok"}
    assert len(replay.calls) == 14


def test_a_request_is_a_function_of_its_document(tmp_path: Path, replay: ReplayServer) -> None:
    plan, folder = job(tmp_path, recipe(generation={"samples": 2, "sampling": {"temperature": 0.3}}), 1)
    work(folder, replay)
    for document, call in zip(documents(plan), sorted(replay.calls, key=lambda call: call["seed"]), strict=True):
        assert document["prompt"] == "prompt 0"
        assert call["messages"] == [{"role": "user", "content": "prompt 0"}]
        assert (call["model"], call["max_tokens"], call["temperature"]) == ("replay", 50, 0.3)
    assert {call["seed"] for call in replay.calls} == {request_seed(document["doc_id"]) for document in documents(plan)}


def test_a_row_says_how_it_came_about(tmp_path: Path, replay: ReplayServer) -> None:
    plan, folder = job(tmp_path, recipe(), 1)
    work(folder, replay)
    (row,) = sealed_rows(plan, folder)
    (document,) = documents(plan)
    assert (row["prompt_id"], row["sample_index"]) == (document["prompt_id"], 0)
    assert (row["model"], row["model_revision"], row["engine"]) == ("replay", "1", "test engine")
    assert (row["request_seed"], row["attempts"], row["error"]) == (request_seed(row["doc_id"]), 1, None)
    assert row["completion_tokens"] == len(row["text"].split()) > 0


def test_a_sealed_shard_has_the_schema_and_the_sums_of_its_rows(tmp_path: Path) -> None:
    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        kind = int(prompt_of(body).split()[1])
        if kind == 0:
            return web.Response(status=400, text="too long")
        if kind == 1:
            return web.Response(status=500, text="no memory")
        return completion("cut", "length") if kind == 2 else None

    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 10}), 5)
    with replaying(fault=fault) as server:
        work(folder, server, attempts=2)
    done = ShardLedger(folder).done(0)
    assert done is not None
    assert read_table(ShardLedger(folder).parquet(0)).schema.equals(GENERATIONS)
    rows = sealed_rows(plan, folder)
    assert done.counters == {
        "status_ok": 3,
        "status_refused": 1,
        "status_failed": 1,
        "finish_stop": 2,
        "finish_length": 1,
        "finish_none": 2,
        "mark_truncated": 1,
        "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
        "completion_tokens": sum(row["completion_tokens"] for row in rows),
    }
    errors = {row["status"]: (row["error"], row["text"], row["attempts"]) for row in rows if row["status"] != "ok"}
    assert errors == {"refused": ("HTTP 400: too long", "", 1), "failed": ("HTTP 500: no memory", "", 2)}


def test_half_a_character_in_an_answer_is_stored_as_a_question_mark(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(), 1)
    with replaying(fault=lambda body, seen: completion("cut \ud83d here")) as server:
        work(folder, server)
    assert [row["text"] for row in sealed_rows(plan, folder)] == ["cut ? here"]


def test_the_next_shard_is_begun_before_the_last_row_of_the_one_before(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 3}), 9)
    with replaying() as server:
        server.fault = lambda body, seen: Slow(10, until=lambda: len(server.calls) >= 6)
        work(folder, server, concurrency=6, attempts=1)
    assert {row["status"] for row in sealed_rows(plan, folder)} == {"ok"}


def test_a_finished_job_asks_nothing(tmp_path: Path, replay: ReplayServer) -> None:
    _, folder = job(tmp_path, recipe(), 6)
    work(folder, replay)
    replay.calls.clear()
    work(folder, replay)
    assert replay.calls == []


def test_a_job_without_documents_ends(tmp_path: Path, replay: ReplayServer) -> None:
    plan, folder = job(tmp_path, recipe(), 0)
    work(folder, replay)
    assert (plan.shards, replay.calls) == (0, [])


def test_after_the_servers_were_gone_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 5}), 12)
    with replaying() as server:
        server.fault = lambda body, seen: web.Response(status=500) if len(server.calls) > 8 else None
        with pytest.raises(CosmoError, match="in a row failed"):
            work(folder, server, attempts=1, give_up_after=2, concurrency=1)
        answered = asked(server)[:8]
        server.fault = None
        server.calls.clear()
        work(folder, server)
        assert sorted(asked(server) + answered) == sorted(document["prompt"] for document in documents(plan))
    assert {row["status"] for row in sealed_rows(plan, folder)} == {"ok"}


def test_a_failed_row_is_asked_again_and_a_refused_one_is_not(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 6}), 6)
    order = [document["prompt"] for document in documents(plan)]
    status = dict(zip(order, (200, 500, 400, 200, 500, 500), strict=True))  # the last two end the run

    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        code = status[prompt_of(body)]
        return web.Response(status=code) if code != 200 else None

    with replaying(fault=fault) as server:
        with pytest.raises(CosmoError):
            work(folder, server, attempts=1, give_up_after=2, concurrency=1)
        assert asked(server) == order
        server.fault = None
        server.calls.clear()
        work(folder, server)
        assert sorted(asked(server)) == sorted([order[1], order[4], order[5]])
    assert [row["status"] for row in sealed_rows(plan, folder)] == ["ok", "ok", "refused", "ok", "ok", "ok"]


def test_a_damaged_line_of_the_log_is_asked_again_alone(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 6}), 6)
    with replaying() as server:
        server.fault = lambda body, seen: web.Response(status=500) if len(server.calls) > 4 else None
        with pytest.raises(CosmoError):
            work(folder, server, attempts=1, give_up_after=1, concurrency=1)
        (log,) = folder.glob("*.rows.jsonl")
        lines = log.read_bytes().splitlines(keepends=True)
        lost = json.loads(lines[1])["prompt_id"]
        log.write_bytes(lines[0] + b"\0" * 20 + b"\n" + b"".join(lines[2:]))
        server.fault = None
        server.calls.clear()
        work(folder, server)
        again = {document["prompt"] for document in documents(plan) if document["prompt_id"] == lost}
        assert again < set(asked(server))
        assert len(server.calls) == 3  # the lost one and the two that were never answered
    assert len(sealed_rows(plan, folder)) == 6


def test_a_damaged_sealed_shard_is_worked_again(tmp_path: Path, replay: ReplayServer) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 3}), 9)
    work(folder, replay)
    before = sealed_rows(plan, folder)
    path = ShardLedger(folder).parquet(1)
    path.write_bytes(path.read_bytes()[:-10])
    replay.calls.clear()
    work(folder, replay)
    assert sorted(asked(replay)) == sorted(document["prompt"] for document in documents(plan)[3:6])
    texts = [row["text"] for row in sealed_rows(plan, folder)]
    assert texts == [row["text"] for row in before]


def test_a_killed_worker_loses_at_most_what_was_in_flight(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 7}), 40)
    with replaying(delay=0.01) as server:
        process = start_worker(folder, server, concurrency=IN_FLIGHT)
        server.fault = at_call(23, server, process.kill)
        assert process.wait(60) == -signal.SIGKILL
        work(folder, server)
        again = Counter(asked(server))
    assert len(again) == 40
    assert 40 < sum(again.values()) <= 40 + IN_FLIGHT
    rows = sealed_rows(plan, folder)
    assert [row["doc_id"] for row in rows] == [document["doc_id"] for document in documents(plan)]


def test_workers_of_one_job_share_it_without_asking_a_row_twice(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 4}), 48)
    with replaying(delay=0.05) as server:
        other = start_worker(folder, server, concurrency=2)
        wait_until(lambda: server.calls)
        work(folder, server, concurrency=2)
        _, error = other.communicate(timeout=60)
        assert other.returncode == 0, error
        assert server.most_running > 2, "they did not work at the same time"
        assert Counter(asked(server)) == {document["prompt"]: 1 for document in documents(plan)}
    assert len(sealed_rows(plan, folder)) == 48


def test_a_worker_takes_over_the_shards_of_one_that_was_killed(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 4}), 24)
    with replaying(delay=0.05) as server:
        victim = start_worker(folder, server, concurrency=IN_FLIGHT)
        wait_until(lambda: len(server.calls) >= 2)
        server.fault = at_call(12, server, victim.kill)
        work(folder, server, concurrency=IN_FLIGHT)
        assert victim.wait(60) == -signal.SIGKILL
        assert 24 <= len(server.calls) <= 24 + IN_FLIGHT
    assert len(sealed_rows(plan, folder)) == 24


def test_a_worker_that_would_leave_looks_once_more_for_what_was_left(tmp_path: Path) -> None:
    """Another gives up the first shard when this worker has long passed it."""
    plan, folder = job(tmp_path, recipe(generation={"shard_rows": 4}), 12)
    client = ClientOptions(concurrency=1)
    with ExitStack() as other, replaying() as server:
        assert other.enter_context(ShardLedger(folder).claim(0))
        server.fault = at_call(7, server, other.close)
        assert Worker(folder, CompletionClient([server.url], "replay", client), "", leave=True).run()
    assert len(sealed_rows(plan, folder)) == 12


def test_a_worker_leaves_when_others_have_the_rest(tmp_path: Path) -> None:
    _, folder = job(tmp_path, recipe(generation={"shard_rows": 4}), 12)
    ledger = ShardLedger(folder)
    with ledger.claim(0), replaying() as server:
        assert Worker(folder, CompletionClient([server.url], "replay"), "", leave=True).run()
        assert len(server.calls) == 8
    assert ledger.unsealed(3) == [0]


def test_a_shard_that_another_sealed_just_before_the_claim_is_not_worked_again(
    tmp_path: Path, replay: ReplayServer
) -> None:
    class Overtaken(ShardLedger):
        """Lets another worker finish the job between the look at a shard and its claim."""

        def claim(self, index: int) -> Any:
            other = threading.Thread(target=work, args=(self.folder, replay))
            other.start()
            other.join()
            return super().claim(index)

    _, folder = job(tmp_path, recipe(generation={"shard_rows": 2}), 6)
    worker = Worker(folder, CompletionClient([replay.url], "replay"), "")
    worker.ledger = Overtaken(folder)
    worker.run()
    assert len(replay.calls) == 6


def test_a_worker_that_cannot_write_says_so_and_what_to_do(
    tmp_path: Path, replay: ReplayServer, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = job(tmp_path, recipe(), 3)
    ShardLedger(folder).open_log(0).path.symlink_to("/dev/full")
    assert main([str(folder), "--endpoint", replay.url]) == 1
    error = capsys.readouterr().err
    assert "no space left to write" in error
    assert error.rstrip().splitlines()[-1].startswith("  remedy: free space there")


def test_a_worker_that_finishes_its_job_ends_well(tmp_path: Path, replay: ReplayServer) -> None:
    plan, folder = job(tmp_path, recipe(), 3)
    assert main([str(folder), "--endpoint", replay.url, "--engine", "vllm"]) == 0
    assert {row["engine"] for row in sealed_rows(plan, folder)} == {"vllm"}


def test_a_request_that_takes_too_long_is_sent_again(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(), 3)
    with replaying(fault=lambda body, seen: Slow(30) if seen == 0 else None) as server:
        assert main([str(folder), "--endpoint", server.url, "--timeout", "0.3"]) == 0
    assert {(row["status"], row["attempts"]) for row in sealed_rows(plan, folder)} == {("ok", 2)}
