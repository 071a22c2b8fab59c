"""Restores: a data directory made of a backup, for a server to be started on.

    RESTORE          written first: from now on no server starts here
    the files        checked against their sums, synced, named
    audit            as `sagakeep verify` does
    RESTORE          removed: a server may start

Nothing is ever overwritten but what an earlier restore left unfinished. What is derived (`index.sqlite`) is not
in a backup; the first start makes it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sagakeep.errors import BackupRefused, JournalCorrupt
from sagakeep.offline.audit import AuditSummary
from sagakeep.offline.backup import Tell, audit, copy_file, lock_alone, silent
from sagakeep.offline.backup_note import BackupFile, BackupNote, Point, read_backup
from sagakeep.offline.backup_view import BackupDisk
from sagakeep.offline.overlay import OverlayDisk
from sagakeep.offline.repair import plan_truncation
from sagakeep.offline.until import Until, boundary_of
from sagakeep.runtime.amendment import Amendment
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths, replace_file, seal

_HARMLESS: Final = frozenset({"LOCK", "lost+found", "RESTORE.tmp"})


class RestoreReport(NamedTuple):
    """What was restored; `backup` is what the backup reaches, `left_out` says whether that is further."""

    point: Point
    deleted: int
    backup: Point

    @property
    def left_out(self) -> bool:
        return self.point.position < self.backup.position


def restore_backup(
    disk: Disk, source: str, destination: str, until: Until | None = None, tell: Tell = silent
) -> RestoreReport:
    """Make a data directory of a backup; durable and verified when it returns.

    Raises BackupRefused when there is no whole backup or the directory is in use, and OSError.
    """
    note = read_backup(disk, source)
    if note is None:
        raise BackupRefused(f"{source}: is no backup: `sagakeep backup` makes one")
    paths = Paths(destination)
    _refuse_others(disk, paths)
    disk.make_directory(paths.root)
    lock = lock_alone(disk, paths.lock)
    try:
        replace_file(disk, paths.restore, seal("sagakeep-restore 1\n"))
        _clear(disk, paths)
        _fill(disk, source, note, paths, _amendment(disk, source, note, until), tell)
        summary = _verified(disk, source, paths, tell)
        disk.unlink(paths.restore)
        disk.sync_directory(paths.root)
    finally:
        lock.release()
    point = Point(summary.end, summary.latest_us, sum(summary.sagas.values()), summary.live)
    return RestoreReport(point, summary.deleted, note.point)


def _refuse_others(disk: Disk, paths: Paths) -> None:
    if disk.exists(paths.restore):
        return
    for directory in (paths.root, paths.wal, paths.archive, paths.snap):
        others = [name for name in disk.list(directory) if name not in _HARMLESS]
        if others:
            raise BackupRefused(
                f"{paths.root}: is not empty, it has {others[0]}: nothing is overwritten; give a new directory"
            )


def _clear(disk: Disk, paths: Paths) -> None:
    """Remove what an earlier restore left."""
    for directory in (paths.wal, paths.archive, paths.snap):
        disk.make_directory(directory)
        for name in disk.list(directory):
            disk.unlink(f"{directory}/{name}")
    disk.make_directory(paths.quarantine)


def _amendment(disk: Disk, source: str, note: BackupNote, until: Until | None) -> Amendment:
    """What of the backup is to be another way."""
    if until is None:
        return Amendment()
    view, there = BackupDisk(disk, source, note.files), Paths(source)
    end = boundary_of(view, there, until)
    return Amendment() if end is None else plan_truncation(view, there, end).amendment


def _fill(
    disk: Disk, source: str, note: BackupNote, paths: Paths, amendment: Amendment, tell: Tell
) -> None:
    """Write all files; durable when it returns."""
    total, done = sum(one.size for one in note.files), 0
    left_out = {*amendment.removed, *(one.path for one in amendment.replaced)}
    for one in note.files:
        if one.path not in left_out:
            _copy(disk, f"{source}/{one.stored}", one, f"{paths.root}/{one.path}")
        done += one.size
        tell("copying", done, total)
    for replacement in amendment.replaced:
        replace_file(disk, f"{paths.root}/{replacement.path}", replacement.make())
    for directory in (paths.wal, paths.archive, paths.snap, paths.root):
        disk.sync_directory(directory)


def _copy(disk: Disk, stored: str, one: BackupFile, target: str) -> None:
    file = disk.open(stored)
    try:
        if file.size() != one.size or copy_file(disk, file, one.size, target) != one.sha256:
            raise BackupRefused(f"{stored}: is not as it was written: the backup is damaged")
    finally:
        file.close()


def _verified(disk: Disk, source: str, paths: Paths, tell: Tell) -> AuditSummary:
    """Audit what was written, as it will be once it may be used."""
    try:
        return audit(OverlayDisk(disk, {}, frozenset({paths.restore})), paths.root, tell)
    except JournalCorrupt as error:
        raise BackupRefused(f"{source}: what was restored of it is damaged: {error}") from error
