"""Feed stream: the events of all sagas as server-sent events.

    id: 4096-118-2-9f0c44ab             where a client goes on that sends this as Last-Event-ID
    data: {"sagaID": ..., "type": ...}  an event: it has no `event` field, so that one listener hears all kinds

    event: ready                        from now on it is live: what is listed after this is not missed
    event: gap                          events were lost to this client, `reason` says why: list anew

While it is quiet a comment keeps it open, with an `id` alone: it moves the client's place on over what its
filters leave out, and a browser makes no event of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import msgspec
from anyio.streams.memory import MemoryObjectSendStream

from sagakeep.feed import FeedBatch, FeedEvent, Wanted
from sagakeep.http.sse import SseReply
from sagakeep.orchestrator import Orchestrator
from sagakeep.view import feed_event_view


class FeedStream(SseReply[AsyncIterator[FeedBatch]]):
    """What is wanted after `last_id`, or from now on; and what comes then."""

    def __init__(self, orchestrator: Orchestrator, wanted: Wanted, last_id: str | None) -> None:
        super().__init__(orchestrator)
        self._wanted = wanted
        self._last_id = last_id

    def source(self) -> AbstractAsyncContextManager[AsyncIterator[FeedBatch]]:
        return self.orchestrator.fleet.follow(self._wanted, self._last_id)

    async def pump(
        self, source: AsyncIterator[FeedBatch], into: MemoryObjectSendStream[bytes]
    ) -> None:
        async for batch in source:
            await into.send(_encoded(batch))


def _encoded(batch: FeedBatch) -> bytes:
    told = [_event(event) for event in batch.events]
    place = f"id: {batch.through}\n".encode()
    if batch.gap:
        told.append(place + b"event: gap\ndata: " + _json({"reason": batch.gap}) + b"\n\n")
    if batch.is_current:
        told.append(place + b"event: ready\ndata: {}\n\n")
    return b"".join(told) or b": ping\n" + place + b"\n"


def _event(event: FeedEvent) -> bytes:
    return f"id: {event.place}\ndata: ".encode() + _json(feed_event_view(event)) + b"\n\n"


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
