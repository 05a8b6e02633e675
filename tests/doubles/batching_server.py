"""A server that keeps the time of a GPU with continuous batching: at most so many sequences at once, one token for each
of them per step, every step as long as the others. What more is asked waits in a queue, first come, first served.

    python -m tests.doubles.batching_server [--sequences 256] [--step 0.01]

It prints its port. How many tokens an answer has is drawn from the digest of its prompt, log-normally, so that a few
are many times as long as most: the same prompt has the same length whoever asks.
"""

import argparse
import asyncio
import hashlib
import heapq
import math
import statistics
import time
from collections import deque
from typing import Any

from aiohttp import web

MEDIAN, SPREAD, LONGEST = 60, 1.0, 1000
"""Of the lengths in tokens; the spread is the standard deviation of their logarithms."""


def length(prompt: str) -> int:
    """Tokens of the answer to a prompt."""
    drawn = (int.from_bytes(hashlib.blake2b(prompt.encode(), digest_size=6).digest()) + 0.5) / 2**48
    return max(1, min(LONGEST, round(MEDIAN * math.exp(SPREAD * statistics.NormalDist().inv_cdf(drawn)))))


def shortest(lengths: list[int], sequences: int) -> int:
    """Steps that such a server takes at least if all is asked at once, in this order."""
    free = [0] * sequences
    for tokens in lengths:
        heapq.heapreplace(free, free[0] + tokens)
    return max(free)


class BatchingServer:
    def __init__(self, sequences: int, step: float) -> None:
        self.sequences = sequences
        self.step = step
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._running: list[tuple[int, int, asyncio.Future[None]]] = []  # (last step, tie-breaker, who waits)
        self._steps = 0
        self._ties = 0

    async def decode(self) -> None:
        """Make steps, for ever, in time: after a delay, as many as were due."""
        started = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, started + (self._steps + 1) * self.step - time.monotonic()))
            while started + (self._steps + 1) * self.step <= time.monotonic():
                self._one_step()

    def _one_step(self) -> None:
        while self._queue and len(self._running) < self.sequences:
            tokens, waits = self._queue.popleft()
            self._ties += 1
            heapq.heappush(self._running, (self._steps + tokens, self._ties, waits))
        self._steps += 1
        while self._running and self._running[0][0] <= self._steps:
            _, _, waits = heapq.heappop(self._running)
            if not waits.done():
                waits.set_result(None)

    async def complete(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        prompt = body["messages"][-1]["content"]
        tokens = length(prompt)
        waits: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((tokens, waits))
        await waits
        choice = {"index": 0, "message": {"role": "assistant", "content": "word " * tokens}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})


async def models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "batching", "object": "model"}]})


async def serve(server: BatchingServer) -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[union-attr]
    await server.decode()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sequences", type=int, default=256)
    arguments.add_argument("--step", type=float, default=0.01, help="seconds")
    chosen = arguments.parse_args()
    asyncio.run(serve(BatchingServer(chosen.sequences, chosen.step)))


if __name__ == "__main__":
    main()
