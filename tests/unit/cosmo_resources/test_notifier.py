"""Notices: what arrives at a real HTTP server, what is tried again, and that nothing can take longer than promised."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cosmo_resources import notifier
from cosmo_resources.errors import CosmoError
from cosmo_resources.notifier import ATTEMPTS, FileNotifier, Notice, WebhookNotifier

NOTICE = Notice("2 runs failed", ("run a: no space left", "run b: „café“"), {"runs": 2})
SECRET = "the-secret-part"


class Hook:
    """A webhook: what it was sent, and how it answers the n-th request."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, int], None]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                hook.headers.append(dict(self.headers))
                answer(self, len(hook.bodies))

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/{SECRET}"


def status(*codes: int) -> Callable[[BaseHTTPRequestHandler, int], None]:
    """Answers with these codes, the last one for ever."""

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(codes[min(number, len(codes)) - 1])
        handler.send_header("Content-Length", "0")
        handler.send_header("Location", "http://127.0.0.1:9/elsewhere")
        handler.end_headers()

    return answer


def a_byte_a_second(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(60):
        try:
            handler.wfile.write(b"X: 1\r\n")
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.3)


@contextmanager
def hook(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[Hook]:
    found = Hook(answer)
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(notifier, "ATTEMPT_SECONDS", 0.5)
    monkeypatch.setattr(notifier, "DEADLINE_SECONDS", 2.5)


def test_a_webhook_is_sent_the_notice_as_text_and_as_facts() -> None:
    with hook(status(200)) as found:
        WebhookNotifier(found.url, token="t0ken").send(NOTICE)
    assert found.bodies == [
        {
            "title": NOTICE.title,
            "lines": list(NOTICE.lines),
            "facts": {"runs": 2},
            "text": "2 runs failed\nrun a: no space left\nrun b: „café“",
        }
    ]
    assert found.headers[0]["Authorization"] == "Bearer t0ken"
    assert found.headers[0]["Content-Type"] == "application/json"


def test_slack_is_sent_a_text_and_nothing_else() -> None:
    with hook(status(204)) as found:
        WebhookNotifier(found.url, slack=True).send(NOTICE)
    assert found.bodies == [{"text": NOTICE.text}]
    assert "Authorization" not in found.headers[0]


@pytest.mark.parametrize(
    ("codes", "requests", "delivered"),
    [
        ((500, 200), 2, True),
        ((429, 503, 200), 3, True),
        ((500,), ATTEMPTS, False),
        ((404,), 1, False),
        ((302,), 1, False),
    ],
    ids=["once broken", "twice busy", "always broken", "unknown there", "moved"],
)
def test_what_may_help_is_tried_again(codes: tuple[int, ...], requests: int, delivered: bool) -> None:
    with hook(status(*codes)) as found:
        if delivered:
            WebhookNotifier(found.url).send(NOTICE)
        else:
            with pytest.raises(CosmoError, match=f"HTTP {codes[-1]}, after {requests} attempts") as raised:
                WebhookNotifier(found.url, token="t0ken").send(NOTICE)
            assert SECRET not in f"{raised.value.message} {raised.value.remedy}"
            assert "t0ken" not in f"{raised.value.message} {raised.value.remedy}"
    assert len(found.bodies) == requests


@pytest.mark.parametrize("answer", [a_byte_a_second, lambda handler, _: time.sleep(30)], ids=["a trickle", "silence"])
def test_a_server_that_never_ends_its_answer_costs_no_more_than_its_time(answer: Any) -> None:
    with hook(answer) as found:
        began = time.monotonic()
        with pytest.raises(CosmoError, match="did not take a notice"):
            WebhookNotifier(found.url).send(NOTICE)
        assert time.monotonic() - began < 2.6
    assert len(found.bodies) == ATTEMPTS


def test_a_thread_that_does_not_come_back_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier.asyncio, "run", lambda coroutine: (coroutine.close(), time.sleep(20)))
    monkeypatch.setattr(notifier, "DEADLINE_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(CosmoError, match="no answer in time"):
        WebhookNotifier("http://127.0.0.1:9/").send(NOTICE)
    assert time.monotonic() - began < 2


def test_nobody_at_the_address_is_an_error_without_the_address() -> None:
    with pytest.raises(CosmoError) as raised:
        WebhookNotifier(f"http://127.0.0.1:9/{SECRET}").send(NOTICE)
    assert SECRET not in raised.value.message


def test_a_file_gets_a_line_for_each_notice(tmp_path: Path) -> None:
    path = tmp_path / "state" / "notices.jsonl"
    for _ in range(2):
        FileNotifier(path).send(NOTICE)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["lines"] for line in lines] == [list(NOTICE.lines)] * 2
    assert lines[0]["at"].endswith("+00:00")
