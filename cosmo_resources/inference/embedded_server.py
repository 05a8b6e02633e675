"""The embedded engine as a program: an OpenAI-compatible HTTP server for one GGUF, on the CPU.

Belongs here: the routes and the life of the process.
Does not belong here: the fields of requests (`embedded_requests`), running the model (`embedded_engine`),
starting the program from elsewhere (`servers`).
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.embedded_engine import Choice, Engine
from cosmo_resources.inference.embedded_requests import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    Sampling,
    parse,
)
from cosmo_resources.inference.models import PACKAGED, find_model

PARENT_POLL_SECONDS = 0.5
DRAIN_SECONDS = 5

log = logging.getLogger(__name__)


class Api:
    """The routes. `max_model_len` bounds prompt and answer together, in tokens."""

    def __init__(self, engine: Engine, name: str, max_model_len: int) -> None:
        self._engine, self._name, self._max_model_len = engine, name, max_model_len
        self._started = int(time.time())

    def app(self) -> Starlette:
        routes = [
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completion, methods=["POST"]),
        ]
        handlers = dict.fromkeys((ApiError, HTTPException, 500), _error)
        return Starlette(routes=routes, exception_handlers=handlers)

    async def health(self, request: Request) -> Response:
        alive = self._engine.alive
        return JSONResponse({"status": "ok" if alive else "engine stopped"}, 200 if alive else 503)

    async def models(self, request: Request) -> Response:
        model = {"id": self._name, "object": "model", "created": self._started, "owned_by": "cosmo"}
        return JSONResponse({"object": "list", "data": [{**model, "max_model_len": self._max_model_len}]})

    async def metrics(self, request: Request) -> Response:
        """Prometheus text. Tokens are counted when their request is answered."""
        engine, counts = self._engine, self._engine.counts
        lines = [
            *("# TYPE cosmo_requests_running gauge", f"cosmo_requests_running {engine.running}"),
            *("# TYPE cosmo_requests_waiting gauge", f"cosmo_requests_waiting {engine.waiting}"),
        ]
        for name in ("prompt_tokens", "generation_tokens"):
            lines += [f"# TYPE cosmo_{name}_total counter", f"cosmo_{name}_total {counts[name]}"]
        lines.append("# TYPE cosmo_requests_finished_total counter")
        for outcome in ("answered", "refused", "cancelled", "failed"):
            lines.append(f'cosmo_requests_finished_total{{outcome="{outcome}"}} {counts[outcome]}')
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    async def chat(self, request: Request) -> Response:
        body = parse(await request.body(), ChatRequest)
        messages = [message.model_dump() for message in body.messages]
        prompt = self._engine.tokenizer.apply_chat_template(messages, add_generation_prompt=True)

        def shape(choice: Choice) -> dict[str, Any]:
            return {"message": {"role": "assistant", "content": choice.text}}

        return await self._answer(request, body, prompt, "messages", "chat.completion", shape)

    async def completion(self, request: Request) -> Response:
        body = parse(await request.body(), CompletionRequest)

        def shape(choice: Choice) -> dict[str, Any]:
            return {"text": choice.text}

        return await self._answer(request, body, body.prompt, "prompt", "text_completion", shape)

    async def _answer(
        self,
        request: Request,
        body: Sampling,
        prompt: str,
        field: str,
        kind: str,
        shape: Callable[[Choice], dict[str, Any]],
    ) -> Response:
        if body.model != self._name:
            message = f"model: {body.model} is not served, {self._name} is"
            raise ApiError(404, message, "model", "model_not_found")
        if body.n > self._engine.max_num_seqs:
            raise ApiError(400, f"n: at most {self._engine.max_num_seqs} answers run at once", "n")
        tokens = self._engine.encode(prompt)
        max_tokens = self._max_tokens(len(tokens), body.limit(), field)
        choices = await _unless_gone(request, self._engine, tokens, body, max_tokens)
        generated = sum(choice.tokens for choice in choices)
        return JSONResponse(
            {
                "id": f"cmpl-{uuid.uuid4().hex}",
                "object": kind,
                "created": int(time.time()),
                "model": self._name,
                "choices": [
                    {"index": index, **shape(choice), "logprobs": None, "finish_reason": choice.finish_reason}
                    for index, choice in enumerate(choices)
                ],
                "usage": {
                    "prompt_tokens": len(tokens),
                    "completion_tokens": generated,
                    "total_tokens": len(tokens) + generated,
                },
            }
        )

    def _max_tokens(self, prompt_tokens: int, asked: int | None, field: str) -> int:
        """How many tokens may be generated: what is asked, or else all that the context has left."""
        if prompt_tokens == 0:
            raise ApiError(400, f"{field}: is empty", field)
        wanted = 1 if asked is None else asked
        if prompt_tokens + wanted > self._max_model_len:
            message = f"the context holds {self._max_model_len} tokens: the prompt has {prompt_tokens}"
            message += f", max_tokens asks for {wanted}, together {prompt_tokens + wanted}" if asked else ""
            param = field if asked is None or prompt_tokens >= self._max_model_len else "max_tokens"
            raise ApiError(400, f"{param}: {message}", param, "context_length_exceeded")
        return self._max_model_len - prompt_tokens if asked is None else asked


async def _unless_gone(
    request: Request, engine: Engine, tokens: list[int], body: Sampling, max_tokens: int
) -> list[Choice]:
    """The engine's answer. It is told to drop the request when the client hangs up first."""
    answer = asyncio.wrap_future(engine.submit(tokens, body, max_tokens))
    gone = asyncio.ensure_future(_hang_up(request))
    either: set[asyncio.Future[Any]] = {answer, gone}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ApiError(499, "the client hung up")
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _error(request: Request, error: Exception) -> Response:
    """Every failure in OpenAI's shape. What is no ApiError of ours gets one."""
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    elif not isinstance(error, ApiError):
        error = ApiError(500, f"{type(error).__name__}: {error}")
    return JSONResponse(error.body, error.status)


def watch_parent(pid: int, ready_file: Path | None) -> None:
    """End this process as soon as `pid` is no more, checked every half second from a thread of its own.
    Nobody is left to take an answer, so nothing is waited for."""
    is_parent = os.getppid() == pid

    def watch() -> None:
        while os.getppid() == pid if is_parent else _alive(pid):
            time.sleep(PARENT_POLL_SECONDS)
        log.warning("the parent process %d is gone: exiting", pid)
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a process that was killed but not yet waited for still has its id
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return True
    return state.split()[0] not in {"Z", "X"}


class Server(uvicorn.Server):
    """uvicorn's server, which says when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal or the engine's failure; returns the exit code."""
    started = time.monotonic()
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        server.should_exit = True

    listener = socket.create_server((options.host, options.port))
    url = f"http://{options.host}:{listener.getsockname()[1]}/v1"
    name = options.served_name or Path(options.model).stem
    engine = Engine(find_model(options.model), options.max_num_seqs, options.cache_gb, fail)

    def ready() -> None:
        log.info("serving %s at %s after %.1f s", name, url, time.monotonic() - started)
        if options.ready_file is not None:
            text = json.dumps({"url": url, "pid": os.getpid(), "model": name})
            partial = options.ready_file.with_name(f"{options.ready_file.name}.{os.getpid()}.partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(options.ready_file)

    api = Api(engine, name, options.max_model_len)
    config = uvicorn.Config(
        api.app(),
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = Server(config, ready)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # uvicorn raises them again at its end: they must not kill then
        signal.signal(number, server.handle_exit)
    server.run(sockets=[listener])
    engine.stop()
    log.info("stopped")
    return 1 if failed.is_set() else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; see --help."""
    parser = argparse.ArgumentParser(description="Serve a GGUF over OpenAI's API, on the CPU.")
    parser.add_argument("--model", required=True, help=f"path of a .gguf, or one of: {', '.join(PACKAGED)}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--max-num-seqs", type=int, default=64, help="sequences that run at once")
    parser.add_argument("--max-model-len", type=int, default=2048, help="tokens of prompt and answer")
    parser.add_argument("--cache-gb", type=int, default=2, help="bound of the key-value cache in GiB")
    parser.add_argument("--served-name", help="what requests give as their model (default: from --model)")
    parser.add_argument("--parent", type=int, help="exit when the process with this id is gone")
    parser.add_argument("--ready-file", type=Path, help="JSON with url, pid and model, once it listens")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.parent is not None:
        watch_parent(options.parent, options.ready_file)
    try:
        return serve(options)
    except (CosmoError, OSError) as error:
        log.error("%s", error)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
