"""The journal actor: group commit. One frame, one fdatasync, for all that waits.

    append -> queue --.                              .-> committed(note, position), in order
    append -> queue ---+-- one frame, one fdatasync --+-> each appender is told its position
    append -> queue --'    (in its own thread)       '-> while it ran, the next batch has queued

While one fdatasync runs, records collect; there is no timer and no batch size to tune. An append is in doubt
from the moment it is queued until its appender is told, and nothing takes it back: a saga that is told to stop
first learns whether its last fact is durable.

A full disk stops nothing for good: nothing was written, so the same batch is tried again. Any other error of the
disk is final (the page cache can no longer be believed): every appender is told JournalBroken, `run` raises, and
with it the process ends. The restart is the cure.

The queue holds at most one record for each live saga, because a saga decides nothing while it waits for one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, Generic, Protocol, TypeVar

import msgspec
import trio

from sagakeep import limits
from sagakeep.errors import DiskFull, JournalBroken
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.runtime.histogram import Histogram
from sagakeep.runtime.journal_files import JournalFiles, Position

_log = logging.getLogger(__name__)

N = TypeVar("N")

FULL_RETRY_S: Final = 1.0
# What follows from a record (a turn, an attempt) is then done by others while its saga is still in the cache:
# with 512 it was fetched from memory three times, which was a tenth of what a saga cost.
NOTES_BETWEEN_CHECKPOINTS: Final = 64


class Appender(Protocol):
    """Whoever appends one record and waits; exactly one of the two is called."""

    def durable(self, position: Position) -> None: ...

    def refused(self, error: JournalBroken) -> None: ...


class _Append(msgspec.Struct, Generic[N], frozen=True):
    note: N
    appender: Appender


class Journal(Generic[N]):
    """Appends records durably.

    `committed` is called for each record, in order, once it is durable and before its appender is told;
    `synced` after each frame with the position that everything durable lies below.
    """

    def __init__(
        self,
        files: JournalFiles,
        committed: Callable[[N, Position], None],
        synced: Callable[[int], None],
        run_blocking: RunBlocking = in_thread,
        commit_bytes: int = limits.COMMIT_BYTES_TARGET,
    ) -> None:
        self.files = files
        self._commit_bytes = commit_bytes
        self._run_blocking = run_blocking
        self._committed = committed
        self._synced = synced
        self._records: list[bytes] = []  # what is queued, and beside it who waits for which
        self._appends: list[_Append[N]] = []
        self._queued_bytes = 0
        # What is being written, and whom it concerns does not know it to be durable. Freed one by one: two
        # thousand at once held the loop for 20 ms.
        self._batch: deque[_Append[N]] = deque()
        self._writer: trio.lowlevel.Task | None = None
        self._sealing: tuple[int, trio.Event] | None = None
        self._thread = trio.CapacityLimiter(1)  # of its own: DNS look-ups must not delay a commit
        self._trouble: Exception | None = None
        self.commit_seconds = (
            Histogram()
        )  # of a write and its fdatasync, as the sagas wait for them
        self.full = ""  # why appends wait for space, or ""
        self.writing_since_s: float | None = None  # on trio's clock

    @property
    def queued(self) -> tuple[int, int]:
        """How many records wait to be written, and how many bytes."""
        return len(self._records), self._queued_bytes

    @property
    def has_room(self) -> bool:
        """Does less than PENDING_BYTES_MAX wait? Beyond it no new saga is to be begun."""
        return self._queued_bytes < limits.PENDING_BYTES_MAX

    def append(self, data: bytes, note: N, appender: Appender) -> None:
        """Queue one record; the appender is told when it is durable, or in doubt for good."""
        if self._trouble is not None:
            appender.refused(JournalBroken(str(self._trouble)))
            return
        self._records.append(data)
        self._appends.append(_Append(note, appender))
        self._queued_bytes += len(data)
        if self._writer is not None:
            self._wake_writer()

    async def seal(self, position: int) -> None:
        """Write no more to the segment that holds a position, and say what is durable, between two frames.

        Waits until that was done, or tried on a disk that is full. One call at a time.
        """
        done = trio.Event()
        self._sealing = position, done
        if self._writer is not None:
            self._wake_writer()
        await done.wait()

    async def run(self) -> None:
        """Write what is queued, for ever. Raises JournalBroken."""
        try:
            while True:
                if self._sealing is not None:
                    await self._seal(*self._sealing)
                if not self._records:
                    await self._wait_for_work()
                    continue
                await self._commit(self._take_batch())
        finally:
            self._refuse_all()

    def _wake_writer(self) -> None:
        writer, self._writer = self._writer, None
        assert writer is not None, "it waits"
        trio.lowlevel.reschedule(writer)

    async def _seal(self, position: int, done: trio.Event) -> None:
        self._sealing = None
        with trio.CancelScope(shield=True):
            try:
                await self._run_blocking(self.files.seal, position, limiter=self._thread)
            except DiskFull as error:
                _log.warning("no new segment is begun now: %s", error)
            except Exception as error:
                self._trouble = error
                raise
        self._synced(self.files.position)
        done.set()

    async def _wait_for_work(self) -> None:
        self._writer = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._writer = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _take_batch(self) -> list[bytes]:
        """Take all that is queued, or the first of it up to `commit_bytes` and one record more."""
        count, size = len(self._records), self._queued_bytes
        if size > self._commit_bytes:
            sizes = accumulate(map(len, self._records))
            count, size = next(
                (at, sum_) for at, sum_ in enumerate(sizes, start=1) if sum_ >= self._commit_bytes
            )
        records, self._records = self._records[:count], self._records[count:]
        self._batch, self._appends = deque(self._appends[:count]), self._appends[count:]
        self._queued_bytes -= size
        return records

    async def _commit(self, records: Sequence[bytes]) -> None:
        """Make a batch durable and tell its appenders; once it is being written, that is not given up."""
        while True:
            with trio.CancelScope(shield=True):
                frame = await self._write(records)
                if frame is not None:
                    await self._complete(records, frame)
                    return
            await trio.sleep(FULL_RETRY_S)  # nothing was written, so this may be cancelled

    async def _write(self, records: Sequence[bytes]) -> int | None:
        """The position of the frame, None when the disk is full and nothing was written."""
        self.writing_since_s = trio.current_time()
        try:
            frame = await self._run_blocking(self.files.append, records, limiter=self._thread)
        except DiskFull as error:
            _log.warning("the disk is full, sagas wait: %s", error)
            self.full = str(error)
            return None
        except Exception as error:
            self._trouble = error
            raise
        self.commit_seconds.note(trio.current_time() - self.writing_since_s)
        self.full, self.writing_since_s = "", None
        return frame

    async def _complete(self, records: Sequence[bytes], frame: int) -> None:
        offset = 0
        for told, data in enumerate(records, start=1):
            item = self._batch.popleft()  # whoever is told is not refused as well
            position = Position(frame, offset)
            offset += len(data)
            self._committed(item.note, position)
            item.appender.durable(position)
            if told % NOTES_BETWEEN_CHECKPOINTS == 0:
                await trio.lowlevel.checkpoint()
        self._synced(self.files.position)

    def _refuse_all(self) -> None:
        """The writer ends: what was not made durable is in doubt, and nobody is left waiting."""
        self._trouble = self._trouble or JournalBroken("the journal is closed")
        for item in (*self._batch, *self._appends):
            item.appender.refused(JournalBroken(str(self._trouble)))
        self._batch, self._appends, self._records = deque(), [], []
