"""Live reply: a reply that goes on until its source ends, the server drains, or nobody listens.

    source --pump--> channel of nothing --writer--> send         receive --watcher--> cancel
                ^
                `-- cancelled when the server drains; the writer then ends the reply cleanly

The writer alone sends, so a ping never falls into what is pumped. `request.is_disconnected()` never becomes
true under this server, so a task of its own waits for the disconnect. A generator behind a streaming
response could not hold these tasks: it would yield inside of their nursery.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Final, Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sagakeep.orchestrator import Orchestrator

PING_S: Final = 15.0  # below the minute after which proxies cut what is quiet

Source = TypeVar("Source")


class LiveReply(Response, Generic[Source]):
    """A subclass says what its source is and how that becomes chunks. What opening it raises is answered as
    usual.

    `hello` is sent first, `ping` when it is quiet; nothing is, where they are empty.
    """

    hello: ClassVar[bytes] = b""
    ping: ClassVar[bytes] = b""

    def __init__(self, orchestrator: Orchestrator) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.orchestrator = orchestrator

    def source(self) -> AbstractAsyncContextManager[Source]:
        raise NotImplementedError

    async def pump(self, source: Source, into: MemoryObjectSendStream[bytes]) -> None:
        """Send what comes of the source, as chunks that are whole in themselves, until it ends."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.source() as source:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            if self.hello:
                await _send_chunk(send, self.hello)
            into, out_of = anyio.create_memory_object_stream[bytes](0)
            async with anyio.create_task_group() as group:
                pumping = anyio.CancelScope()
                group.start_soon(self._write, send, out_of, group.cancel_scope)
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                group.start_soon(self._cancel_when_draining, pumping)
                with into, pumping:
                    await self.pump(source, into)

    async def _cancel_when_draining(self, scope: anyio.CancelScope) -> None:
        await self.orchestrator.stopping.wait()
        scope.cancel()

    async def _write(
        self, send: Send, chunks: MemoryObjectReceiveStream[bytes], done: anyio.CancelScope
    ) -> None:
        with chunks:
            while chunk := await self._next_chunk(chunks):
                await _send_chunk(send, chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        done.cancel()

    async def _next_chunk(self, chunks: MemoryObjectReceiveStream[bytes]) -> bytes:
        """Return what is to be sent next, a ping when it is quiet, b"" at the end."""
        with anyio.move_on_after(PING_S if self.ping else None):
            try:
                return await chunks.receive()
            except anyio.EndOfStream:
                return b""
        return self.ping


async def _send_chunk(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # what is left of the request
    scope.cancel()
