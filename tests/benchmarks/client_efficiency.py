"""How much of a server's time the streaming client uses, against other ways to send the same requests.

Belongs here: tokens per second of several clients, one after the other, against one server with continuous batching.
Does not belong here: the client's own cost per request (`client_ceiling`).

    python -m tests.benchmarks.client_efficiency [--rows 6000] [--sequences 256] [--rounds 2]
    COSMO_VLLM_PYTHON=... python -m tests.benchmarks.client_efficiency --vllm URL --model NAME --tokenizer FOLDER

The server is a model of a GPU (`tests.doubles.batching_server`) with heavy-tailed lengths. Compared are the streaming
client; chunks of 1,000 rows with a barrier after each, as llm-swarm sends them; datatrove's InferenceRunner, where it
can be imported (it wants httpx, aiofiles and aiosqlite); and the bounds: a server that is given everything at once, and
one that is full the whole time. Each gets a fresh server, in turns. With `--vllm`, the server at that address is asked
by this client and by vLLM's own `bench serve`, in turns, with prompts of the same length and answers of a fixed one.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp

from cosmo_resources.inference.client import ClientOptions, CompletionClient, Request
from tests.doubles.batching_server import length, shortest

CHUNK = 1000
BENCH_SERVE = """import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""`vllm bench serve`, also where the package is not called vllm, as that for the CPU. It needs pandas."""
WORDS = "Write a short lesson about rivers and stones for children, with an example and a question, in plain words. "


def prompts(count: int, run: str) -> list[str]:
    return [f"Lesson {number} of {run}." for number in range(count)]


def body(prompt: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": prompt}]}


def by_this_client(url: str, asked: list[str], in_flight: int) -> int:
    client = CompletionClient([f"{url}/v1"], "batching", ClientOptions(concurrency=in_flight, attempts=1))
    answers = client.answers(Request(prompt, body(prompt)) for prompt in asked)
    return sum(answer.completion_tokens for answer in answers)


def by_chunks(url: str, asked: list[str], in_flight: int) -> int:
    """A barrier after each chunk."""

    async def run() -> int:
        free, tokens = asyncio.Semaphore(in_flight), 0
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

            async def ask(prompt: str) -> int:
                sent = {"model": "batching", **body(prompt)}
                async with free, session.post(f"{url}/v1/chat/completions", json=sent) as reply:
                    return int((await reply.json())["usage"]["completion_tokens"])

            for first in range(0, len(asked), CHUNK):
                tokens += sum(await asyncio.gather(*map(ask, asked[first : first + CHUNK])))
        return tokens

    return asyncio.run(run())


def by_datatrove(url: str, asked: list[str], in_flight: int) -> int:
    from datatrove.data import Document
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter
    from loguru import logger

    logger.remove()

    async def rollout(document, generate):  # type: ignore[no-untyped-def]
        return await generate(body(document.text))

    config = InferenceConfig("endpoint", "batching", endpoint_url=url, max_concurrent_generations=in_flight)
    with tempfile.TemporaryDirectory(prefix="datatrove-") as folder:
        runner = InferenceRunner(rollout, config, JsonlWriter(folder, compression=None))
        documents = (Document(text=prompt, id=str(number)) for number, prompt in enumerate(asked))
        for _ in runner.run(documents) or ():
            pass
        rows = [json.loads(line) for path in Path(folder).rglob("*.jsonl") for line in path.open(encoding="utf-8")]
    assert len(rows) == len(asked), f"{len(rows)} documents came back of {len(asked)}"
    return sum(row["metadata"]["rollout_results"][0]["usage"]["completion_tokens"] for row in rows)


def why_no_datatrove() -> str | None:
    try:
        import aiofiles  # type: ignore[import-untyped]  # noqa: F401
        import aiosqlite  # noqa: F401
        import datatrove.pipeline.inference.run_inference  # noqa: F401
        import httpx  # noqa: F401
    except ImportError as problem:
        return str(problem)
    return None


@contextmanager
def server(sequences: int, step: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.doubles.batching_server", f"--sequences={sequences}", f"--step={step}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def against_others(rows: int, sequences: int, step: float, in_flight: int, rounds: int) -> None:
    asked = prompts(rows, "all")
    lengths = [length(prompt) for prompt in asked]
    ways: dict[str, Callable[[str, list[str], int], int]] = {"streaming client": by_this_client}
    ways[f"chunks of {CHUNK}"] = by_chunks
    if problem := why_no_datatrove():
        print(f"datatrove's runner is left out: {problem}")
    else:
        ways["datatrove"] = by_datatrove
    print(f"{rows} rows of {sum(lengths) / rows:.0f} tokens on average, {max(lengths)} at most")
    print(f"{sequences} sequences at once, {in_flight} requests in flight, {rounds} rounds", flush=True)
    wall, cpu = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for turn in range(rounds):
        for name in sorted(ways, reverse=turn % 2 == 1):
            with server(sequences, step) as url:
                started, before = time.perf_counter(), time.process_time()
                tokens = ways[name](url, asked, in_flight)
                seconds = time.perf_counter() - started
                wall[name] += seconds / rounds
                cpu[name] += (time.process_time() - before) / rounds
            assert tokens == sum(lengths), f"{name}: {tokens} tokens of {sum(lengths)}"
            print(f"  round {turn + 1}, {name}: {seconds:.1f} s", flush=True)
    wall["all at once"] = shortest(lengths, sequences) * step
    wall["full server"] = sum(lengths) / sequences * step
    ours = wall["streaming client"]
    print(f"\n{'':20} {'seconds':>8} {'its CPU':>8} {'tokens/s':>9} {'of a full server':>17} {'streaming is':>13}")
    for name, seconds in wall.items():
        full, used = wall["full server"] / seconds, f"{cpu[name]:.1f}" if name in cpu else ""
        rate = sum(lengths) / seconds
        print(f"{name:20} {seconds:8.1f} {used:>8} {rate:9.0f} {full:17.1%} {seconds / ours:12.2f}x")


def vllm_bench(url: str, model: str, tokenizer: str, asked: list[str], in_flight: int, tokens: int) -> float:
    """Output tokens per second by vLLM's own client."""
    python = os.environ.get("COSMO_VLLM_PYTHON")
    if not python:
        raise SystemExit("COSMO_VLLM_PYTHON does not name the interpreter of an environment with vLLM")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        data = Path(folder) / "prompts.jsonl"
        data.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in asked), encoding="utf-8")
        options = {
            "backend": "openai-chat",
            "base-url": url,
            "endpoint": "/v1/chat/completions",
            "model": model,
            "tokenizer": tokenizer,
            "dataset-name": "custom",
            "dataset-path": data,
            "custom-output-len": tokens,
            "num-prompts": len(asked),
            "max-concurrency": in_flight,
            "temperature": 0,
            "result-dir": folder,
            "result-filename": "result.json",
        }
        flags = ["--ignore-eos", "--disable-shuffle", "--skip-chat-template", "--save-result"]
        command = [python, "-c", BENCH_SERVE, *flags]
        subprocess.run([*command, *(f"--{name}={value}" for name, value in options.items())], check=True)
        result = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
    assert result["completed"] == len(asked), result
    return float(result["output_throughput"])


def our_rate(url: str, model: str, asked: list[str], in_flight: int, tokens: int) -> float:
    """Output tokens per second by the streaming client."""
    client = CompletionClient([f"{url}/v1"], model, ClientOptions(concurrency=in_flight, attempts=1))
    fixed = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    started = time.perf_counter()
    answers = list(client.answers(Request(prompt, {**body(prompt), **fixed}) for prompt in asked))
    seconds = time.perf_counter() - started
    assert all(answer.status == "ok" for answer in answers), [answer.error for answer in answers if answer.error][:1]
    return sum(answer.completion_tokens for answer in answers) / seconds


def against_vllm(url: str, model: str, tokenizer: str, rows: int, in_flight: int, tokens: int, rounds: int) -> None:
    """In turns, each with prompts of its own: what one left in the server's prefix cache is of no use to the other.
    On a shared machine single rounds differ by a tenth: what counts is the mean with its standard error."""
    bench, ours = [], []
    our_rate(url, model, prompts(in_flight, "the warm-up"), in_flight, tokens)
    for turn in range(rounds):
        asked = {who: [WORDS + prompt for prompt in prompts(rows, f"{who}, {turn}")] for who in ("bench", "ours")}
        ways = {
            "bench": partial(vllm_bench, url, model, tokenizer, asked["bench"], in_flight, tokens),
            "ours": partial(our_rate, url, model, asked["ours"], in_flight, tokens),
        }
        for who in ("bench", "ours") if turn % 2 == 0 else ("ours", "bench"):
            (bench if who == "bench" else ours).append(ways[who]())
        rates = f"vllm {bench[-1]:.1f} tokens/s, streaming client {ours[-1]:.1f}"
        print(f"round {turn + 1}: {rates}, {ours[-1] / bench[-1]:.1%}", flush=True)
    ratios = [mine / other for mine, other in zip(ours, bench, strict=True)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    print(f"streaming client / vllm bench serve: {statistics.mean(ratios):.1%}, standard error {error:.1%}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=6000)
    arguments.add_argument("--sequences", type=int, default=256)
    arguments.add_argument("--step", type=float, default=0.01, help="seconds per step of the modelled server")
    arguments.add_argument("--in-flight", type=int, help="requests at once, 5 for 4 sequences where it is not given")
    arguments.add_argument("--vllm", metavar="URL", help="a running vLLM server, without /v1")
    arguments.add_argument("--model", help="the name it serves")
    arguments.add_argument("--tokenizer", help="folder of its tokenizer")
    arguments.add_argument("--tokens", type=int, default=128, help="of each answer of a real server")
    arguments.add_argument("--rounds", type=int, default=2, help="at least two")
    chosen = arguments.parse_args()
    in_flight = chosen.in_flight or chosen.sequences * 5 // 4
    if chosen.vllm:
        against_vllm(chosen.vllm, chosen.model, chosen.tokenizer, chosen.rows, in_flight, chosen.tokens, chosen.rounds)
    else:
        against_others(chosen.rows, chosen.sequences, chosen.step, in_flight, chosen.rounds)


if __name__ == "__main__":
    main()
