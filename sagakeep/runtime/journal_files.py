"""The journal's files: append records durably, read them back, and open all of it after any stop.

Theory of operation. `frame` is the unit of durability, `segment` the unit of space,
`journal_recovery` the judge of what an earlier process left behind; here they become one endless
log.

    position  0        128                           p                  p        p + 128
              +--------+---------+---------+---------+ - - - - - - +    +--------+-------
    files     | header | frame   | frame   | frame   | spare room  |    | header | frame
              +--------+---------+---------+---------+ - - - - - - +    +--------+-------
               segment 1 from base 0                                     segment 2 from base p

A position is a byte of the log and stays valid for ever. Room that is left at the end of a
segment has no positions: the next segment begins where the last frame ended. Opening never
appends to what is there; it begins a new segment of the next epoch.

The writer has three states. In order: appends work. Full: the next segment could not be made,
nothing was changed, the next append tries again. Broken: a write, fdatasync or roll failed, so
the last frame is in doubt; every append raises at once and nothing is synced again, for a second
fsync that succeeds proves nothing. Only a new start, which reads what the disk has, ends it.

All calls block. One thread appends; any thread may read.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from sagakeep import limits
from sagakeep.errors import DiskFull, JournalBroken, JournalError
from sagakeep.runtime import frame, segment
from sagakeep.runtime.amendment import finish_amendment
from sagakeep.runtime.archiving import amend_archive, archive_segment
from sagakeep.runtime.disk import FULL_ERRNOS, Disk, DiskFile, DiskLock
from sagakeep.runtime.journal_check import JournalVerification, verify_journal
from sagakeep.runtime.journal_directory import Paths
from sagakeep.runtime.journal_reader import JournalReader, Position, ScannedFrame
from sagakeep.runtime.journal_recovery import RecoveryReport, recover
from sagakeep.runtime.segment import Segment

__all__ = [
    "JournalFiles",
    "JournalStatistics",
    "JournalVerification",
    "OpenedJournal",
    "Position",
    "RecoveryReport",
    "ScannedFrame",
    "open_journal",
    "verify_journal",
]


class JournalStatistics(NamedTuple):
    """What was written since the journal was opened; `segments` and `archived` are in the directory."""

    frames: int
    records: int
    bytes: int
    fdatasyncs: int
    segments: int
    archived: int


class OpenedJournal(NamedTuple):
    """A journal that is ready to be appended to, and what its recovery did."""

    files: JournalFiles
    report: RecoveryReport


class JournalFiles:
    """A journal that is open for writing; see the theory of operation."""

    def __init__(
        self,
        disk: Disk,
        paths: Paths,
        lock: DiskLock,
        reader: JournalReader,
        first: Segment,
        segment_bytes: int,
        salt: Callable[[], bytes],
        archived: frozenset[int] = frozenset(),
    ) -> None:
        """Begin the segment `first`; the caller has put everything before it in order."""
        self._disk = disk
        self._paths = paths
        self._lock = lock
        self._reader = reader
        self._segment_bytes = segment_bytes
        self._salt = salt
        self._archived = archived  # numbers of segments
        self.uuid = first.uuid.hex()  # of the directory, for life
        self.end_found = first.base  # where the journal ended when it was opened
        self._trouble = ""  # why the journal is broken or closed
        self._frames = self._records = self._bytes = self._fdatasyncs = 0
        self._use(first, segment_bytes)

    @property
    def position(self) -> int:
        """Every frame so far stands before this position, every later one at it or after it."""
        return self._position

    def append(self, records: Sequence[bytes]) -> int:
        """Write the records as one frame and return its position; durable when it returns.

        Raises `ValueError` for nothing or too much, `DiskFull` when nothing was written for want
        of space and a later append may succeed, `JournalBroken` when this frame is in doubt and
        no other will follow.
        """
        if self._trouble:
            raise JournalBroken(self._trouble)
        body = b"".join(records)
        if not 0 < len(body) <= limits.FRAME_BYTES_MAX:
            raise ValueError(
                f"a frame has 1 to {limits.FRAME_BYTES_MAX} bytes of records, not {len(body)}"
            )
        data, crc = frame.encode(body, len(records), self._end, self._place)
        if self._end + len(data) + segment.CLOSED_BYTES > self._capacity:
            self._roll(len(data))
            data, crc = frame.encode(body, len(records), self._end, self._place)
        position = self._position
        self._write(data, crc)
        self._frames += 1
        self._records += len(records)
        return position

    def read_record(self, position: Position) -> bytes:
        """Return a frame's body from a record's first byte to the frame's end; from any thread.

        Raises `ValueError` if no durable record can be there, `JournalCorrupt` if the frame is
        damaged, `JournalError` if the disk cannot read it now.
        """
        return self._reader.read_record(position)

    def scan(self, after: int = 0) -> Iterator[ScannedFrame]:
        """Yield the durable frames that stand at `after` or later, in order; from any thread."""
        return self._reader.scan(after)

    def place_of(self, position: int) -> tuple[str, int]:
        """Return the file that holds a position, and the offset there; from any thread."""
        return self._reader.place_of(position)

    def archive_next(self, below: int) -> Segment | None:
        """Archive the oldest segment that is not, if it lies wholly below a position; None if there is none.

        Blocks, for a thread of its own; one at a time. Raises as `archive_segment`.
        """
        segments = self._reader.segments
        for this, following in pairwise(segments):
            if this.number not in self._archived:
                if following.base > below:
                    return None
                archive_segment(self._disk, self._paths, this, following)
                self._archived |= {this.number}
                self._reader.forget(this)
                return this
        return None

    @property
    def archived_through(self) -> int:
        """Every segment below this position is archived."""
        segments = self._reader.segments
        return next(this.base for this in segments if this.number not in self._archived)

    def end_of_segment(self, position: int) -> int | None:
        """Return where the segment that holds a position ends, None if it is the one that is written to."""
        return next((one.base for one in self._reader.segments if one.base > position), None)

    def amend(
        self,
        places: Mapping[int, Collection[int]],
        change: Callable[[bytes, Collection[int]], bytes],
    ) -> Iterator[Segment]:
        """Change bodies of archived frames, one segment after the other, oldest first; yields each that is done.

        Blocks, for a thread of its own; one at a time. Arguments and errors as of `amend_archive`.
        """
        positions = sorted(places)
        for this, following in pairwise(self._reader.segments):
            first, end = (bisect_left(positions, one.base) for one in (this, following))
            if here := {at: places[at] for at in positions[first:end]}:
                amend_archive(self._disk, self._paths, this, here, change)
                self._reader.forget(this)
                yield this

    def seal(self, position: int) -> None:
        """Begin the next segment if a position is in the one that is written to. In the thread that appends.

        Raises `DiskFull`, or `JournalBroken`, as `append` does.
        """
        if self._trouble:
            raise JournalBroken(self._trouble)
        if position >= self._segment.base:
            self._roll(0)

    def free_bytes(self) -> int:
        """Return the space that is left on the journal's file system."""
        return self._disk.free_bytes(self._paths.root)

    def statistics(self) -> JournalStatistics:
        """Return the counters as they are now."""
        segments = len(self._reader.segments)
        return JournalStatistics(
            self._frames,
            self._records,
            self._bytes,
            self._fdatasyncs,
            segments,
            len(self._archived),
        )

    def close(self, clean: bool = True) -> None:
        """Mark a clean end unless told otherwise, and let go of the directory; may be repeated.

        Raises `JournalBroken` when the mark could not be written; the next open recovers, as
        after a kill.
        """
        try:
            if clean and not self._trouble:
                data, crc = frame.encode(b"", 0, self._end, self._place, frame.CLOSED)
                self._write(data, crc)
                self._trim()
        finally:
            self._trouble = self._trouble or "the journal is closed"
            self._file.close()
            self._reader.close()
            self._lock.release()

    def _use(self, begun: Segment, capacity: int) -> None:
        """Begin a segment and append to it from now on."""
        self._file: DiskFile = segment.begin(self._disk, self._paths, begun, capacity)
        self._segment = begun
        self._capacity = capacity
        self._place = begun.place
        self._end = segment.HEADER_BYTES
        self._position = begun.base + self._end  # one assignment: other threads read it
        self._reader.add_segment(begun)

    def _roll(self, frame_length: int) -> None:
        """Go on in a new segment, which has room for the frame."""
        old = self._file
        capacity = segment.HEADER_BYTES + frame_length + segment.CLOSED_BYTES
        following = self._segment._replace(
            number=self._segment.number + 1,
            base=self._position,
            previous_crc=self._place.previous_crc,
            salt=self._salt(),
        )
        self._trouble = "the next segment was begun and not finished"
        try:
            self._use(following, max(self._segment_bytes, capacity))
            old.close()
        except DiskFull:
            self._trouble = ""
            raise
        except OSError as error:
            raise self._broken(error) from error
        self._trouble = ""

    def _write(self, data: bytes, crc: int) -> None:
        """Make one encoded frame durable."""
        self._trouble = "a frame was begun and not finished"
        try:
            self._file.pwrite(data, self._end)
            self._file.fdatasync()
        except OSError as error:
            raise self._broken(error) from error
        self._trouble = ""
        self._end += len(data)
        self._position += len(data)
        self._place = self._place._replace(previous_crc=crc)
        self._bytes += len(data)
        self._fdatasyncs += 1
        self._reader.set_durable(self._position)

    def _trim(self) -> None:
        """Give back the room that the segment did not need."""
        try:
            self._file.truncate(self._end)
            self._file.fsync()
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: OSError) -> JournalBroken:
        path = f"{self._paths.wal}/{self._segment.name}"
        self._trouble = (
            f"{path}: offset {self._end}: {error}; what was being written is in doubt: restart"
        )
        return JournalBroken(self._trouble)


def _random_16() -> bytes:
    return os.urandom(16)


def open_journal(
    disk: Disk,
    directory: str,
    *,
    now_ns: int,
    segment_bytes: int = limits.SEGMENT_BYTES,
    salt: Callable[[], bytes] = _random_16,
    uuid: Callable[[], bytes] = _random_16,
) -> OpenedJournal:
    """Lock a directory, check all of its journal, put its end in order, begin a new segment.

    `now_ns` is the wall clock, ns UTC. Makes the directory if need be (its parent must exist).
    Raises `JournalLocked`, `JournalCorrupt`, `DiskFull`, or `JournalError` for any other error of
    the disk.
    """
    paths = Paths(directory.rstrip("/") or "/")
    try:
        disk.make_directory(paths.root)
        lock = disk.lock(paths.lock)
        try:
            aside = finish_amendment(disk, paths)
            found = recover(disk, paths, now_ns=now_ns, salt=salt(), uuid=uuid())
            reader = JournalReader(disk, paths, found.segments, found.following.base)
            files = JournalFiles(
                *(disk, paths, lock, reader, found.following, segment_bytes, salt, found.archived)
            )
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        if error.errno in FULL_ERRNOS:
            raise DiskFull(f"{paths.root}: no space to open the journal: {error}") from error
        raise JournalError(f"{paths.root}: the journal cannot be opened: {error}") from error
    finished = (f"a repair was interrupted and is finished: see {aside}",) if aside else ()
    return OpenedJournal(files, found.report._replace(notes=(*finished, *found.report.notes)))
