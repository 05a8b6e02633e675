"""The embedded server as its clients meet it: a child process with the real engine, asked over HTTP."""

import concurrent.futures
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cosmo_resources.inference import embedded_server

MODEL = "smollm2-135m-instruct"
ROOT = Path(embedded_server.__file__).parents[2]
COMMAND = ["-m", "cosmo_resources.inference.embedded_server"]
PERSON = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["calm", "wild"]},
        "age": {"type": "integer", "minimum": 20, "maximum": 29},
    },
    "required": ["mood", "age"],
    "additionalProperties": False,
}


WORDS = ["sun", "moon", "river", "engine", "market", "cell", "protein", "history", "city", "graph", "acid"]


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    pid: int
    port: int
    log: Path

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
            connection.request(method, path, raw)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        is_json = reply.headers.get_content_type() == "application/json"
        return reply.status, json.loads(content) if is_json else content.decode()

    def chat(self, text: str = "Tell me about the sea.", **fields: Any) -> tuple[int, Any]:
        messages = [{"role": "user", "content": text}]
        return self.ask("POST", "/v1/chat/completions", {"model": "tiny", "messages": messages, **fields})

    def text(self, text: str = "Tell me about the sea.", **fields: Any) -> str:
        status, reply = self.chat(text, **fields)
        assert status == 200, reply
        content: str = reply["choices"][0]["message"]["content"]
        return content

    def metric(self, name: str) -> float:
        lines: str = self.ask("GET", "/metrics")[1]
        (line,) = (line for line in lines.splitlines() if line.startswith(name + " "))
        return float(line.rpartition(" ")[2])


def launch(folder: Path, command: list[str], parent: bool = True) -> Running:
    """Start a server and wait until it is ready. `command` runs it directly or through a process in
    between."""
    ready, log = folder / "ready.json", folder / "log.txt"
    arguments = ["--model", MODEL, "--served-name", "tiny", "--max-num-seqs", "8", "--max-model-len", "512"]
    arguments += ["--ready-file", str(ready), *(["--parent", str(os.getpid())] if parent else [])]
    with log.open("wb") as stream:
        whole = [sys.executable, *command, *arguments]
        process = subprocess.Popen(whole, cwd=ROOT, stdout=stream, stderr=stream)
    until(lambda: ready.is_file() or process.poll() is not None, 120)
    assert process.poll() is None, log.read_text(encoding="utf-8")
    said = json.loads(ready.read_text(encoding="utf-8"))
    assert said["model"] == "tiny" and said["url"].endswith("/v1")
    port = urlsplit(said["url"]).port
    assert port is not None
    return Running(process, said["pid"], port, log)


def until(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Running]]:
    """The server that the tests share is the last one; a test may kill it."""
    launched: list[Running] = []
    yield launched
    for running in launched:
        running.process.kill()
        running.process.wait()


@pytest.fixture
def server(servers: list[Running], tmp_path: Path) -> Running:
    """A server that runs. Its parent is a process in between, so that a test can kill that parent."""
    if not servers or servers[-1].process.poll() is not None:
        between = "import os, subprocess, sys; a = sys.argv; p = str(os.getpid()); "
        between += "sys.exit(subprocess.call([sys.executable, *a[1:], '--parent', p]))"
        servers.append(launch(tmp_path, ["-c", between, *COMMAND], parent=False))
    return servers[-1]


def test_chat_is_answered_in_openais_shape(server: Running) -> None:
    before = server.metric("cosmo_prompt_tokens_total"), server.metric("cosmo_generation_tokens_total")
    status, reply = server.chat("What is gravity?", max_tokens=12, temperature=0)
    assert status == 200
    assert (reply["object"], reply["model"]) == ("chat.completion", "tiny")
    (choice,) = reply["choices"]
    assert choice["message"]["role"] == "assistant" and "ravity" in choice["message"]["content"]
    assert choice["finish_reason"] == "length"
    assert reply["usage"] == {"prompt_tokens": 34, "completion_tokens": 12, "total_tokens": 46}
    after = server.metric("cosmo_prompt_tokens_total"), server.metric("cosmo_generation_tokens_total")
    assert (after[0] - before[0], after[1] - before[1]) == (34, 12)


def test_completion_continues_the_prompt_without_a_template(server: Running) -> None:
    body = {
        "model": "tiny",
        "prompt": "The capital of France is",
        "max_completion_tokens": 3,
        "temperature": 0,
    }
    status, reply = server.ask("POST", "/v1/completions", body)
    assert status == 200 and reply["object"] == "text_completion"
    assert "Paris" in reply["choices"][0]["text"]
    assert reply["usage"]["prompt_tokens"] == 5


def test_the_other_routes(server: Running) -> None:
    assert server.ask("GET", "/health") == (200, {"status": "ok"})
    assert server.ask("GET", "/v1/models")[1]["data"][0]["id"] == "tiny"
    assert server.metric("cosmo_requests_running") == server.metric("cosmo_requests_waiting") == 0
    status, reply = server.ask("GET", "/v1/nothing")
    assert status == 404 and "/v1/nothing" in reply["error"]["message"]


def test_an_answer_ends_by_itself_with_stop(server: Running) -> None:
    # a question whose answer the model is sure of: one that hangs on a close choice ends on some processors only
    status, reply = server.chat("What is the capital of France?", temperature=0)
    assert (status, reply["choices"][0]["finish_reason"]) == (200, "stop")
    assert 5 < reply["usage"]["completion_tokens"] < 100


def test_stop_strings_cut_the_text_where_they_begin(server: Running) -> None:
    question: dict[str, Any] = {
        "text": "List three colors, one per line.",
        "temperature": 0,
        "max_tokens": 40,
    }
    whole = server.text(**question)
    for stop in (whole[:4], whole[9:11], whole[11:18], ":\n", "zzz"):
        _, reply = server.chat(**question, stop=["qqq", stop])
        assert reply["choices"][0]["message"]["content"] == whole.split(stop)[0], stop
    assert server.text(**question, stop=":") == whole.split(":")[0] != whole


def test_a_json_schema_is_obeyed_on_one_line(server: Running) -> None:
    """Free to choose its whitespace, this model ends hardly any of these answers within the limit."""
    schema = {
        "type": "object",
        "required": ["people", "note"],
        "properties": {
            "people": {"type": "array", "items": PERSON, "minItems": 2, "maxItems": 2},
            "note": {"type": "string", "minLength": 1, "maxLength": 12},
        },
    }
    form = {"type": "json_schema", "json_schema": {"name": "people", "schema": schema}}
    for seed in range(2):
        text = server.text("Write a poem.", response_format=form, seed=seed, max_tokens=80)
        answer = json.loads(text)
        assert [*answer] == ["people", "note"] and 1 <= len(answer["note"]) <= 12
        assert len(answer["people"]) == 2
        for person in answer["people"]:
            assert person["mood"] in {"calm", "wild"} and 20 <= person["age"] <= 29
        assert json.dumps(answer, ensure_ascii=False) == text


def test_optional_properties_are_written_too(server: Running) -> None:
    schema = {"type": "object", "properties": {"age": {"enum": [7, 8]}, "pet": {"type": "boolean"}}}
    form = {"type": "json_schema", "json_schema": {"schema": {**schema, "required": ["age"]}}}
    answer = json.loads(server.text("Who are you?", response_format=form, temperature=0, max_tokens=30))
    assert answer["age"] in {7, 8} and answer["pet"] in {True, False}


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"guided_choice": ["rot", "grün\n"]}, {"rot", "grün\n"}),
        ({"guided_regex": "[AB]7"}, {"A7", "B7"}),
        ({"guided_grammar": 'root ::= "x" "y"'}, {"xy"}),
        ({"guided_json": {"enum": ["p", "q"]}}, {'"p"', '"q"'}),
        ({"guided_json": {"anyOf": [{"const": 1}, {"const": None}]}}, {"1", "null"}),
        ({"guided_json": {"$ref": "#/$defs/x", "$defs": {"x": {"enum": [5, 6]}}}}, {"5", "6"}),
        ({"structured_outputs": {"choice": ["eins", "zwei"]}}, {"eins", "zwei"}),
    ],
)
def test_other_constraints_are_obeyed(server: Running, fields: dict[str, Any], allowed: set[str]) -> None:
    assert server.text("Write a poem.", max_tokens=20, **fields) in allowed


def test_json_object_gives_an_object(server: Running) -> None:
    form = {"type": "json_object"}
    text = server.text("Describe a cat.", response_format=form, max_tokens=4, temperature=0)
    assert text.lstrip().startswith("{")


def test_a_lone_request_with_a_seed_is_reproducible(server: Running) -> None:
    """The second time too, when a cache of prompts would have changed the shapes and so the low bits."""
    question = "Write a long course text about " + " ".join(random.Random(1).choices(WORDS, k=60))

    def draw(seed: int | None, max_tokens: int = 6) -> str:
        return server.text(question, max_tokens=max_tokens, temperature=1.0, top_p=0.95, seed=seed)

    assert draw(7, 40) == draw(7, 40) == draw(7, 40)
    assert len({draw(seed) for seed in (7, 8, 9)}) == 3
    assert draw(None) != draw(None)


def test_sampling_parameters_reach_the_engine(server: Running) -> None:
    greedy = server.text(max_tokens=6, temperature=0)
    assert server.text(max_tokens=6, temperature=5.0, top_k=1, seed=1) == greedy
    assert server.text(max_tokens=6, temperature=5.0, top_p=1e-6, seed=1) == greedy
    assert server.text(max_tokens=6, temperature=5.0, seed=1) != greedy
    assert server.text(max_tokens=30, temperature=0, repetition_penalty=5.0) != server.text(
        max_tokens=30, temperature=0
    )


def test_n_answers_differ_and_are_counted(server: Running) -> None:
    _, reply = server.chat(n=3, max_tokens=8, temperature=1.2, seed=3)
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in reply["choices"]}) == 3
    assert reply["usage"]["completion_tokens"] == 24


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"model": None}, "model"),
        ({"max_tokens": "20"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"n": 9}, "n"),
        ({"n": 2, "temperature": 0}, "n"),
        ({"stop": [""]}, "stop.0"),
        ({"stream": True}, "stream"),
        ({"tools": []}, "tools"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.schema",
        ),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "structured_outputs"),
    ],
)
def test_a_field_at_fault_is_named(server: Running, fields: dict[str, Any], param: str) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **fields}
    status, reply = server.ask("POST", "/v1/chat/completions", body)
    assert (status, reply["error"]["param"]) == (400, param), reply
    assert param in reply["error"]["message"]
    assert reply["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw", [b"{", b"", b"[1]", b"\xff\xfe", b"[" * 100_000], ids=["cut", "empty", "list", "bytes", "deep"]
)
def test_a_body_that_is_no_json_object_is_refused(server: Running, raw: bytes) -> None:
    status, reply = server.ask("POST", "/v1/chat/completions", raw)
    assert status == 400 and "JSON" in reply["error"]["message"]


def test_another_model_is_not_found(server: Running) -> None:
    status, reply = server.chat(model="gpt")
    assert (status, reply["error"]["code"], reply["error"]["param"]) == (404, "model_not_found", "model")


def test_more_than_the_context_is_refused_with_the_figures(server: Running) -> None:
    status, reply = server.chat("hi", max_tokens=500)
    assert (status, reply["error"]["code"]) == (400, "context_length_exceeded")
    assert all(figure in reply["error"]["message"] for figure in ("512", "31", "500", "531", "max_tokens"))
    status, reply = server.chat("hi " * 600)
    assert (status, reply["error"]["param"]) == (400, "messages")
    assert server.chat("hi", max_tokens=481, stop="e")[0] == 200


def test_a_bad_schema_is_refused_and_harms_nobody_else(server: Running) -> None:
    """The engine fails as a whole on a schema that it cannot compile, and must recover from it."""
    bad = {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}
    good = {"type": "json_schema", "json_schema": {"schema": PERSON}}
    alone = server.text(max_tokens=24, seed=1, ignore_eos=True)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        others = [pool.submit(server.text, max_tokens=24, seed=1, ignore_eos=True) for _ in range(3)]
        until(lambda: server.metric("cosmo_requests_running") == 3, 20)
        refused = pool.submit(server.chat, response_format=bad, max_tokens=5)
        sound = pool.submit(server.text, response_format=good, max_tokens=80, seed=2)
        status, reply = refused.result()
        assert (status, reply["error"]["param"]) == (400, "response_format")
        assert "nonsense" in reply["error"]["message"] and "/" not in reply["error"]["message"]
        assert json.loads(sound.result())["mood"] in {"calm", "wild"}
        assert all(len(other.result()) > 20 for other in others)
    assert server.chat(response_format=bad, max_tokens=5)[0] == 400
    assert server.text(max_tokens=24, seed=1, ignore_eos=True) == alone


@pytest.mark.parametrize("staying", [1, 0])
def test_clients_that_hang_up_free_their_places_and_disturb_nobody(server: Running, staying: int) -> None:
    """On a machine that is held up for a second, an answer may be complete before its client hangs up: then it counts
    as answered, and the clients come again. Where nobody stays the engine has nothing left to do."""
    raw = json.dumps({"model": "tiny", "prompt": "x", "max_tokens": 500, "ignore_eos": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()

    def outcomes() -> dict[str, float]:
        names = ("answered", "cancelled", "refused", "failed")
        return {name: server.metric(f'cosmo_requests_finished_total{{outcome="{name}"}}') for name in names}

    def hang_up() -> dict[str, float]:
        before = outcomes()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            others = [pool.submit(server.text, max_tokens=50, ignore_eos=True) for _ in range(staying)]
            gone = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(9)]
            for connection in gone:
                connection.sendall(head + raw)

            def all_arrived() -> bool:
                running, waiting = (server.metric(f"cosmo_requests_{state}") for state in ("running", "waiting"))
                return running + waiting + sum(outcomes().values()) - sum(before.values()) >= 9 + staying

            until(all_arrived, 20)
            for connection in gone:
                connection.close()
            started = time.monotonic()
            until(lambda: server.metric("cosmo_requests_running") <= staying, 5)
            assert all(len(other.result()) > 20 for other in others)
        until(lambda: server.metric("cosmo_requests_running") == 0, 5)
        until(lambda: sum(outcomes().values()) - sum(before.values()) == 9 + staying, 5)
        assert time.monotonic() - started < 10
        return {name: count - before[name] for name, count in outcomes().items()}

    attempts: list[dict[str, float]] = []
    while not attempts or (attempts[-1]["answered"] > staying and len(attempts) < 5):
        attempts.append(hang_up())
    assert attempts[-1] == {"answered": staying, "cancelled": 9, "refused": 0, "failed": 0}, attempts


def test_the_server_ends_when_its_parent_is_killed(server: Running) -> None:
    """The parent gets no chance to clean up."""
    assert server.pid != server.process.pid
    assert server.ask("GET", "/health")[0] == 200
    server.process.kill()
    server.process.wait()
    until(lambda: refuses(server.port), 3)
    assert "is gone" in server.log.read_text(encoding="utf-8")


def refuses(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


def test_sigterm_lets_a_running_request_finish_and_exits_with_zero(tmp_path: Path) -> None:
    running = launch(tmp_path, COMMAND)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.text, max_tokens=20, ignore_eos=True)
        until(lambda: running.metric("cosmo_requests_running") == 1, 20)
        running.process.send_signal(signal.SIGTERM)
        assert len(answer.result()) > 20
    assert running.process.wait(timeout=10) == 0
    assert "Traceback" not in running.log.read_text(encoding="utf-8")


def test_when_the_engine_fails_its_requests_are_told_and_the_process_exits(tmp_path: Path) -> None:
    """The real engine, with a sixth step that raises."""
    code = """
import itertools, sys
import openvino_genai as og
from cosmo_resources.inference import embedded_server
class Failing(og.ContinuousBatchingPipeline):
    steps = itertools.count(1)
    def step(self):
        if next(self.steps) == 6:
            raise RuntimeError("out of luck")
        super().step()
og.ContinuousBatchingPipeline = Failing
sys.exit(embedded_server.main())
"""
    running = launch(tmp_path, ["-c", code])
    status, reply = running.chat(max_tokens=50, ignore_eos=True)
    assert (status, reply["error"]["code"]) == (500, "engine_failure")
    assert "out of luck" in reply["error"]["message"]
    assert running.process.wait(timeout=10) == 1
    log = running.log.read_text(encoding="utf-8")
    assert "the engine failed with 1 requests running" in log and "out of luck" in log


def test_what_cannot_be_served_ends_with_a_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *COMMAND, "--model", str(tmp_path / "none.gguf")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "none.gguf" in done.stderr and "remedy" in done.stderr and "Traceback" not in done.stderr
