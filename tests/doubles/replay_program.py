"""The replay server as a program: what a job starts in place of a model server.

It writes a line for every completion that it is asked for, and misbehaves as a file says, so that a test can count and
disturb servers that it did not start itself.

Usage: python -m tests.doubles.replay_program --port PORT --model NAME --state FOLDER [--host HOST] [--delay SECONDS]
       [--refuse SHARE]
"""

import argparse
import asyncio
import hashlib
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.doubles.replay_server import ReplayServer

FAULTS = "faults.json"


def request_key(body: dict[str, Any]) -> str:
    """What a call is counted by: its prompt, turns and sampling."""
    return hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=8).hexdigest()


def calls(state: Path) -> list[str]:
    """The keys of all completions that servers of a state folder were asked for."""
    return [key for key, _ in outcomes(state)]


def outcomes(state: Path) -> list[tuple[str, str]]:
    """The same, each with the fault that it met; "" where it was answered as it should be."""
    lines = [
        line for path in sorted(state.glob("calls-*.log")) for line in path.read_text(encoding="utf-8").split("\n")
    ]
    return [(key, fault) for key, _, fault in (line.partition(" ") for line in lines if line)]


def refusal(body: dict[str, Any], share: float) -> web.Response | None:
    """The refusal of a request that is one of the `share` of all which no server takes, or None: what is wrong with it
    is its own, so that it is refused by each server at each time."""
    if int(request_key(body)[4:8], 16) >= share * 65536:
        return None
    return web.json_response({"error": {"message": "this prompt is longer than the context"}}, status=400)


def set_faults(state: Path, **faults: Any) -> None:
    """What servers do from now on: `mode` (hang, garbage, truncate, reset, crash, or an HTTP status) to a `share` of
    the calls, by their key, the first `times` that a server sees them."""
    draft = state / f"{FAULTS}.draft"
    draft.write_text(json.dumps(faults), encoding="utf-8")
    draft.replace(state / FAULTS)


class Misbehaviour:
    """Reads the file at every call: it may change at any time."""

    def __init__(self, state: Path, refuse: float) -> None:
        self._path = state / FAULTS
        self._refuse = refuse
        self._log = (state / f"calls-{os.uname().nodename}-{os.getpid()}.log").open("a", encoding="utf-8")

    def __call__(self, body: dict[str, Any], seen: int) -> web.Response | None:
        if "seed" not in body:  # the warm-up of who started this server
            return None
        key = request_key(body)
        fault = self._fault()
        met = fault and int(key[:4], 16) < fault.get("share", 1.0) * 65536 and seen < fault.get("times", 1)
        self._log.write(f"{key} {fault['mode']}\n" if met else f"{key}\n")
        self._log.flush()
        return self._act(fault["mode"]) if met else refusal(body, self._refuse)

    def _fault(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def _act(self, mode: str | int) -> web.Response:
        if mode == "hang":
            return Hang()
        if mode == "garbage":
            return web.Response(body=b"\x00\xff not json", content_type="application/json")
        if mode == "truncate":
            return web.Response(
                text='{"choices": [{"index": 0, "message": {"content": "cut o', content_type="text/json"
            )
        if mode == "reset":
            return Reset()
        if mode == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        return web.json_response({"error": {"message": "as the test wants it"}}, status=int(mode))


class Hang(web.Response):
    """A response that does not come."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        await asyncio.sleep(3600)
        return await super().prepare(request)


class Reset(web.Response):
    """No response: the connection is cut."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        if request.transport is not None:
            request.transport.abort()
        return await super().prepare(request)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", default="replay")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--refuse", type=float, default=0.0)
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    server = ReplayServer(
        host=options.host,
        port=options.port,
        model=options.model,
        delay=options.delay,
        fault=Misbehaviour(options.state, options.refuse),
    )
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    server.start()
    ended.wait()
    server.stop()


if __name__ == "__main__":
    main()
