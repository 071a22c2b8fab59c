"""What a start and a check make of a directory, held against what was acknowledged.

    same          every acknowledged frame is there, and the fold is the same
    passed over   the same, though a snapshot was not used
    refused       neither the start nor the check goes on, both name the file and the offset, nothing is changed
    cut           the journal ends earlier, at a frame, and the fold is that of the frames before it

Anything else is `Wrong`: another state, or an exception that is no refusal. The start is the product's own:
`open_journal` and `recover`; the check is `Audit`. Both fold only what was not folded before: the same frames
and the same snapshot give the same answer.
"""

from __future__ import annotations

from typing import NamedTuple

import trio

from sagakeep.actors.committed import Committed, Statistics
from sagakeep.actors.recovery import recover
from sagakeep.codec import encode_state
from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.offline.audit import Audit
from sagakeep.runtime.blocking import in_turn
from sagakeep.runtime.journal_files import OpenedJournal, ScannedFrame, open_journal, verify_journal
from sagakeep.runtime.snapshot_file import Snapshot, read_newest_snapshot
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.state import SagaState

from .sample import DATA, SEGMENT_BYTES


class Wrong(Exception):
    """A promise is broken; the text says which."""


class Fold(NamedTuple):
    """What recovery makes of a journal: the live sagas, as a snapshot has them, and the counts."""

    live: dict[str, bytes]
    statistics: Statistics


class Seen(NamedTuple):
    """What became of one directory."""

    verdict: str
    file: str = ""
    offset: int = -1
    reason: str = ""
    frames: int = -1  # how many of the acknowledged ones are there


class Truth:
    """A good directory, and what each damaged copy of it is held against."""

    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        opened = _open(disk.copy())
        self.frames = list(opened.files.scan())
        self._audited: dict[object, str] = {}
        self._folds: dict[int, Fold] = {}

    def fold_of(self, count: int) -> Fold:
        """The fold of the first `count` frames, from their records alone."""
        if count not in self._folds:
            self._folds[count] = _fold_records(self.frames[:count])
        return self._folds[count]

    def look(self, disk: MemoryDisk) -> Seen:
        """Start and check a damaged copy. Raises Wrong; whatever else is raised is a crash, and as wrong."""
        started = disk.copy()
        try:
            opened = _open(started)
        except JournalError as error:
            return _refused(disk, started, error)
        frames = list(opened.files.scan())
        if frames != self.frames[: len(frames)]:
            raise Wrong("the start has frames that were never acknowledged there")
        _assert_kept_aside(disk, started, opened)
        snapshot = read_newest_snapshot(started, DATA)
        key = (len(frames), snapshot and snapshot.position, snapshot and tuple(snapshot.chunks))
        if key not in self._audited:
            self._audited[key] = self._recover(disk, opened, len(frames))
        if self._audited[key]:
            return Seen("refused", DATA, opened.files.position, self._audited[key])
        if len(frames) < len(self.frames):
            return Seen("cut", frames=len(frames))
        passed_over = _position(snapshot) != _position(read_newest_snapshot(self.disk, DATA))
        return Seen("passed over" if passed_over else "same", frames=len(frames))

    def _recover(self, disk: MemoryDisk, opened: OpenedJournal, count: int) -> str:
        """Fold as the engine does and as the check does; "" if both have the right state, else the refusal."""
        audit = Audit(disk, DATA)
        try:
            found = trio.run(_fold_as_engine, opened)
        except JournalCorrupt as error:
            try:
                list(audit)
            except JournalCorrupt as other:
                return f"{error} / {other}"
            raise Wrong(f"the start is refused and the check passes: {error}") from error
        list(audit)
        if found != self.fold_of(count):
            raise Wrong("another state was recovered")
        return ""


class _Rows:
    """As much of the read model as recovery asks for: it has every row."""

    applied_through = 1 << 62

    def note(self, state: SagaState, position: tuple[int, int]) -> None:
        pass

    def mark(self, through: int) -> None:
        pass

    async def wait_room(self) -> None:
        pass


async def _fold_as_engine(opened: OpenedJournal) -> Fold:
    rows = _Rows()
    committed = Committed(rows)
    disk = opened.files._disk
    await recover(opened.files, disk, DATA, committed, rows, in_turn)
    return _fold_of(committed)


def _fold_records(frames: list[ScannedFrame]) -> Fold:
    """Fold frames as a process does that has just written them."""

    class Files:
        position = end_found = 1 << 62

        def scan(self, after: int) -> list[ScannedFrame]:
            return frames

        def read_record(self, position: tuple[int, int]) -> bytes:
            (body,) = (one.body for one in frames if one.position == position[0])
            return body[position[1] :]

    async def run() -> Fold:
        rows = _Rows()
        committed = Committed(rows)
        await recover(Files(), MemoryDisk(), DATA, committed, rows, in_turn)
        return _fold_of(committed)

    return trio.run(run)


def _fold_of(committed: Committed) -> Fold:
    live = {saga_id: encode_state(*known) for saga_id, known in committed.live.items()}
    return Fold(live, committed.counters.statistics())


def _open(disk: MemoryDisk) -> OpenedJournal:
    salt = b"campaign's salt!"
    return open_journal(
        disk, DATA, now_ns=1, segment_bytes=SEGMENT_BYTES, salt=lambda: salt, uuid=lambda: salt
    )


def _refused(disk: MemoryDisk, started: MemoryDisk, error: JournalError) -> Seen:
    """The check must refuse with the same words, and the start must have changed nothing."""
    try:
        for _ in verify_journal(disk, DATA):
            pass
    except JournalError as other:
        if str(other) != str(error):
            raise Wrong(f"the start says {error}, the check says {other}") from None
    else:
        raise Wrong(f"the start is refused and the check passes: {error}")
    if _content(started) != _content(disk):
        raise Wrong("a start that was refused has changed the directory")
    if not isinstance(error, JournalCorrupt):
        return Seen("refused", reason=str(error))
    return Seen("refused", error.file, error.offset, error.reason)


def _content(disk: MemoryDisk) -> dict[str, bytes]:
    return {path: bytes(inode.data) for path, inode in disk.names.items()}


def _assert_kept_aside(disk: MemoryDisk, started: MemoryDisk, opened: OpenedJournal) -> None:
    report = opened.report
    if report.cut_bytes:
        kept = started.get(report.quarantined)
        last = max(path for path in disk.paths() if path in _segments(disk))
        if len(kept) != report.cut_bytes or kept not in disk.get(last):
            raise Wrong("bytes were cut and not kept aside")


def _segments(disk: MemoryDisk) -> set[str]:
    return {path for path in disk.paths() if path.endswith(".seg")}


def _position(snapshot: Snapshot | None) -> int:
    return -1 if snapshot is None else snapshot.position
