"""Backups: a copy of a data directory at one point, of a journal that a server may be writing to.

Theory of operation. What is copied first does not change any more, what tells the point is read last:

    archives and sealed segments, oldest first     again, while the server seals more of them
    snapshots
    the last segment, up to its last whole frame   this is the point
    --until: what is beyond it is left out         (decided on the copy, which nobody changes)
    audit of the copy, as `sagakeep verify` does
    BACKUP renamed into place                      now the backup is this one
    files that only the backup before had          removed

So whatever was erased from an archive that is copied was deleted before the point. A segment that is archived
while it is copied is still read to its end, or found in its archive; one that is erased in is another file.
The last segment is synced before it is read: what is copied of it is durable where it comes from.

Every file is named after its content (`backup_note`): what is there already
is read, compared and not copied again. Nothing of the source is changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from sagakeep.errors import BackupRefused, JournalCorrupt, JournalError, JournalLocked
from sagakeep.offline.audit import Audit, AuditSummary
from sagakeep.offline.backup_note import FILES, NAME, BackupFile, BackupNote, Point, read_backup
from sagakeep.offline.backup_view import BackupDisk
from sagakeep.offline.repair import plan_truncation
from sagakeep.offline.until import Until, boundary_of
from sagakeep.runtime import frame, segment
from sagakeep.runtime.disk import Disk, DiskFile, DiskLock
from sagakeep.runtime.journal_check import Layout, read_moving_layout
from sagakeep.runtime.journal_directory import Head, Paths, replace_file, stage_file
from sagakeep.runtime.segment import Segment
from sagakeep.runtime.segment_source import archive_path
from sagakeep.runtime.snapshot_file import snapshot_positions

PIECE_BYTES: Final = 1 << 20  # copied at a time
TOLD_EVERY: Final = 1000  # records, between two looks at how far the audit is
ATTEMPTS_MAX: Final = 100  # to read the last segment before the server archives it: one is enough

Tell = Callable[[str, int, int], None]  # what is done, how much of it, of how much

_OTHERS: Final = frozenset({"LOCK", "lost+found", FILES, NAME, f"{NAME}.tmp"})


class BackupReport(NamedTuple):
    """What a backup did; bytes are those of files."""

    point: Point
    deleted: int
    copied_files: int
    copied_bytes: int
    kept_files: int
    kept_bytes: int


def silent(_what: str, _done: int, _of: int) -> None:
    """Tell nobody."""


def take_backup(
    disk: Disk, source: str, destination: str, until: Until | None = None, tell: Tell = silent
) -> BackupReport:
    """Make, or bring up to date, the backup of a data directory; durable and verified when it returns.

    Raises BackupRefused when it cannot be made there, JournalError when there is no journal
    that can be copied, and OSError; then the backup that was there before stands as it was.
    """
    _refuse_others(disk, destination)
    disk.make_directory(destination)
    lock = lock_alone(disk, f"{destination}/LOCK")
    try:
        disk.make_directory(f"{destination}/{FILES}")
        disk.sync_directory(destination)
        before = read_backup(disk, destination)
        copy = _Copy(disk, Paths(source), destination, tell)
        uuid = copy.take()
        if before is not None and before.uuid != uuid:
            raise BackupRefused(
                f"{destination}: is the backup of another journal: give another directory"
            )
        files = _until(disk, destination, copy, until)
        summary = _verified(disk, source, destination, files, tell)
        point = Point(summary.end, summary.latest_us, sum(summary.sagas.values()), summary.live)
        if before is not None and before.point.position > point.position:
            raise BackupRefused(
                f"{destination}: reaches position {before.point.position}, which is further than"
                f" {point.position}: give another directory"
            )
        disk.sync_directory(f"{destination}/{FILES}")
        replace_file(disk, f"{destination}/{NAME}", BackupNote(uuid, point, files).encode())
        _clear(disk, destination, files)
    finally:
        lock.release()
    return copy.report(point, summary.deleted, files)


def lock_alone(disk: Disk, path: str) -> DiskLock:
    """Lock a directory that is to be filled. Raises BackupRefused while another process fills or uses it."""
    try:
        return disk.lock(path)
    except JournalLocked as error:
        raise BackupRefused(f"it is in use: {error}") from None


def _refuse_others(disk: Disk, destination: str) -> None:
    """Raise if the directory is used for something else."""
    if disk.exists(f"{destination}/{NAME}"):
        return
    others = [name for name in disk.list(destination) if name not in _OTHERS]
    if others:
        raise BackupRefused(
            f"{destination}: is no backup, and has {others[0]} in it: give a new or an empty directory"
        )


class _Copy:
    """The copying of one backup: `files` are those that it will have."""

    def __init__(self, disk: Disk, paths: Paths, destination: str, tell: Tell) -> None:
        self.files: dict[str, BackupFile] = {}
        self._disk = disk
        self._paths = paths
        self._destination = destination
        self._tell = tell
        self._copied: set[BackupFile] = set()

    def take(self) -> str:
        """Copy all up to the point; return the journal's uuid."""
        done: set[int] = set()
        for _ in range(ATTEMPTS_MAX):
            snapshots = snapshot_positions(
                self._disk, self._paths.root
            )  # first: all of them is there
            layout = read_moving_layout(self._disk, self._paths)
            if layout is None:
                raise JournalError(f"{self._paths.root}: there is no journal here")
            if not self._take_sealed(layout, done) and self._take_end(layout, snapshots):
                return layout.format.uuid.hex()
        raise JournalError(f"{self._paths.root}: changes faster than it can be copied")

    def report(self, point: Point, deleted: int, files: Iterable[BackupFile]) -> BackupReport:
        copied = [one.size for one in files if one in self._copied]
        kept = [one.size for one in files if one not in self._copied]
        return BackupReport(point, deleted, len(copied), sum(copied), len(kept), sum(kept))

    def _take_sealed(self, layout: Layout, done: set[int]) -> int:
        """Copy the segments that are sealed and were not copied yet; return how many."""
        taken = 0
        end = layout.segments[-1].base if layout.segments else 0
        for this, following in zip(layout.segments, layout.segments[1:], strict=False):
            if this.number not in done:
                self._take_segment(this, following.base - this.base)
                done.add(this.number)
                taken += 1
            self._tell("copying", following.base, end)
        return taken

    def _take_segment(self, this: Segment, length: int) -> None:
        """Copy a segment from where it is: it goes from `wal` to `archive` and never back."""
        path = f"{self._paths.wal}/{this.name}"
        try:
            file, size = self._disk.open(path), length
        except FileNotFoundError:
            path = archive_path(self._paths, this)
            file = self._disk.open(path)
            size = file.size()
        try:
            self._store(self._inner(path), file, size)
        finally:
            file.close()

    def _take_end(self, layout: Layout, snapshots: list[int]) -> bool:
        """Copy what tells the point; False when it has moved on, so that there is more to copy first."""
        try:
            for position in snapshots:
                self._take_file(f"{self._paths.snap}/{position:016x}.snap")
            last = layout.segments[-1] if layout.segments else None
            if last is not None:
                self.store_bytes(f"wal/{last.name}", self._read_end(last))
        except FileNotFoundError:
            self.files = {path: one for path, one in self.files.items() if "snap/" not in path}
            return False
        number, base = (last.number, last.base) if last else (0, 0)
        self.store_bytes("HEAD", Head(layout.format.uuid, number, base).encode())
        self.store_bytes("FORMAT", layout.format.encode())
        return True

    def _take_file(self, path: str) -> None:
        file = self._disk.open(path)
        try:
            self._store(self._inner(path), file, file.size())
        finally:
            file.close()

    def _read_end(self, last: Segment) -> bytes:
        """Return the last segment up to its last whole frame, which is durable then."""
        file = self._disk.open(f"{self._paths.wal}/{last.name}")
        try:
            data = file.pread(file.size(), 0)
            file.fdatasync()
        finally:
            file.close()
        end = segment.HEADER_BYTES
        for found in frame.walk(data, end, last.place):
            end = found.end
        return data[:end]

    def _inner(self, path: str) -> str:
        return path.removeprefix(f"{self._paths.root}/")

    # Into the backup

    def store_bytes(self, path: str, data: bytes) -> BackupFile:
        """Have a file with this content."""
        one = BackupFile(path, len(data), hashlib.sha256(data).hexdigest())
        if not self._is_there(one):
            staged = stage_file(self._disk, self._target(one), data)
            self._disk.rename(staged, self._target(one))
            self._copied.add(one)
        self.files[path] = one
        return one

    def _store(self, path: str, file: DiskFile, size: int) -> None:
        """Have the first bytes of an open file."""
        one = BackupFile(path, size, _sum_of(file, size))
        if not self._is_there(one):
            copy_file(self._disk, file, size, self._target(one))
            self._copied.add(one)
        self.files[path] = one

    def _is_there(self, one: BackupFile) -> bool:
        """Is it in the backup already, and whole?"""
        target = self._target(one)
        if not self._disk.exists(target):
            return False
        file = self._disk.open(target)
        try:
            return file.size() == one.size and _sum_of(file, one.size) == one.sha256
        finally:
            file.close()

    def _target(self, one: BackupFile) -> str:
        return f"{self._destination}/{one.stored}"


def copy_file(disk: Disk, file: DiskFile, size: int, target: str) -> str:
    """Copy the first bytes of an open file, durably but for the new name; return their SHA-256."""
    summed = hashlib.sha256()
    staged = disk.open(f"{target}.tmp", create=True)
    try:
        for at in range(0, size, PIECE_BYTES):
            piece = file.pread(min(PIECE_BYTES, size - at), at)
            summed.update(piece)
            staged.pwrite(piece, at)
        staged.fsync()
    finally:
        staged.close()
    disk.rename(f"{target}.tmp", target)
    return summed.hexdigest()


def _sum_of(file: DiskFile, size: int) -> str:
    summed = hashlib.sha256()
    for at in range(0, size, PIECE_BYTES):
        summed.update(file.pread(min(PIECE_BYTES, size - at), at))
    return summed.hexdigest()


def _until(
    disk: Disk, destination: str, copy: _Copy, until: Until | None
) -> tuple[BackupFile, ...]:
    """Return the files of the journal as far as it is wanted."""
    if until is not None:
        view = BackupDisk(disk, destination, copy.files.values())
        paths = Paths(destination)
        end = boundary_of(view, paths, until)
        if end is not None:
            amendment = plan_truncation(view, paths, end).amendment
            for path in amendment.removed:
                del copy.files[path]
            for one in amendment.replaced:
                copy.store_bytes(one.path, one.make())
    return tuple(copy.files[path] for path in sorted(copy.files))


def _verified(
    disk: Disk, source: str, destination: str, files: tuple[BackupFile, ...], tell: Tell
) -> AuditSummary:
    """Audit what was copied. Raises BackupRefused when it is not whole."""
    try:
        return audit(BackupDisk(disk, destination, files), destination, tell)
    except JournalCorrupt as error:
        raise BackupRefused(
            f"what was copied is damaged: {error}\n`sagakeep verify {source}` says more"
        ) from error


def audit(disk: Disk, directory: str, tell: Tell) -> AuditSummary:
    """Read and check everything. Raises JournalCorrupt."""
    found = Audit(disk, directory)
    for count, _ in enumerate(found, start=1):
        if count % TOLD_EVERY == 0:
            tell("verifying", count, 0)
    return found.summary()


def _clear(disk: Disk, destination: str, files: tuple[BackupFile, ...]) -> None:
    """Remove what no backup names any more."""
    named = {one.stored for one in files}
    for name in disk.list(f"{destination}/{FILES}"):
        if f"{FILES}/{name}" not in named:
            disk.unlink(f"{destination}/{FILES}/{name}")
