"""The life of a real vLLM on the CPU, which serves the packaged model, converted from its GGUF."""

import json
import os
import random
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from cosmo_assets.generation.accounting import account
from cosmo_assets.recipe.generation import Budget
from cosmo_resources.inference import probes
from cosmo_resources.inference.client import ClientOptions, ClientStats, CompletionClient, Request
from cosmo_resources.inference.metrics import scrape
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.inference.server_process import ModelServer
from cosmo_resources.inference.servers import make_server
from cosmo_resources.pools.meters import Meter
from cosmo_resources.pools.serving import usage, usage_records
from tests.corpora import wait_until
from tests.engines import vllm_on_the_cpu
from tests.numpy_llama import Llama
from tests.processes import below, exists

pytestmark = pytest.mark.slow

WORDS = ["sun", "moon", "river", "engine", "market", "cell", "protein", "history", "city", "graph", "acid"]
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["calm", "wild"]}, "age": {"enum": [20, 21, 22]}},
    "required": ["mood", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    # In float32 its greedy tokens can be compared with those of another program.
    server = make_server(vllm_on_the_cpu(dtype="float32"), tmp_path_factory.mktemp("vllm"))
    server.start()
    yield server
    server.stop()


def ask(server: ModelServer, route: str, **fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": EMBEDDED, **fields}).encode()
    request = urllib.request.Request(f"{server.url}/{route}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        answer: dict[str, Any] = json.loads(reply.read())
    return answer


def chat(server: ModelServer, text: str, **fields: Any) -> dict[str, Any]:
    return ask(server, "chat/completions", messages=[{"role": "user", "content": text}], **fields)


def engine_process(server: ModelServer) -> int:
    """vLLM's child that computes."""
    assert server.pid is not None
    names = {pid: Path(f"/proc/{pid}/comm").read_text(encoding="utf-8") for pid in below(server.pid)}
    (engine,) = (pid for pid, name in names.items() if name.startswith("VLLM::Engine"))
    return engine


def test_a_chat_is_counted_as_by_the_embedded_server(server: ModelServer) -> None:
    assert server.healthy() and server.drain(5)
    answer = chat(server, "What is gravity?", max_tokens=12, temperature=0)
    assert answer["usage"]["prompt_tokens"] == 34 and answer["usage"]["completion_tokens"] == 12
    assert "ravity" in answer["choices"][0]["message"]["content"]
    assert chat(server, "Say hi.", max_tokens=60, temperature=0)["choices"][0]["finish_reason"] == "stop"


def test_greedy_completions_are_those_that_the_exported_weights_give(server: ModelServer) -> None:
    (folder,) = (server.folder / "model").iterdir()
    llama, tokenizer = Llama(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    for prompt in ("The capital of France is", "Water boils at", "Once upon a time there"):
        answer = ask(server, "completions", prompt=prompt, max_tokens=12, temperature=0)["choices"][0]["text"]
        given, made = tokenizer.encode(prompt).ids, tokenizer.encode(answer).ids
        assert len(made) == 12
        assert llama.logits(given + made)[len(given) - 1 : -1].argmax(-1).tolist() == made, answer


def test_a_schema_is_obeyed_and_a_seed_repeats(server: ModelServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    answer = chat(server, "Describe a person.", response_format=form, seed=1, max_tokens=40)
    assert json.loads(answer["choices"][0]["message"]["content"])["mood"] in {"calm", "wild"}

    def draw(seed: int) -> str:
        text: str = chat(server, "Tell a story.", max_tokens=20, temperature=1.0, seed=seed)["choices"][0]["message"][
            "content"
        ]
        return text

    assert draw(7) == draw(7) and len({draw(7), draw(8), draw(9)}) == 3


def test_long_prompts_with_seeds_do_not_end_the_engine_and_drain_waits_for_them(server: ModelServer) -> None:
    """Their prompts together are more than one batch: computed in chunks, one seeded request would end the engine."""
    choose = random.Random(3)
    prompts = [" ".join(choose.choices(WORDS, k=500)) for _ in range(12)]
    with ThreadPoolExecutor(len(prompts)) as pool:
        answers = [
            pool.submit(chat, server, prompt, max_tokens=40, seed=number, temperature=1.0, ignore_eos=True)
            for number, prompt in enumerate(prompts)
        ]
        wait_until(lambda: (probes.running(server.url.removesuffix("/v1")) or 0) >= 10, seconds=20)
        assert not server.drain(0.1), "it was called idle while it worked"
        assert server.drain(60)
        assert all(answer.result(1)["usage"]["completion_tokens"] == 40 for answer in answers)
    assert server.healthy()


def test_the_account_is_what_the_server_did(server: ModelServer, tmp_path: Path) -> None:
    """Twice as many prompts as it computes at once, which begin alike: what it says, what the client counted and what
    is shown of both."""
    words = random.Random(5)
    shared = " ".join(words.choices(WORDS, k=400))

    def requests(begin: str, count: int) -> list[Request]:
        texts = [f"{begin} {' '.join(words.choices(WORDS, k=20))}" for _ in range(count)]
        return [
            Request(
                text, {"messages": [{"role": "user", "content": text}], "seed": 1, "max_tokens": 24, "ignore_eos": True}
            )
            for text in texts
        ]

    def ask_all(folder: Path, asked: list[Request]) -> tuple[ClientStats, list[dict[str, float]]]:
        client, said = CompletionClient([server.url], EMBEDDED, ClientOptions(concurrency=64)), []
        folder.mkdir()
        with usage(folder, 0, [server.url]), Meter(folder, client), ThreadPoolExecutor(1) as pool:
            answers = pool.submit(lambda: list(client.answers(asked)))
            while not answers.done():
                said.append(scrape(server.url))
                time.sleep(0.05)
            assert [answer.status for answer in answers.result()] == ["ok"] * len(asked)
            wait_until(lambda: scrape(server.url)["running"] == 0, seconds=10)
        return client.stats(), said

    stats, said = ask_all(tmp_path / "alike", requests(shared, 32))
    assert max(one["running"] for one in said) == 16 and max(one["waiting"] for one in said) >= 12
    assert max(one["cache_usage"] for one in said) > 0
    (record,) = usage_records(tmp_path / "alike")
    assert record.metrics["completion_tokens"] == stats.completion_tokens == 32 * 24
    assert record.metrics["prompt_tokens"] == record.metrics["prefix_queries"] == stats.prompt_tokens > 32 * 400
    assert (record.metrics["running"], record.metrics["waiting"]) == (0, 0)
    found = account(tmp_path / "alike", Budget())
    assert (found.completion_tokens, found.prompt_tokens) == (stats.completion_tokens, stats.prompt_tokens)
    # The first batch finds nothing in the cache, of the second all but the end; or more, where the first is not whole.
    assert found.prefix_hits is not None and 0.3 < found.prefix_hits < 0.99

    ask_all(tmp_path / "not alike", [one for start in range(8) for one in requests(f"{start}: {WORDS[start]}", 1)])
    (record,) = usage_records(tmp_path / "not alike")
    assert record.metrics["completion_tokens"] == 8 * 24, "what was done before is counted as well"
    alone = account(tmp_path / "not alike", Budget()).prefix_hits
    print(f"found in the cache: {found.prefix_hits:.1%} of prompts that begin alike, {alone:.1%} of others")
    assert alone is not None and alone < 0.2 < found.prefix_hits


def test_a_killed_engine_is_noticed_explained_and_restarted(server: ModelServer) -> None:
    url, engine = server.url, engine_process(server)
    assert server.pid is not None
    before = below(server.pid)
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: not server.healthy(), seconds=15)
    begun = time.monotonic()
    server.restart()
    print(f"restarted in {time.monotonic() - begun:.0f} s")
    assert not any(exists(pid) for pid in before)
    assert server.url == url and server.healthy()
    assert chat(server, "Hello", max_tokens=2)["usage"]["completion_tokens"] == 2
    assert "Traceback" in (server.folder / "server.1.log").read_text(encoding="utf-8"), "the log of the crash is lost"


def test_stop_leaves_no_process(server: ModelServer) -> None:
    assert server.pid is not None
    pids = below(server.pid)
    assert len(pids) >= 3
    server.stop()
    assert not any(exists(pid) for pid in pids) and not server.alive()
