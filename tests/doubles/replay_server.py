"""The replay server: an OpenAI-compatible server whose answers are a function of the request alone.

A double for a GPU's model server at the outermost edge: real HTTP, the real protocol, no model. It counts what it is
asked, and can be told to misbehave.
"""

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

VOCABULARY = (
    "the water of a river carries small stones and sand from mountain to sea while people build houses "
    "near its banks because they need fish trade and fields that give bread every year when rain has come "
    "in spring although some winters are cold and long children learn at school how numbers words and "
    "maps describe what their parents know about soil trees animals iron light sound heat music law money "
    "ships stars history health and the work of hands many teachers explain a question slowly with "
    "examples then ask for answers before they show another way to think an experiment measures time "
    "weight length or colour so that anyone can repeat it later and compare results "
)
WORDS = tuple(VOCABULARY.split())

Fault = Callable[[dict[str, Any], int], web.Response | None]
"""Given a request's body and how often this very body was seen before, the answer to give instead, or None."""


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def prose(key: str, words: int) -> str:
    """English-looking sentences drawn from a key: the same for the same key, and unlike those of any other key."""
    draws: list[int] = []
    block = 0
    while len(draws) < words:
        draws += hashlib.blake2b(f"{key}/{block}".encode()).digest()
        block += 1
    chosen = [WORDS[draw % len(WORDS)] for draw in draws[:words]]
    sentences = [chosen[start : start + 11] for start in range(0, words, 11)]
    return " ".join(" ".join(sentence).capitalize() + "." for sentence in sentences)


class ReplayServer:
    """`calls` holds the body of every completion asked for, in order of arrival. Where a body asks for JSON of a
    schema, its fields are filled in by their names (see `_fields`)."""

    def __init__(
        self,
        *,
        delay: float = 0.0,
        fault: Fault | None = None,
        topic: Callable[[str], str] | None = None,
        score: Callable[[str], int] | None = None,
        units: Callable[[str], list[str]] | None = None,
        subtopics: Callable[[str, int], list[str]] | None = None,
        value: Callable[[str], Any] | None = None,
        routes: dict[str, Handler] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        model: str = "replay",
    ):
        self.calls: list[dict[str, Any]] = []
        self.delay = delay
        self.fault = fault
        self.topic = topic or (lambda prompt: "Rivers and Fields")
        self.score = score or (lambda prompt: 7)
        self.units = units or (lambda prompt: [prose(f"{prompt}/{number}", 4)[:-1] for number in range(6)])
        self.subtopics = subtopics or (lambda prompt, count: [prose(f"{prompt}/{n}", 4)[:-1] for n in range(count)])
        self.value = value or (lambda prompt: hashlib.blake2b(prompt.encode()).digest()[0] % 6)
        self.routes = {"/health": self._health, "/metrics": self._metrics, **(routes or {})}
        self.host, self.port, self.model = host, port, model
        self.running = 0
        self.most_running = 0
        self.url = ""
        self._seen: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def generation_calls(self) -> list[dict[str, Any]]:
        """The calls that ask for a text, not for JSON."""
        return [call for call in self.calls if "response_format" not in call]

    @property
    def label_calls(self) -> list[dict[str, Any]]:
        return self.json_calls("topic_label")

    def json_calls(self, schema: str) -> list[dict[str, Any]]:
        """The calls that ask for JSON of the schema with this name."""
        return [call for call in self.calls if _schema_name(call) == schema]

    def start(self) -> "ReplayServer":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        for path, handler in self.routes.items():
            app.router.add_get(path, handler)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, self.host, self.port)
        self._loop.run_until_complete(site.start())
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://{self.host}:{port}/v1"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, request: web.Request) -> web.Response:
        """As vLLM says it."""
        figures = {"num_requests_running": self.running, "num_requests_waiting": 0}
        lines = [f"# TYPE vllm:{name} gauge\nvllm:{name} {value}\n" for name, value in figures.items()]
        return web.Response(text="".join(lines))

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = json.dumps(body, sort_keys=True)
        self.calls.append(body)
        seen = self._seen[key]
        self._seen[key] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            began = self._loop.time()
            while (left := began + self.delay - self._loop.time()) > 0:  # a shorter delay holds for who waits already
                await asyncio.sleep(min(left, 0.05))
            if self.fault is not None and (reply := self.fault(body, seen)) is not None:
                return reply
            return web.json_response(self._completion(body, key))
        finally:
            self.running -= 1

    def _completion(self, body: dict[str, Any], key: str) -> dict[str, Any]:
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        finish = "stop"
        if "response_format" in body:
            text = json.dumps(self._fields(prompt, body["response_format"]["json_schema"]["schema"]))
        else:
            words = 60 + int(hashlib.blake2b(key.encode()).hexdigest()[:4], 16) % 60
            text = prose(key, words)
        return {
            "id": "replay",
            "object": "chat.completion" if "messages" in body else "text_completion",
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    **({"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}),
                    "finish_reason": finish,
                }
            ],
            "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())},
        }

    def _fields(self, prompt: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Values for the fields of a schema that this server knows by name."""
        known: dict[str, Callable[[], Any]] = {
            "topic": lambda: self.topic(prompt),
            "reason": lambda: "It is taught at school.",
            "educational_score": lambda: self.score(prompt),
            "teaching_value": lambda: self.value(prompt),
            "kind": lambda: "textbook",
            "units": lambda: self.units(prompt),
            "subtopics": lambda: self.subtopics(prompt, schema["properties"]["subtopics"]["minItems"]),
        }
        return {name: known[name]() for name in schema["properties"]}


def _schema_name(body: dict[str, Any]) -> str | None:
    return str(body["response_format"]["json_schema"]["name"]) if "response_format" in body else None


@contextmanager
def replaying(**options: Any) -> Iterator[ReplayServer]:
    server = ReplayServer(**options).start()
    try:
        yield server
    finally:
        server.stop()
