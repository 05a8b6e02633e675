"""Answers of a replay server that come late, broken off, or not at all."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter


def reply(text: Any, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}, **fields}


class Slow(web.Response):
    """An answer that comes after some seconds, or as soon as `until` holds; in `gone` it notes that nobody waits for it
    any more. With `until`, an answer that waits in vain is no answer but a cut connection."""

    def __init__(
        self, seconds: float, *, until: Callable[[], object] | None = None, gone: list[float] | None = None
    ) -> None:
        super().__init__(text=json.dumps(reply("slow")), content_type="application/json")
        self._seconds = seconds
        self._until = until
        self._gone = gone

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        deadline = time.monotonic() + self._seconds
        while not (self._until and self._until()):
            transport = request.transport
            if transport is None or transport.is_closing():
                if self._gone is not None:
                    self._gone.append(time.monotonic())
                break
            if time.monotonic() > deadline:
                if self._until:
                    transport.abort()
                break
            await asyncio.sleep(0.01)
        return await super().prepare(request)


class Reset(web.Response):
    """A connection that ends instead of an answer."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        assert request.transport is not None
        request.transport.abort()
        return await super().prepare(request)


class Cut(web.StreamResponse):
    """An answer whose connection ends in the middle of its body."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.content_length = 1000
        writer = await super().prepare(request)
        await self.write(b'{"choices": ')
        assert request.transport is not None
        request.transport.abort()
        return writer
