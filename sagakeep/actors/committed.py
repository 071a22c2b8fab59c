"""What is durable: the one view that readers get, kept in order by the journal.

For each record, once it is durable and before its actor goes on: the state of the saga, the counters, the row of
the read model, and whoever watches. Nothing here is a second truth: all of it is rebuilt from the journal
at a start, by the same calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from sagakeep.actors.live_sagas import LiveSagas
from sagakeep.events import Record
from sagakeep.runtime.journal_files import Position
from sagakeep.runtime.mailbox import Reply
from sagakeep.state import FINAL, MOVING, SagaState, SagaStatus


class Note(msgspec.Struct, frozen=True, gc=False):
    """What one record changes: the status before it (None: it begins the saga) and the state after it."""

    before: SagaStatus | None
    state: SagaState
    record: Record


class Statistics(msgspec.Struct, frozen=True):
    """Counts of sagas that exist, how long the completed ones took, and when the last record was decided."""

    by_status: dict[SagaStatus, int]
    completed_count: int
    completed_seconds: float
    latest_utc_s: float = 0.0  # of all sagas, deleted ones too; snapshots of older versions lack it

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


class Counters:
    """Counts by status and the durations of completed sagas; O(1) for each record."""

    def __init__(self, start: Statistics | None = None) -> None:
        self.by_status = dict.fromkeys(SagaStatus, 0) | (start.by_status if start else {})
        self.completed_count = start.completed_count if start else 0
        self.completed_seconds = start.completed_seconds if start else 0.0
        self.latest_utc_s = start.latest_utc_s if start else 0.0

    def note(self, note: Note) -> None:
        before, state = note.before, note.state
        after = None if state.deleted else state.status
        if before is not None:
            self.by_status[before] -= 1
            if before is SagaStatus.COMPLETED:
                self._count_completed(-1, note)
        if after is not None:
            self.by_status[after] += 1
            if after is SagaStatus.COMPLETED:
                self._count_completed(+1, note)

    def statistics(self) -> Statistics:
        return Statistics(
            dict(self.by_status), self.completed_count, self.completed_seconds, self.latest_utc_s
        )

    def _count_completed(self, count: int, note: Note) -> None:
        ended = note.state.completed_at_utc_s
        self.completed_count += count
        self.completed_seconds += count * max(0.0, ended - note.state.created_at_utc_s)


class Watcher(Protocol):
    """Whoever wants each durable record of a saga; must be quick and must not raise. `end`: the process stops."""

    def __call__(self, state: SagaState, record: Record) -> None: ...

    def end(self) -> None: ...


class Feed(Protocol):
    """The read model, as far as this module knows it."""

    def note(self, state: SagaState, position: tuple[int, int]) -> None: ...

    def mark(self, through: int) -> None: ...


Moved = Callable[[Note, Position], None]  # whoever wants each change of a status
Noted = Callable[[Note, Position], None]  # whoever wants each record


class Committed:
    """The durable state of every live saga, and what follows from a record becoming durable."""

    def __init__(self, feed: Feed) -> None:
        self.live = LiveSagas()
        self.counters = Counters()
        self.through = 0  # every durable record below this journal position was noted
        self._feed = feed
        self._watchers: dict[str, list[Watcher]] = {}
        self._waiting: dict[str, list[Reply]] = {}
        self._has_ended = False
        self.on_synced: Callable[[], None] = lambda: None
        self.on_moved: tuple[Moved, ...] = ()  # quick, must not raise; empty while recovery lasts
        self.on_noted: tuple[Noted, ...] = ()  # the same; empty while nobody follows

    def note(self, note: Note, position: Position) -> None:
        """A record is durable; called in the order of the journal."""
        state = note.state
        saga_id = state.id
        if state.deleted or state.status in FINAL:
            self.live.discard(saga_id)
        else:
            self.live.note(state, position)
        self.counters.latest_utc_s = state.updated_at_utc_s
        if note.before is not state.status or state.deleted:
            self.counters.note(note)
            for moved in self.on_moved:
                moved(note, position)
        self._feed.note(state, position)
        for noted in self.on_noted:
            noted(note, position)
        if saga_id in self._watchers:
            for watcher in tuple(self._watchers[saga_id]):
                watcher(state, note.record)
        if state.status not in MOVING and saga_id in self._waiting:
            for reply in self._waiting.pop(saga_id):
                reply.send(state)

    def synced(self, through: int) -> None:
        """Everything below `through` is durable and was noted."""
        self.through = through
        self._feed.mark(through)
        self.on_synced()

    def watch(self, saga_id: str, watcher: Watcher) -> Callable[[], None]:
        """Call the watcher for each record from now on, until the returned function is called."""
        watchers = self._watchers.setdefault(saga_id, [])
        watchers.append(watcher)
        if self._has_ended:
            watcher.end()

        def stop() -> None:
            watchers.remove(watcher)
            if not watchers:
                self._watchers.pop(saga_id, None)

        return stop

    def when_still(self, saga_id: str) -> tuple[Reply, Callable[[], None]]:
        """A reply that gets the state when the saga next stands still, and a function that forgets it.

        It gets None when the process stops before.
        """
        reply = Reply()
        if self._has_ended:
            reply.send(None)
        replies = self._waiting.setdefault(saga_id, [])
        replies.append(reply)

        def forget() -> None:
            if reply in replies:
                replies.remove(reply)
            if not replies and self._waiting.get(saga_id) is replies:
                del self._waiting[saga_id]

        return reply, forget

    def end(self) -> None:
        """Sagas do not go on in this process: tell whoever watches one or waits for it."""
        self._has_ended = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.end()
        for replies in self._waiting.values():
            for reply in replies:
                reply.send(None)
