"""SSE: a reply of server-sent events that goes on until its source ends, the server drains, or nobody listens.

    source --pump--> channel of nothing --writer--> send         receive --watcher--> cancel
                ^
                `-- cancelled when the server drains; the writer then ends the reply cleanly

The writer alone sends, so a ping never falls into an event. `request.is_disconnected()` never becomes
true under this server, so a task of its own waits for the disconnect. A generator behind a streaming
response could not hold these tasks: it would yield inside of their nursery.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sagakeep.orchestrator import Orchestrator

PING_S: Final = 15.0  # below the minute after which proxies cut what is quiet
RECONNECT_MS: Final = 2_000
MEDIA_TYPE: Final = "text/event-stream"

_HELLO: Final = f"retry: {RECONNECT_MS}\n\n".encode()
_PING: Final = b": ping\n\n"

Source = TypeVar("Source")


class SseReply(Response, Generic[Source]):
    """A subclass says what its source is and how that becomes chunks. What opening it raises is answered as
    usual."""

    media_type = MEDIA_TYPE

    def __init__(self, orchestrator: Orchestrator) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.orchestrator = orchestrator

    def source(self) -> AbstractAsyncContextManager[Source]:
        raise NotImplementedError

    async def pump(self, source: Source, into: MemoryObjectSendStream[bytes]) -> None:
        """Send what comes of the source, as chunks of whole events, until it ends."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.source() as source:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            await _send_chunk(send, _HELLO)
            into, out_of = anyio.create_memory_object_stream[bytes](0)
            async with anyio.create_task_group() as group:
                pumping = anyio.CancelScope()
                group.start_soon(_write, send, out_of, group.cancel_scope)
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                group.start_soon(self._cancel_when_draining, pumping)
                with into, pumping:
                    await self.pump(source, into)

    async def _cancel_when_draining(self, scope: anyio.CancelScope) -> None:
        await self.orchestrator.stopping.wait()
        scope.cancel()


async def _write(
    send: Send, chunks: MemoryObjectReceiveStream[bytes], done: anyio.CancelScope
) -> None:
    with chunks:
        while chunk := await _next_chunk(chunks):
            await _send_chunk(send, chunk)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    done.cancel()


async def _next_chunk(chunks: MemoryObjectReceiveStream[bytes]) -> bytes:
    """Return what is to be sent next, a ping when it is quiet, b"" at the end."""
    with anyio.move_on_after(PING_S):
        try:
            return await chunks.receive()
        except anyio.EndOfStream:
            return b""
    return _PING


async def _send_chunk(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # what is left of the request
    scope.cancel()
