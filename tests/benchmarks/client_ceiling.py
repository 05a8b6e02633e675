"""How many requests per second one process of the streaming client can send, and whether its memory stays flat.

Belongs here: the client's own cost, against a server that answers at once. Does not belong here: how well it fills a
server that takes its time (`client_efficiency`).

    python -m tests.benchmarks.client_ceiling [--rows 200000] [--concurrency 64] [--plain-rows 10000]

The server is a child process on another core and does next to nothing. For comparison the same requests are sent in the
same run by the shortest loop that one would write with the same HTTP library: `gather` over all rows, a semaphore
around each. That loop holds all rows at once, so it is given fewer of them (`--plain-rows`), several times.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp

from cosmo_resources.inference.client import ClientOptions, CompletionClient, Request

PROMPT = "Write a short lesson about " + "rivers and stones " * 60
CHECKPOINTS = 10
TURNS = 4


class AtOnce(asyncio.Protocol):
    """Says the same to every request, without a look at it."""

    def __init__(self) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 60}}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.reply = head.encode() + body
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            _, _, length = self.received[:end].lower().partition(b"content-length:")
            whole = end + 4 + int(length.partition(b"\r\n")[0])
            if len(self.received) < whole:
                return
            self.received = self.received[whole:]
            self.transport.write(self.reply)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(AtOnce, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def pin(core: int) -> None:
    """Stay on one core, where there are several and the system can do it."""
    with suppress(AttributeError, OSError, IndexError):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


@contextmanager
def server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def body(number: int) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100, "seed": number}


def resident() -> float:
    """Memory of this process now, in MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def streamed(url: str, rows: int, concurrency: int) -> None:
    """Send with the client, and print its memory on the way."""
    client = CompletionClient([url], "m", ClientOptions(concurrency=concurrency))
    memory: list[float] = []
    started = time.perf_counter()
    for count, answer in enumerate(client.answers(Request(str(n), body(n)) for n in range(rows)), 1):
        assert answer.status == "ok", answer.error
        if count % max(rows // CHECKPOINTS, 1) == 0:
            memory.append(resident())
            rate = count / (time.perf_counter() - started)
            print(f"  {count:9} rows, {rate:6.0f}/s, {memory[-1]:.1f} MB", flush=True)
    print(f"  memory since the first tenth: {memory[-1] - memory[0]:+.1f} MB")


async def gathered(url: str, rows: int, concurrency: int) -> None:
    """Send with `gather` over all rows and a semaphore around each."""
    free = asyncio.Semaphore(concurrency)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> str:
            async with free, session.post(f"{url}/chat/completions", json={"model": "m", **body(number)}) as reply:
                return str((await reply.json())["choices"][0]["message"]["content"])

        texts = await asyncio.gather(*(ask(number) for number in range(rows)))
        assert len(texts) == rows


def answered(url: str, rows: int, concurrency: int) -> None:
    client = CompletionClient([url], "m", ClientOptions(concurrency=concurrency))
    requests = (Request(str(number), body(number)) for number in range(rows))
    assert sum(answer.status == "ok" for answer in client.answers(requests)) == rows


def compare(url: str, rows: int, concurrency: int) -> None:
    """In turns, by the clock and by the time that this process had a core: others on the machine slow the first."""
    ways = {
        "streaming client": lambda: answered(url, rows, concurrency),
        "gather with a semaphore": lambda: asyncio.run(gathered(url, rows, concurrency)),
    }
    wall, cpu = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for turn in range(TURNS):
        for name in sorted(ways, reverse=turn % 2 == 1):
            started, before = time.perf_counter(), time.process_time()
            ways[name]()
            wall[name] += time.perf_counter() - started
            cpu[name] += time.process_time() - before
    for name in ways:
        print(f"{name:24} {TURNS * rows / wall[name]:6.0f}/s, per CPU second {TURNS * rows / cpu[name]:6.0f}")
    (our_wall, plain_wall), (our_cpu, plain_cpu) = wall.values(), cpu.values()
    print(f"ratio {plain_wall / our_wall:.2f} by the clock, {plain_cpu / our_cpu:.2f} by CPU time")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=200_000)
    arguments.add_argument("--plain-rows", type=int, default=10_000)
    arguments.add_argument("--concurrency", type=int, default=64)
    arguments.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        pin(1)
        asyncio.run(serve())
        return
    with server() as url:
        pin(0)
        print(f"{chosen.concurrency} requests in flight", flush=True)
        streamed(url, chosen.rows, chosen.concurrency)
        compare(url, chosen.plain_rows, chosen.concurrency)


if __name__ == "__main__":
    main()
