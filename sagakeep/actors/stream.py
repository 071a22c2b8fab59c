"""A stream of one saga's records: its history, then what comes, in order and without a gap.

The watcher is set before the history is read, so nothing falls between; what both have is given once, by its
event number. A reader that is too slow is told so and can resume after the last event it saw.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import trio

from sagakeep import limits
from sagakeep.actors.committed import Committed
from sagakeep.actors.history import History
from sagakeep.errors import SagakeepError
from sagakeep.events import Record
from sagakeep.state import FINAL, SagaState


class StreamLagged(SagakeepError):
    """The reader fell behind by more than the buffer: begin again after the last event it saw."""


class _Buffer:
    """Records that became durable while the reader was busy, and whether the last one ends the saga."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._arrived = trio.Event()
        self._is_final = False
        self._has_ended = False
        self._lagged = False

    def __call__(self, state: SagaState, record: Record) -> None:
        if len(self._records) >= limits.STREAM_BUFFER_EVENTS_MAX:
            self._lagged = True
        else:
            self._records.append(record)
        self._is_final = state.deleted or state.status in FINAL
        self._arrived.set()

    def end(self) -> None:
        """Nothing follows, whatever the last record says."""
        self._has_ended = True
        self._arrived.set()

    async def take(self) -> tuple[list[Record], bool]:
        """What arrived, and whether nothing follows. Raises StreamLagged."""
        await self._arrived.wait()
        if self._lagged:
            raise StreamLagged("too slow: resume after the last event that was read")
        self._arrived = trio.Event()
        records, self._records = self._records, []
        return records, self._is_final or self._has_ended


@asynccontextmanager
async def watch_records(
    committed: Committed,
    history: History,
    last_position: Callable[[str], Awaitable[tuple[int, int]]],
    saga_id: str,
    after: int,
) -> AsyncIterator[AsyncIterator[Record]]:
    """The records of a saga whose events are numbered above `after`. Raises SagaNotFound at once."""
    buffer = _Buffer()
    stop_watching = committed.watch(saga_id, buffer)
    try:
        past = await history.records(await last_position(saga_id), after)
        if saga_id not in committed.live:
            buffer.end()
        async with aclosing(_in_order(past, buffer, after)) as records:
            yield records
    finally:
        stop_watching()


async def _in_order(
    past: list[Record], buffer: _Buffer, after: int
) -> AsyncGenerator[Record, None]:
    records, is_final = past, False
    while True:
        for record in records:
            last = record.sequence + len(record.events) - 1
            if last > after:
                after = last
                yield record
        if is_final:
            return
        records, is_final = await buffer.take()
