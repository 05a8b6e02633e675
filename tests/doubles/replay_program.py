"""The replay server as a program: what a job starts in place of a model server.

It writes a line for every completion that it is asked for, and misbehaves as a file says, so that a test can count and
disturb servers that it did not start itself.

Usage: python -m tests.doubles.replay_program --port PORT --model NAME --state FOLDER [--host HOST] [--delay SECONDS]
"""

import argparse
import asyncio
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
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
    return [key for path in sorted(state.glob("calls-*.log")) for key in path.read_text(encoding="utf-8").split()]


def set_faults(state: Path, **faults: Any) -> None:
    """What servers do from now on: `mode` (hang, garbage, truncate, reset, crash, or an HTTP status) to a `share` of
    the calls, by their key, the first `times` that a server sees them."""
    draft = state / f"{FAULTS}.draft"
    draft.write_text(json.dumps(faults), encoding="utf-8")
    draft.replace(state / FAULTS)


class Misbehaviour:
    """Reads the file at every call: it may change at any time."""

    def __init__(self, state: Path) -> None:
        self._path = state / FAULTS
        self._log = (state / f"calls-{os.uname().nodename}-{os.getpid()}.log").open("a", encoding="utf-8")

    def __call__(self, body: dict[str, Any], seen: int) -> web.Response | None:
        if "seed" not in body:  # the warm-up of who started this server
            return None
        key = request_key(body)
        self._log.write(f"{key}\n")
        self._log.flush()
        for fault in self._faults():
            if int(key[:4], 16) < fault.get("share", 1.0) * 65536 and seen < fault.get("times", 1):
                return self._act(fault["mode"])
        return None

    def _faults(self) -> Iterator[dict[str, Any]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if found:
            yield found

    def _act(self, mode: str | int) -> web.Response:
        if mode == "hang":
            return Hang()
        if mode == "garbage":
            return web.Response(body=b"\x00\xff not json", content_type="application/json")
        if mode == "truncate":
            return web.Response(
                text='{"choices": [{"index": 0, "message": {"content": "cut o', content_type="text/json"
            )
        if mode == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        return web.json_response({"error": {"message": "as the test wants it"}}, status=int(mode))


class Hang(web.Response):
    """A response that does not come."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        await asyncio.sleep(3600)
        return await super().prepare(request)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", default="replay")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    server = ReplayServer(
        host=options.host,
        port=options.port,
        model=options.model,
        delay=options.delay,
        fault=Misbehaviour(options.state),
    )
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    server.start()
    ended.wait()
    server.stop()


if __name__ == "__main__":
    main()
