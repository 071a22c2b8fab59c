"""History: a saga's records, read back from the journal.

    record 1 <-- record 2 <-- record 3 <-- (the position that the read model or the live saga knows)

Each record says where the saga's record before it stands, so that a history costs no memory and no index: it is
walked from its end. Reading blocks on the disk, so it has threads of its own.
"""

from __future__ import annotations

import trio

from sagakeep.codec import decode_record
from sagakeep.errors import JournalCorrupt
from sagakeep.events import Record
from sagakeep.moment import Moment, state_at
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.runtime.journal_files import JournalFiles, Position
from sagakeep.state import SagaState
from sagakeep.transitions import fold

READERS_MAX = 2


class History:
    """Reads records of a journal; safe beside its writer."""

    def __init__(self, files: JournalFiles, run_blocking: RunBlocking = in_thread) -> None:
        self._files = files
        self._run_blocking = run_blocking
        self._threads = trio.CapacityLimiter(READERS_MAX)

    async def records(self, last: tuple[int, int], after: int = 0) -> list[Record]:
        """The records that end at `last`, oldest first, without those whose events all are up to `after`."""
        return await self._run_blocking(self.records_now, last, after, limiter=self._threads)

    async def state(self, last: tuple[int, int]) -> SagaState:
        """The fold of the records that end at `last`."""
        return await self._run_blocking(self.state_now, last, limiter=self._threads)

    async def states(self, lasts: list[tuple[int, int]]) -> list[SagaState]:
        """Several folds in one go."""
        return await self._run_blocking(
            lambda: [self.state_now(last) for last in lasts], limiter=self._threads
        )

    async def state_at(self, saga_id: str, last: tuple[int, int], moment: Moment) -> SagaState:
        """The saga whose records end at `last`, as it was at a moment. Raises SagaNotThen."""
        records = await self.records(last)
        return await self._run_blocking(state_at, saga_id, records, moment, limiter=self._threads)

    def records_now(self, last: tuple[int, int], after: int = 0) -> list[Record]:
        """As `records`, blocking."""
        records: list[Record] = []
        position: tuple[int, int] | None = last
        while position is not None:
            record = decode_record(self._files.read_record(Position(*position)))
            if record.sequence + len(record.events) - 1 <= after:
                break
            if records and not _precedes(record, records[-1]):
                raise self._corrupt(position, records[-1])
            records.append(record)
            if record.is_erased:
                break  # and what is before it counts no more
            position = record.previous
        records.reverse()
        return records

    def _corrupt(self, position: tuple[int, int], following: Record) -> JournalCorrupt:
        frame, record = position
        reason = (
            f"record at byte {record} of the frame: saga {following.saga_id!r}: event"
            f" {following.sequence} does not follow this record"
        )
        return JournalCorrupt(*self._files.place_of(frame), reason, record)

    def state_now(self, last: tuple[int, int]) -> SagaState:
        """As `state`, blocking."""
        state: SagaState | None = None
        for record in self.records_now(last):
            state = fold(state, record)
        assert state is not None, "a history has at least one record"
        return state


def _precedes(record: Record, following: Record) -> bool:
    after = record.sequence + len(record.events)
    return (record.saga_id, after) == (following.saga_id, following.sequence)
