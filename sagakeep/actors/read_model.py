"""The read model: what every saga is now, for lists and look-ups; finished sagas live nowhere else.

Theory of operation. The journal is the truth; the rows (`sagakeep.actors.rows`) are derived from it, off
the hot path, after durability:

    record durable --note--> pending --swap--> flushing --commit in a thread--> rows
                                ^                  |
                                `---- put back ----'  an error of SQLite: later again

`note` is two dict entries: the latest state of each saga. A flush takes all that is pending and writes it
with `applied_through` in one transaction; only then is it forgotten. A saga that begins and ends between
two flushes costs one insert. The flusher sleeps while nothing is pending, and else collects for
`flush_interval_s`, unless somebody waits for a flush.

A look-up goes newest to oldest: pending, flushing, rows. So it sees what was noted before it, without
waiting. A list waits for a flush and then asks the rows.

Invariants: at any instant, for every durable record below the last `mark`, a state at least as new is in
pending, flushing or the rows; and whatever instant the process dies at, for every record below
`applied_through`, one is in the rows. Writing a row again changes nothing, so the start may note again
everything from `applied_through` on.

When the rows cannot be written (the disk is full) no saga notices: flushes are tried again with backoff,
look-ups go on, and what needs a flush (`flush`, `list`, `count`) raises Unavailable until one succeeds.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import trio
from msgspec.structs import replace

from sagakeep.actors.row_file import RowFile
from sagakeep.actors.rows import Entry, Row, RowPage, Rows, row_of
from sagakeep.actors.saga_query import BadCursor, SagaQuery
from sagakeep.analytics import Analytics
from sagakeep.errors import Unavailable
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.state import SagaState

__all__ = ["BadCursor", "ReadModel", "Row", "RowPage", "SagaQuery", "Statistics"]

# What is collected in one transaction, and how far a kill sets the rows back. A saga that lives for less
# is written once; a list does not wait for it, it hurries the flush.
FLUSH_INTERVAL_S: Final = 1.0
PENDING_MAX: Final = 100_000  # states that wait for a flush before `wait_room` waits
FREED_BETWEEN_CHECKPOINTS: Final = 200  # states; ten microseconds each
RETRY_S_MIN: Final = 0.1  # after a flush that failed; doubles
RETRY_S_MAX: Final = 5.0

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)


class Statistics(msgspec.Struct, frozen=True):
    """`lag_bytes` is of the journal, not yet in the rows; `failures` are flushes failed in succession."""

    pending: int
    flushing: int
    flushes: int
    rows_written: int
    applied_through: int
    lag_bytes: int
    failures: int


class _Batch:
    """What one flush writes. `done` is set when it was written, or `failed`."""

    __slots__ = ("done", "entries", "failed", "saga_ids")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.saga_ids: dict[str, str] = {}  # by idempotency key
        self.done = trio.Event()
        self.failed = False

    def find_key(self, idempotency_key: str) -> Entry | None:
        saga_id = self.saga_ids.get(idempotency_key)
        return None if saga_id is None else self.entries[saga_id]


def _with_key(state: SagaState, earlier: Mapping[str, Entry]) -> SagaState:
    """Of a saga that was erased only the first record has its key: keep one that is not written yet."""
    if state.idempotency_key or state.id not in earlier:
        return state
    return replace(state, idempotency_key=earlier[state.id][0].idempotency_key)


class ReadModel:
    """Rows of all sagas, behind the journal by a flush at most. `run` is its task."""

    def __init__(
        self,
        path: str,
        *,
        flush_interval_s: float = FLUSH_INTERVAL_S,
        pending_max: int = PENDING_MAX,
        run_blocking: RunBlocking = in_thread,
        row_file: Callable[[str], RowFile] = RowFile,
    ) -> None:
        self.applied_through = 0  # the durable rows reflect the journal below this position
        self._rows = Rows(row_file(path))
        self._interval_s = flush_interval_s
        self._pending_max = pending_max
        self._run_blocking = run_blocking
        self._pending = _Batch()
        self._flushing = _Batch()
        self._marked = 0
        self._sleeper: trio.Event | None = None
        self._hurry = trio.Event()
        self._writing = trio.CapacityLimiter(1)  # one thread for each of the four connections
        self._finding = trio.CapacityLimiter(1)
        self._listing = trio.CapacityLimiter(1)
        self._counting = trio.CapacityLimiter(1)
        self._ended = False
        self._failures = 0
        self._flushes = 0
        self._rows_written = 0

    def open(self, journal_uuid: str = "", *, journal_end: int | None = None) -> int:
        """Open the rows, or begin anew when there are none to be trusted; return `applied_through`.

        They are trusted when they are whole, of this schema and of this journal, and reflect nothing from
        beyond `journal_end`. Blocks; call it before `run`.
        """
        self.applied_through = self._marked = self._rows.open(journal_uuid, journal_end)
        return self.applied_through

    def note(self, state: SagaState, position: tuple[int, int]) -> None:
        """A record is durable: this is the saga after it. Call it in the order of the journal.

        A start that folds the journal from its beginning tells what the rows have already.
        """
        if position[0] < self.applied_through:
            return
        batch = self._pending
        if state.deleted:
            state = _with_key(state, batch.entries)
        batch.entries[state.id] = (state, position)
        if state.idempotency_key:
            batch.saga_ids[state.idempotency_key] = state.id
        if self._sleeper is not None:
            self._sleeper.set()
            self._sleeper = None

    def mark(self, through: int) -> None:
        """Every durable record below this journal position was noted."""
        self._marked = max(self._marked, through)

    @property
    def has_room(self) -> bool:
        """Are fewer than `pending_max` states pending?"""
        return len(self._pending.entries) < self._pending_max

    async def wait_room(self) -> None:
        """Wait until fewer than `pending_max` states are pending; returns at once when they are."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.has_room:
            self._hurry.set()
            await self._pending.done.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Flush what is noted, until cancelled; then flush the rest and close the rows."""
        task_status.started()
        try:
            while True:
                await self._wait_due()
                await self._flush_pending()
        finally:
            with trio.CancelScope(
                shield=True
            ):  # as long as a transaction lasts: threads do not end
                await self._end()

    async def flush(self) -> None:
        """Wait until all that was noted before the call is committed. Raises Unavailable."""
        await trio.lowlevel.checkpoint_if_cancelled()
        batch = self._pending if self._pending.entries else self._flushing
        if not batch.entries:
            return
        if self._ended or self._failures:
            raise Unavailable("the list of sagas cannot be brought up to date")
        self._hurry.set()
        await batch.done.wait()
        if batch.failed:
            raise Unavailable("the list of sagas cannot be brought up to date")

    async def find(self, saga_id: str) -> Row | None:
        """The row of this id, deleted or not. Raises Unavailable."""
        entry = self._pending.entries.get(saga_id) or self._flushing.entries.get(saga_id)
        if entry is None:
            return await self._read(self._finding, lambda: self._rows.find(saga_id))
        await trio.lowlevel.checkpoint()
        return row_of(*entry)

    async def find_key(self, idempotency_key: str) -> Row | None:
        """The row of the saga that was created under the key, deleted or not. Raises Unavailable."""
        entry = self._pending.find_key(idempotency_key) or self._flushing.find_key(idempotency_key)
        if entry is None:
            return await self._read(self._finding, lambda: self._rows.find_key(idempotency_key))
        await trio.lowlevel.checkpoint()
        return row_of(*entry)

    async def find_many(self, saga_ids: Sequence[str]) -> dict[str, Row]:
        """The rows that there are of these ids, deleted or not. Raises Unavailable."""
        entries = self._flushing.entries | self._pending.entries
        found = {saga_id: row_of(*entries[saga_id]) for saga_id in saga_ids if saga_id in entries}
        missing = [saga_id for saga_id in saga_ids if saga_id not in found]
        if missing:
            found |= await self._read(self._finding, lambda: self._rows.find_many(missing))
        else:
            await trio.lowlevel.checkpoint()
        return found

    async def tagged(self, tag: tuple[str, str], first_us: int, last_us: int) -> set[str]:
        """The sagas with a tag that were created between two times; as `Rows.tagged`. Raises Unavailable."""
        return await self._read(self._listing, lambda: self._rows.tagged(tag, first_us, last_us))

    async def unerased(self, after: tuple[int, int], below: int, limit: int) -> Sequence[Row]:
        """Deleted sagas whose records are not erased yet, of those whose rows are written; as `Rows.unerased`.

        Raises Unavailable.
        """
        return await self._read(self._finding, lambda: self._rows.unerased(after, below, limit))

    async def erase(self, saga_ids: Sequence[str]) -> None:
        """The records of these deleted sagas are erased. Raises Unavailable."""
        await self._read(self._writing, lambda: self._rows.erase(saga_ids))

    async def list(self, query: SagaQuery) -> RowPage:
        """A page of all that was noted before the call. Raises BadCursor, Unavailable."""
        await self.flush()
        return await self._read(self._listing, lambda: self._rows.page(query))

    async def count(self, query: SagaQuery) -> int:
        """How many rows meet the query, from its cursor on? Raises BadCursor, Unavailable."""
        await self.flush()
        return await self._read(self._listing, lambda: self._rows.count(query))

    async def analyse(self, query: SagaQuery) -> Analytics:
        """What the newest `query.limit` sagas that meet the query have in common. Raises Unavailable."""
        await self.flush()
        return await self._read(self._counting, lambda: self._rows.analyse(query))

    def statistics(self) -> Statistics:
        return Statistics(
            pending=len(self._pending.entries),
            flushing=len(self._flushing.entries),
            flushes=self._flushes,
            rows_written=self._rows_written,
            applied_through=self.applied_through,
            lag_bytes=self._marked - self.applied_through,
            failures=self._failures,
        )

    async def _read(self, limiter: trio.CapacityLimiter, ask: Callable[[], T]) -> T:
        try:
            return await self._run_blocking(ask, limiter=limiter)
        except sqlite3.Error as error:
            raise Unavailable(f"the list of sagas cannot be read: {error}") from error

    async def _wait_due(self) -> None:
        """Wait until something is pending, and then for the interval or for who cannot wait."""
        if not self._pending.entries:
            self._sleeper = trio.Event()
            await self._sleeper.wait()
        if self._failures:
            await trio.sleep(min(RETRY_S_MIN * 2.0 ** (self._failures - 1), RETRY_S_MAX))
        else:
            with trio.move_on_after(self._interval_s):
                await self._hurry.wait()

    async def _flush_pending(self) -> None:
        """Write all that is pending; shielded, so that a batch is either forgotten or put back."""
        batch = self._flushing = self._pending
        through = self._marked
        self._pending = _Batch()
        self._hurry = trio.Event()

        def write() -> None:
            self._rows.write(batch.entries.values(), through)

        try:
            with trio.CancelScope(shield=True):
                await self._run_blocking(write, limiter=self._writing)
        except sqlite3.Error as error:
            self._put_back(batch, error)
        else:
            self._forget(batch, through)
        self._flushing = _Batch()
        batch.done.set()
        await _let_go(batch)

    def _forget(self, batch: _Batch, through: int) -> None:
        if self._failures:
            _log.info("the rows of sagas can be written again")
        self._failures = 0
        self._flushes += 1
        self._rows_written += len(batch.entries)
        self.applied_through = through

    def _put_back(self, batch: _Batch, error: sqlite3.Error) -> None:
        if not self._failures:
            _log.warning("the rows of sagas cannot be written, trying again: %s", error)
        self._failures += 1
        batch.failed = True
        later = {
            saga_id: (_with_key(state, batch.entries) if state.deleted else state, position)
            for saga_id, (state, position) in self._pending.entries.items()
        }
        self._pending.entries = batch.entries | later
        self._pending.saga_ids = batch.saga_ids | self._pending.saga_ids

    async def _end(self) -> None:
        """Flush once more, wait for the readers, close."""
        self._ended = True
        if self._pending.entries or self._marked > self.applied_through:
            await self._flush_pending()
        async with self._finding, self._listing, self._counting:
            await self._run_blocking(self._rows.close, limiter=self._writing)


async def _let_go(batch: _Batch) -> None:
    """Free what was written, a few at a time: a hundred thousand states at once take as long as a slow disk."""
    while batch.entries and not batch.failed:
        for _ in range(min(len(batch.entries), FREED_BETWEEN_CHECKPOINTS)):
            batch.entries.popitem()
        await trio.lowlevel.checkpoint()
