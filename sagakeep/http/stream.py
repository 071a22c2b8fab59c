"""Stream: the events of one saga as server-sent events, until it is final.

An event's `id` is its number within the saga. A browser that reconnects after the end would do so for
ever; it is told 204, which ends that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import msgspec
from anyio.streams.memory import MemoryObjectSendStream

from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError
from sagakeep.events import Record
from sagakeep.http.sse import SseReply
from sagakeep.orchestrator import Orchestrator
from sagakeep.published import EventView
from sagakeep.state import FINAL, SagaState
from sagakeep.view import event_views


class EventStream(SseReply[AsyncIterator[Record]]):
    """The events numbered above `after`, then those that come."""

    def __init__(self, orchestrator: Orchestrator, state: SagaState, after: int) -> None:
        super().__init__(orchestrator)
        self._saga_id = state.id
        self._definition = state.definition
        self._after = after

    def source(self) -> AbstractAsyncContextManager[AsyncIterator[Record]]:
        return self.orchestrator.watch(self._saga_id, after=self._after)

    async def pump(
        self, source: AsyncIterator[Record], into: MemoryObjectSendStream[bytes]
    ) -> None:
        try:
            async for record in source:
                await into.send(_encoded(record, self._definition, self._after))
        except SagakeepError as error:  # too slow, or gone: what is said next is up to the client
            await into.send(f": {error}\n\n".encode())


def is_over(state: SagaState, after: int) -> bool:
    """Is there nothing to stream any more to a client that saw the events up to `after`?"""
    return state.status in FINAL and 0 < state.sequence <= after


def _encoded(record: Record, definition: SagaDefinition, after: int) -> bytes:
    views = event_views(record, definition)
    return b"".join([_event(view) for view in views if view["seq"] > after])


def _event(view: EventView) -> bytes:
    head = f"id: {view['seq']}\nevent: {view['type']}\ndata: ".encode()
    return head + msgspec.json.encode(view) + b"\n\n"
