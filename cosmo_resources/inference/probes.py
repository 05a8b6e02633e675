"""What a supervisor asks an OpenAI-compatible server to know its state: health, models, load, one tiny answer.

Belongs here: single requests with a time limit, over plain HTTP. Does not belong here: what follows from the answers
(`server_process`), requests for text (`client`).
"""

import http.client
import json
import re
from enum import Enum
from typing import Any
from urllib.error import HTTPError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

RUNNING = re.compile(
    r"^(?:vllm:num_requests_(?:running|waiting)|cosmo_requests_(?:running|waiting)"
    r"|sglang:num_(?:running|queue)_reqs|tgi_(?:batch_current|queue)_size|llamacpp:requests_(?:processing|deferred))"
    r"(?:\{[^}]*\})? +([0-9.eE+]+)",
    re.MULTILINE,
)
"""The gauges of requests that run or wait: vLLM, the embedded server, SGLang, TGI, llama.cpp."""

SECONDS = 2.0

_direct: OpenerDirector = build_opener(ProxyHandler({}))
"""A cluster's proxy for the outside must not be asked for a node."""


class Health(Enum):
    GOOD = "it can serve"
    BAD = "it says that it cannot, or says nothing in time"
    DEAD = "nobody listens, or the server says that its engine is dead"


def health(root: str, timeout: float = SECONDS) -> Health:
    """What /health says; a server without that route is good while it lists models."""
    status, _ = ask(f"{root}/health", timeout)
    if status == 404:
        status, _ = ask(f"{root}/v1/models", timeout)
    if status == 200:
        return Health.GOOD
    return Health.DEAD if status in {0, 503} else Health.BAD


def ready(root: str, model: str) -> bool:
    """Whether the server is healthy and lists the model."""
    return health(root) is Health.GOOD and model in models(root)


def models(root: str) -> set[str]:
    """The names that requests may give as their model; none while the server does not answer."""
    status, body = ask(f"{root}/v1/models", SECONDS)
    try:
        listed = json.loads(body)["data"] if status == 200 else []
        return {str(model["id"]) for model in listed}
    except (ValueError, KeyError, TypeError):
        return set()


def warm_up(root: str, model: str, timeout: float) -> str:
    """Ask for one token, as chat or, where the model has no chat template, as completion. What went wrong, or ''."""
    said = ""
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
    for route, prompt in (("chat/completions", chat), ("completions", {"prompt": "Hello"})):
        body = json.dumps({"model": model, "max_tokens": 1, **prompt}).encode("utf-8")
        status, reply = ask(f"{root}/v1/{route}", timeout, body)
        if status == 200:
            return ""
        said = said or (f"status {status}: {reply[:300].decode('utf-8', errors='replace')}" if status else "no answer")
        if status not in {400, 404, 405, 422}:
            break
    return said


def running(root: str, timeout: float = SECONDS) -> int | None:
    """How many requests run or wait, from /metrics; None where the server does not tell."""
    status, body = ask(f"{root}/metrics", timeout)
    found = RUNNING.findall(body.decode("utf-8", errors="replace")) if status == 200 else []
    return round(sum(float(value) for value in found)) if found else None


def ask(url: str, timeout: float, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body; status 0 where nobody listens, -1 where no whole answer came in time."""
    request = Request(url, body, {"content-type": "application/json"} if body else {})  # noqa: S310
    try:
        with _direct.open(request, timeout=timeout) as reply:
            return reply.status, reply.read()
    except HTTPError as error:
        with error:
            return error.code, b"" if error.fp is None else error.read()
    except OSError as error:
        refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
        return (0 if refused else -1), b""
    except http.client.HTTPException:
        return -1, b""
