"""The audit: a reading of a whole journal that trusts nothing, of a directory that may be in use.

Every frame is checked (`runtime.journal_check`), every record decoded, every saga folded event by event,
and each snapshot held against the fold at its position. What is wrong ends it, with file and offset.
Nothing is locked and nothing changed.

Live sagas are kept in memory; of one that is finished only its id. When it is woken, by an undo or a
retry, its state is folded again from its own records, each of which says where the one before it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from sagakeep.codec import (
    CodecError,
    decode_record,
    decode_records,
    decode_state,
    encode_state,
)
from sagakeep.errors import JournalCorrupt
from sagakeep.events import Record
from sagakeep.offline.salvage import segment_paths
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_check import read_layout
from sagakeep.runtime.journal_directory import Paths
from sagakeep.runtime.journal_files import Position, ScannedFrame, verify_journal
from sagakeep.runtime.journal_reader import JournalReader
from sagakeep.runtime.snapshot_file import Snapshot, read_snapshots
from sagakeep.state import FINAL, SagaState
from sagakeep.transitions import ImpossibleEvent, buried, fold

_ALL_BYTES: Final = 1 << 62  # up to there the journal is read: all that is there


class AuditedRecord(NamedTuple):
    """A record, and the saga after it."""

    record: Record
    state: SagaState


class AuditSummary(NamedTuple):
    """What was read. `torn_bytes` were being written when the process ended, which is no error."""

    segments: int
    frames: int
    records: int
    events: int
    sagas: dict[str, int]  # by status
    deleted: int
    torn_bytes: int
    notes: tuple[str, ...]
    end: int  # position where the journal ends
    latest_us: int  # when its last record was decided, microseconds since 1970, UTC; 0 for none

    @property
    def live(self) -> int:
        """How many sagas are not final."""
        return sum(count for status, count in self.sagas.items() if status not in FINAL)


class Audit:
    """Iterate it once, then ask for the summary."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        self._paths = Paths(directory.rstrip("/") or "/")
        self._verification = verify_journal(disk, directory)
        self._live: dict[str, tuple[SagaState, Position]] = {}
        self._statuses: Counter[str] = Counter()
        self._ids: set[str] = set()
        self._erased: set[str] = set()
        self._events = 0
        self._deleted = 0
        self._latest_us = 0
        self._notes: tuple[str, ...] = ()
        self._reader: JournalReader | None = None

    def __iter__(self) -> Iterator[AuditedRecord]:
        """Yield every record in order.

        Raises JournalCorrupt at the first damage, JournalError when there is no journal.
        """
        snapshots = self._read_snapshots()  # before the frames, so that all they cover is there
        for frame in self._verification:
            while snapshots and frame.position >= snapshots[-1].position:
                self._compare(snapshots.pop())
            yield from self._audit_frame(frame)
        for snapshot in reversed(snapshots):
            if snapshot.position > self._verification.end:
                raise self._ended_early(snapshot)
            self._compare(snapshot)

    def summary(self) -> AuditSummary:
        read = self._verification
        return AuditSummary(
            segments=read.segments,
            frames=read.frames,
            records=read.records,
            events=self._events,
            sagas={status: count for status, count in self._statuses.items() if count},
            deleted=self._deleted,
            torn_bytes=read.torn_bytes,
            notes=read.notes + self._notes,
            end=read.end,
            latest_us=self._latest_us,
        )

    def _audit_frame(self, frame: ScannedFrame) -> Iterator[AuditedRecord]:
        offset = 0
        try:
            records = decode_records(frame.body)
            for offset, record in records:
                state = self._apply(record, Position(frame.position, offset))
                yield AuditedRecord(record, state)
        except (CodecError, ImpossibleEvent) as error:
            reason = f"record at byte {offset} of the frame: {error}"
            raise self._corrupt(frame.position, reason, offset) from error
        if len(records) != frame.count:
            reason = f"the frame has {len(records)} records, its header says {frame.count}"
            raise self._corrupt(frame.position, reason)

    def _apply(self, record: Record, position: Position) -> SagaState:
        before = self._before(record)
        state = fold(before, record)
        self._events += len(record.events)
        self._latest_us = round(record.at_utc_s * 1e6)
        self._ids.add(record.saga_id)
        if record.is_erased:
            self._erased.add(record.saga_id)
        was_counted = before is not None and not before.deleted
        if before is not None and was_counted:
            self._statuses[before.status] -= 1
        if not state.deleted:
            self._statuses[state.status] += 1
        elif before is None or was_counted:
            self._deleted += 1
        if not state.deleted and state.status not in FINAL:
            self._live[record.saga_id] = state, position
        return state

    def _before(self, record: Record) -> SagaState | None:
        """Return the saga before a record, which must name the record before it."""
        if record.saga_id in self._erased:
            return buried(record)
        live = self._live.pop(record.saga_id, None)
        if live is not None:
            if record.previous != live[1]:
                raise ImpossibleEvent(f"saga {record.saga_id!r}: the record before is elsewhere")
            return live[0]
        if (record.previous is not None) != (record.saga_id in self._ids):
            raise ImpossibleEvent(f"saga {record.saga_id!r}: it began twice, or before the journal")
        return None if record.previous is None else self._fold_again(record)

    def _fold_again(self, following: Record) -> SagaState:
        """Fold the records before a record from the first one on."""
        records: list[Record] = []
        while following.previous is not None:
            try:
                data = self._read(Position(*following.previous))
            except ValueError as error:
                raise ImpossibleEvent(f"saga {following.saga_id!r}: {error}") from error
            following = decode_record(data)
            records.append(following)
            if following.is_erased:
                break
        state: SagaState | None = None
        for record in reversed(records):
            state = fold(state, record)
        assert state is not None, "a record with a previous one has at least that"
        return state

    def _read(self, position: Position) -> bytes:
        """Read one record; the segments are looked up again when a running server has begun one."""
        reader = self._reader
        if reader is None or reader.segments[-1].base <= position.frame:
            layout = read_layout(self._disk, self._paths)
            assert layout is not None, "the journal was there when it was first read"
            if reader is None or len(layout.segments) > len(reader.segments):
                reader = JournalReader(self._disk, self._paths, layout.segments, _ALL_BYTES)
                self._close()
                self._reader = reader
        return reader.read_record(position)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _corrupt(self, position: int, reason: str, record: int | None = None) -> JournalCorrupt:
        """Name the file and offset of a frame."""
        return JournalCorrupt(*self._place_of(position), reason, record)

    def _place_of(self, position: int) -> tuple[str, int]:
        found = segment_paths(self._disk, self._paths)
        _, base, path = max(one for one in found if one[1] <= position)
        return path, position - base

    # Snapshots

    def _read_snapshots(self) -> list[Snapshot]:
        """Return the snapshots that are whole, newest first."""
        whole = []
        for found in read_snapshots(self._disk, self._directory):
            if isinstance(found, Snapshot):
                whole.append(found)
            else:
                self._notes += (f"{found.path} will not be used: {found.reason}",)
        return whole

    def _ended_early(self, snapshot: Snapshot) -> JournalCorrupt:
        reason = f"the journal ends before its snapshot at {snapshot.position}: frames are lost"
        end = self._verification.end
        return JournalCorrupt(*(self._place_of(end) if end else (self._paths.wal, 0)), reason)

    def _compare(self, snapshot: Snapshot) -> None:
        """Raise unless the snapshot has exactly the sagas that are live at its position, as they are."""
        path = f"{self._paths.snap}/{snapshot.position:016x}.snap"
        live = dict(self._live)
        for chunk in snapshot.chunks[1:]:
            try:
                state, position = decode_state(chunk)
            except CodecError as error:
                raise JournalCorrupt(path, 0, str(error)) from error
            known = live.pop(state.id, None)
            if known is None or encode_state(*known) != encode_state(state, position):
                raise JournalCorrupt(path, 0, f"saga {state.id!r} differs from its events")
        for saga_id in live:
            raise JournalCorrupt(path, 0, f"saga {saga_id!r} is missing")
