"""A model server that behaves as its command line says: slow, crashing, never ready, leaving children behind.

A double for an engine's process. It speaks the routes that a supervisor uses over real HTTP, and takes 50 ms to start.

    python scripted_server.py --port N --model NAME [--ready-after S] [--say FILE --exit CODE] [--child KIND ...]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NESTING = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
DEAF = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]


class Script:
    """What is asked for on the command line, and what goes on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.ready = time.monotonic() + options.ready_after
        self.dead = False
        self.running = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    script: Script

    def do_GET(self) -> None:
        script = self.script
        if self.path == "/health":
            if script.options.no_health:
                self.answer(404, {})
            else:
                self.answer(503 if script.dead or time.monotonic() < script.ready else 200, {})
        elif self.path == "/v1/models" and time.monotonic() >= script.ready:
            self.answer(200, {"object": "list", "data": [{"id": script.options.model}]})
        elif self.path == "/metrics" and script.options.metric:
            lines = f'{script.options.metric}{{engine="0"}} {float(script.running)}\nvllm:num_requests_total 99.0\n'
            self.answer(200, lines)
        else:
            self.answer(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.startswith("/v1/chat") and self.script.options.no_template:
            return self.answer(400, {"error": {"message": "no chat template"}})
        if self.script.options.refuse:
            return self.answer(500, {"error": {"message": "broken engine"}})
        text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "engine dies":
            self.script.dead = True
        with self.script.lock:
            self.script.running += 1
        time.sleep(float(text.removeprefix("wait ")) if text.startswith("wait ") else 0)
        with self.script.lock:
            self.script.running -= 1
        return self.answer(200, {"choices": [{"text": "ok"}]})

    def answer(self, status: int, body: Any) -> None:
        raw = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--ready-after", type=float, default=0.0)
    parser.add_argument("--say", type=Path)
    parser.add_argument("--exit", type=int)
    parser.add_argument("--children", type=Path, help="start children, and write their ids into this file")
    parser.add_argument("--metric", default="vllm:num_requests_running")
    parser.add_argument("--crash-starts", type=Path, help="end with code 3 while this file exists")
    for flag in ("--no-health", "--no-template", "--refuse", "--deaf"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    if options.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.children:
        own_session = subprocess.Popen(DEAF, start_new_session=True)
        nesting = subprocess.Popen([sys.executable, "-c", NESTING], stdout=subprocess.PIPE, text=True)
        assert nesting.stdout is not None
        nested = int(nesting.stdout.readline())
        options.children.write_text(f"{own_session.pid} {nesting.pid} {nested}", encoding="utf-8")
    if options.say:
        print(options.say.read_text(encoding="utf-8"), flush=True)
    if options.exit is not None:
        raise SystemExit(options.exit)
    if options.crash_starts and options.crash_starts.exists():
        raise SystemExit(3)
    Handler.script = Script(options)
    print(f"serving on port {options.port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
