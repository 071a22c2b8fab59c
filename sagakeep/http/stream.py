"""Stream: the events of one saga as server-sent events, until it is final, the server drains, or nobody listens.

    records --pump--> channel of nothing --writer--> send         receive --watcher--> cancel
                ^
                `-- cancelled when the server drains; the writer then ends the reply cleanly

The writer alone sends, so a ping never falls into an event. `request.is_disconnected()` never becomes
true under this server, so a task of its own waits for the disconnect. A generator behind a streaming
response could not hold these tasks: it would yield inside of their nursery.

An event's `id` is its number within the saga. A browser that reconnects after the end would do so for
ever; it is told 204, which ends that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError
from sagakeep.events import Record
from sagakeep.orchestrator import Orchestrator
from sagakeep.published import EventView
from sagakeep.state import FINAL, SagaState
from sagakeep.view import event_views

PING_S: Final = 15.0  # below the minute after which proxies cut what is quiet
RECONNECT_MS: Final = 2_000
MEDIA_TYPE: Final = "text/event-stream"

_HELLO: Final = f"retry: {RECONNECT_MS}\n\n".encode()
_PING: Final = b": ping\n\n"


class EventStream(Response):
    """The events numbered above `after`, then those that come."""

    media_type = MEDIA_TYPE

    def __init__(self, orchestrator: Orchestrator, state: SagaState, after: int) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._orchestrator = orchestrator
        self._saga_id = state.id
        self._definition = state.definition
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._orchestrator.watch(self._saga_id, after=self._after) as records:
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
                    await self._pump(records, into)

    async def _pump(
        self, records: AsyncIterator[Record], into: MemoryObjectSendStream[bytes]
    ) -> None:
        try:
            async for record in records:
                await into.send(_encoded(record, self._definition, self._after))
        except SagakeepError as error:  # too slow, or gone: what is said next is up to the client
            await into.send(f": {error}\n\n".encode())

    async def _cancel_when_draining(self, scope: anyio.CancelScope) -> None:
        await self._orchestrator.stopping.wait()
        scope.cancel()


def is_over(state: SagaState, after: int) -> bool:
    """Is there nothing to stream any more to a client that saw the events up to `after`?"""
    return state.status in FINAL and 0 < state.sequence <= after


def _encoded(record: Record, definition: SagaDefinition, after: int) -> bytes:
    views = event_views(record, definition)
    return b"".join([_event(view) for view in views if view["seq"] > after])


def _event(view: EventView) -> bytes:
    head = f"id: {view['seq']}\nevent: {view['type']}\ndata: ".encode()
    return head + msgspec.json.encode(view) + b"\n\n"


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
