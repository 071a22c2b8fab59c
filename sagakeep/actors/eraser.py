"""The eraser: takes what deleted sagas said out of the journal, so that it is in no file any more.

    deleted --(archived in time)--> its segment is an archive --> its records are erased, oldest segment first

Records are erased where nothing is appended any more, in archives (`runtime.archiving`), and of many sagas at
once: one rewrite of an archive for all of them. A deletion that lies in an archive lies below all snapshots, so
none of them has the saga. The record of the deletion itself stays, and says who wished it.

What is still to be erased is in the rows of the read model, and nowhere else: they are made of the journal, and a
saga that was erased in part, or wholly, is looked at again and finished.

Archiving waits for the journal to grow, and that may take long. A deletion that has waited for `after_s` has its
segment sealed, a snapshot taken behind it, and the snapshots and segments of before removed and archived.

Bytes that a repair or a torn end has set aside (`quarantine`) are removed if they name a saga that is erased.

All of it is done in a thread, with pauses; what goes wrong is tried again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import trio

from sagakeep import limits
from sagakeep.actors.archiver import Archiver
from sagakeep.actors.committed import Note
from sagakeep.actors.journal import Journal
from sagakeep.actors.read_model import ReadModel, Row
from sagakeep.actors.snapshots import Snapshots
from sagakeep.codec import CodecError
from sagakeep.erasure import erase_records, link_of
from sagakeep.errors import JournalError, Unavailable
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_files import JournalFiles, Position
from sagakeep.runtime.quarantine import drop_from_quarantine
from sagakeep.runtime.snapshot_file import drop_snapshots_below, snapshot_positions

_log = logging.getLogger(__name__)

PAUSE_S: Final = 0.2  # after each archive, and each hundred sagas: at most half of a core
ROUND_S: Final = 1.0  # between two looks, however many sagas are deleted meanwhile
AGAIN_S: Final = 60.0  # until what could not be done, or not yet, is tried again
FOUND_AT_ONCE: Final = 100  # sagas whose records are looked for in one go

_START: Final = (-1, -1)
_EVERYTHING: Final = 1 << 62

Places = dict[int, set[int]]  # by the position of a frame, the records in its body


class Parts(NamedTuple):
    """Whom the eraser works with."""

    files: JournalFiles
    disk: Disk
    directory: str
    read_model: ReadModel
    journal: Journal[Note]
    snapshots: Snapshots
    archiver: Archiver


class Eraser:
    """Erases what `moved` and `wake` say there may be. `run` is its task."""

    def __init__(
        self,
        parts: Parts,
        now_utc_s: Callable[[], float],
        run_blocking: RunBlocking = in_thread,
        after_s: float = limits.ERASE_AFTER_S,
    ) -> None:
        self.erased = 0  # sagas, since the start
        self._waiting_since_utc_s: float | None = None  # the oldest deletion that is not erased
        self._parts = parts
        self._now_utc_s = now_utc_s
        self._run_blocking = run_blocking
        self._after_s = after_s
        self._thread = trio.CapacityLimiter(1)
        self._woken = trio.Event()

    @property
    def waiting_s(self) -> float:
        """How long the oldest deletion has waited to be erased, 0 if there is none."""
        since_utc_s = self._waiting_since_utc_s
        return 0.0 if since_utc_s is None else max(0.0, self._now_utc_s() - since_utc_s)

    def moved(self, note: Note, _position: Position) -> None:
        """A saga has another status, or was deleted."""
        if note.state.deleted:
            self._woken.set()

    def wake(self) -> None:
        """A segment was archived."""
        self._woken.set()

    async def run(self) -> None:
        """Erase what can be, for ever."""
        while True:
            self._woken = trio.Event()
            next_s = await self._look()
            with trio.move_on_after(next_s):
                await self._woken.wait()
            await trio.sleep(ROUND_S)

    async def _look(self) -> float:
        """Do what can be done now; return after how long there may be more."""
        try:
            await self._parts.read_model.flush()
            await self._erase_all()
            oldest = await self._oldest()
            if oldest is None:
                return float("inf")
            left_s = oldest.updated_at_utc_s + self._after_s - self._now_utc_s()
            if left_s > 0.0:
                return left_s
            await self._hurry(oldest.frame)
        except (OSError, JournalError, Unavailable) as error:
            _log.warning("nothing is erased now: %s", error)
        return AGAIN_S

    async def _oldest(self) -> Row | None:
        found = await self._parts.read_model.unerased(_START, _EVERYTHING, 1)
        self._waiting_since_utc_s = found[0].updated_at_utc_s if found else None
        return found[0] if found else None

    # Erasing

    async def _erase_all(self) -> None:
        """Erase every deletion that lies below all snapshots and in an archive."""
        parts, after = self._parts, _START
        kept = snapshot_positions(parts.disk, parts.directory)
        below = min(parts.files.archived_through, *kept, _EVERYTHING)
        while True:
            due = await parts.read_model.unerased(after, below, limits.ERASE_SAGAS_AT_ONCE)
            if not due:
                return
            await self._erase(due)
            after = due[-1].frame, due[-1].offset

    async def _erase(self, due: Sequence[Row]) -> None:
        places: Places = {}
        done: list[str] = []
        for start in range(0, len(due), FOUND_AT_ONCE):
            some = due[start : start + FOUND_AT_ONCE]
            done += await self._run_blocking(self._find, some, places, limiter=self._thread)
            await trio.sleep(PAUSE_S)
        amending = self._parts.files.amend(places, erase_records)
        while True:
            if await self._run_blocking(next, amending, None, limiter=self._thread) is None:
                break
            await trio.sleep(PAUSE_S)
        await self._run_blocking(self._clear_quarantine, done, limiter=self._thread)
        await self._parts.read_model.erase(done)
        self.erased += len(done)

    def _find(self, due: Iterable[Row], places: Places) -> list[str]:
        """Add the places of all records that are to be erased; return the sagas that all were found of."""
        found = []
        for row in due:
            try:
                records = list(self._records_of(row))
            except (JournalError, CodecError, ValueError) as error:
                fields = {"saga": row.saga_id}
                _log.warning("saga %s is not erased: %s", row.saga_id, error, extra=fields)
                continue
            for position in records:
                places.setdefault(position.frame, set()).add(position.offset)
            found.append(row.saga_id)
        return found

    def _records_of(self, row: Row) -> Iterator[Position]:
        """Yield where the records of a saga stand, from the last one back, but for those that may stay."""
        position: Position | None = Position(row.frame, row.offset)
        while position is not None:
            link = link_of(self._parts.files.read_record(position))
            if link.saga_id != row.saga_id:
                raise ValueError(f"{position}: is a record of saga {link.saga_id!r}")
            if not (link.is_erased or link.is_deletion):
                yield position
            position = None if link.previous is None else Position(*link.previous)

    def _clear_quarantine(self, saga_ids: Sequence[str]) -> None:
        for path in drop_from_quarantine(self._parts.disk, self._parts.directory, saga_ids):
            _log.warning("%s was removed: it named sagas that are erased", path)

    # In time

    async def _hurry(self, position: int) -> None:
        """Bring the segment that holds a position into an archive, step by step: one at each look."""
        parts = self._parts
        end = parts.files.end_of_segment(position)
        if end is None or max(snapshot_positions(parts.disk, parts.directory), default=0) < end:
            parts.snapshots.want()
            await parts.journal.seal(position)
            return
        await self._run_blocking(
            drop_snapshots_below, parts.disk, parts.directory, end, limiter=self._thread
        )
        await parts.archiver.archive_below(end)
