"""The feed of all sagas: every durable event, told to whoever follows.

    last id --> read again in the journal --> ready --> as it becomes durable --> ...
                (or a gap: too long ago)                 (or a gap: too slow)

While nobody follows it costs nothing: the feed asks to be told of records when the first reader comes, and no
more when the last one goes. Nothing is kept for readers that may come back: what they have missed stands in the
journal.

A reader is never waited for. Up to FEED_BUFFER_EVENTS_MAX wait for it; beyond that they are dropped, and it is
told of a gap: what it knows is then to be asked for anew. The same goes for one that comes back after so long
that reading the journal again would be work for a second.

The events of the last frame may be told to one that comes back while they are just being noted, and then once
more; places tell them apart, so each is given once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import trio

from sagakeep import limits
from sagakeep.actors.committed import Committed, Note
from sagakeep.actors.history import History
from sagakeep.codec import decode_records
from sagakeep.errors import SagakeepError, Unavailable
from sagakeep.events import Record, SagaCreated
from sagakeep.feed import (
    FeedBatch,
    FeedEvent,
    FeedPlace,
    Wanted,
    feed_events,
    place_in,
    status_after,
)
from sagakeep.runtime.blocking import RunBlocking
from sagakeep.runtime.journal_files import JournalFiles, Position
from sagakeep.state import SagaStatus

_log: Final = logging.getLogger(__name__)

EVENTS_AT_ONCE: Final = 500  # in one batch: to encode them takes 2 ms
GATHER_S: Final = 0.05  # between two batches: one look at the clock for many events
QUIET_S: Final = 10.0  # after which a reader is told that there is nothing, and where it is
_JOURNAL_CHARS: Final = 8  # of its uuid
_TOO_SLOW: Final = "you were too slow"


class EventFeed:
    """Tells readers. `end` when sagas do not go on in this process."""

    def __init__(
        self, files: JournalFiles, history: History, committed: Committed, run_blocking: RunBlocking
    ) -> None:
        self._files = files
        self._history = history
        self._committed = committed
        self._run_blocking = run_blocking
        self._thread = trio.CapacityLimiter(1)  # many that come back at once take turns
        self._journal = files.uuid[:_JOURNAL_CHARS]
        self._readers: list[_Reader] = []
        self._noted = FeedPlace(0, 0, 0, self._journal)
        self._has_ended = False

    @property
    def readers(self) -> int:
        return len(self._readers)

    @property
    def place(self) -> FeedPlace:
        """That of a reader that has seen all there is."""
        return max(self._noted, FeedPlace(self._committed.through, 0, 0, self._journal))

    def end(self) -> None:
        """Nothing follows."""
        self._has_ended = True
        for reader in self._readers:
            reader.end()

    @asynccontextmanager
    async def follow(
        self, wanted: Wanted, last_id: str | None
    ) -> AsyncIterator[AsyncIterator[FeedBatch]]:
        """Batches of what is wanted: from now on, or with a `last_id` from what came after it.

        Raises Unavailable when too many follow.
        """
        if len(self._readers) >= limits.FEED_READERS_MAX:
            raise Unavailable(f"{limits.FEED_READERS_MAX} readers follow all sagas already")
        reader = _Reader(wanted)
        if self._has_ended:
            reader.end()
        self._readers.append(reader)
        self._committed.on_noted = (self._note,)
        try:
            async with aclosing(self._batches(reader, wanted, last_id)) as batches:
                yield batches
        finally:
            self._readers.remove(reader)
            if not self._readers:
                self._committed.on_noted = ()

    def _note(self, note: Note, position: Position) -> None:
        name, status = note.state.definition.name, note.state.status
        self._noted = FeedPlace(*position, len(note.record.events), self._journal)
        wanting = [reader for reader in self._readers if reader.wants(name, status)]
        if wanting:
            events = feed_events(note.record, name, status, *position, self._journal)
            for reader in wanting:
                reader.hear(events)

    async def _batches(
        self, reader: _Reader, wanted: Wanted, last_id: str | None
    ) -> AsyncGenerator[FeedBatch, None]:
        seen = self.place
        if last_id is None:
            yield FeedBatch([], seen, is_current=True)
        else:
            past, seen, gap = await self._past(wanted, last_id)
            while past:
                some, past = past[:EVENTS_AT_ONCE], past[EVENTS_AT_ONCE:]
                yield FeedBatch(some, some[-1].place)
            yield FeedBatch([], seen, gap, is_current=True)
        while True:
            await reader.wait()
            if reader.has_lost:
                reader.has_lost = False
                yield FeedBatch([], self.place, _TOO_SLOW)
            elif events := reader.take():
                yield FeedBatch([one for one in events if one.place > seen], events[-1].place)
            elif reader.has_ended:
                return
            else:
                yield FeedBatch([], max(seen, self.place))

    async def _past(self, wanted: Wanted, last_id: str) -> tuple[list[FeedEvent], FeedPlace, str]:
        """What came after a place, the place up to which that is, and why there is a gap instead."""
        end = FeedPlace(self._files.position, 0, 0, self._journal)
        after = place_in(last_id)
        if after is None or after.journal != self._journal or after.frame > end.frame:
            return [], self.place, "your place is none of this journal"
        if end.frame - after.frame > limits.FEED_RESUME_BYTES_MAX:
            return [], self.place, "you were away for long"
        past = _Past(self._files, self._history, wanted)
        try:
            events = await self._run_blocking(past.read, after, end, limiter=self._thread)
        except _TooMuch:
            return [], self.place, "you were away for long"
        except SagakeepError:
            _log.exception(
                "the journal cannot be read from %d on: see `sagakeep verify`", after.frame
            )
            return [], self.place, "what you have missed cannot be read"
        # Who is told of it can also ask for it: the rest of the last frame is noted within milliseconds.
        while self._committed.through < end.frame and not self._has_ended:  # noqa: ASYNC110 - has no event
            await trio.sleep(GATHER_S)
        return events, end, ""


class _Reader:
    """What waits for one reader."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._events: deque[FeedEvent] = deque()
        self._arrived = trio.Event()
        self.has_lost = False  # nothing is kept until it was told so
        self.has_ended = False

    def wants(self, name: str, status: SagaStatus) -> bool:
        return not self.has_lost and self._wanted.lets_through(name, status)

    def hear(self, events: list[FeedEvent]) -> None:
        if len(self._events) + len(events) > limits.FEED_BUFFER_EVENTS_MAX:
            self._events.clear()
            self.has_lost = True
        else:
            self._events.extend(events)
        self._arrived.set()

    def end(self) -> None:
        self.has_ended = True
        self._arrived.set()

    async def wait(self) -> None:
        """Until there is something, and a moment longer for more of it; or it has been quiet for long."""
        await trio.lowlevel.checkpoint()
        if self.has_lost or self.has_ended or len(self._events) >= EVENTS_AT_ONCE:
            return
        with trio.move_on_after(QUIET_S):
            if not self._events:
                self._arrived = trio.Event()
                await self._arrived.wait()
            await trio.sleep(GATHER_S)

    def take(self) -> list[FeedEvent]:
        """The oldest of what waits."""
        return [self._events.popleft() for _ in range(min(EVENTS_AT_ONCE, len(self._events)))]


class _TooMuch(Exception):
    """More came after a place than is worth reading."""


class _Past:
    """Reads events back from the journal. How a saga stood is read in its history once, and then known."""

    def __init__(self, files: JournalFiles, history: History, wanted: Wanted) -> None:
        self._files = files
        self._history = history
        self._wanted = wanted
        self._known: dict[str, tuple[str, SagaStatus]] = {}
        self._histories = 0

    def read(self, after: FeedPlace, end: FeedPlace) -> list[FeedEvent]:
        """What is wanted between two places, blocking. Raises _TooMuch."""
        events: list[FeedEvent] = []
        for frame in self._files.scan(after.frame):
            if frame.position >= end.frame:
                break
            for offset, record in decode_records(frame.body):
                if record.is_erased:
                    continue
                name, status = self._standing(record, Position(frame.position, offset))
                if self._wanted.lets_through(name, status):
                    of_record = feed_events(
                        record, name, status, frame.position, offset, after.journal
                    )
                    events += [one for one in of_record if one.place > after]
                if len(events) > limits.FEED_RESUME_EVENTS_MAX:
                    raise _TooMuch
        return events

    def _standing(self, record: Record, position: Position) -> tuple[str, SagaStatus]:
        """The saga's name, and its status after the record."""
        first, *rest = record.events
        if isinstance(first, SagaCreated):
            standing = first.definition.name, status_after(SagaStatus.CREATED, rest)
        elif (known := self._known.get(record.saga_id)) is not None:
            standing = known[0], status_after(known[1], record.events)
        else:
            self._histories += 1
            if self._histories > limits.FEED_RESUME_SAGAS_MAX:
                raise _TooMuch
            state = self._history.state_now(position)
            standing = state.definition.name, state.status
        self._known[record.saga_id] = standing
        return standing
