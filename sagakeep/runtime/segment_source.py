"""The source of a segment's bytes: its own file in `wal`, or the archive that took its place.

Whoever reads asks here and does not care. A segment may be archived at any moment by another thread, or by a
server beside us: the archive has its name before the segment's own file is removed, and what is open stays
readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sagakeep.errors import JournalCorrupt
from sagakeep.runtime.archive import SUFFIX, ArchiveFile
from sagakeep.runtime.disk import Disk, DiskFile
from sagakeep.runtime.frame import NOT_AMENDED, Amended
from sagakeep.runtime.journal_directory import Paths, read_file
from sagakeep.runtime.segment import Segment


class SegmentSource(Protocol):
    """A segment that can be read; `amended` as in `Archive`."""

    path: str

    @property
    def amended(self) -> Mapping[int, Amended]: ...

    def pread(self, size: int, offset: int) -> bytes: ...

    def size(self) -> int: ...

    def close(self) -> None: ...


class SegmentBytes(NamedTuple):
    """The bytes of a segment, and the file that has them."""

    path: str
    data: bytes
    amended: Mapping[int, Amended]


class _PlainFile:
    """A segment in a file of its own."""

    amended: Mapping[int, Amended] = NOT_AMENDED

    def __init__(self, path: str, file: DiskFile) -> None:
        self.path = path
        self.pread = file.pread
        self.size = file.size
        self.close = file.close


def archive_path(paths: Paths, this: Segment) -> str:
    """Where the archive of a segment is."""
    return f"{paths.archive}/{this.name}{SUFFIX}"


def open_source(disk: Disk, paths: Paths, this: Segment) -> SegmentSource:
    """Open a segment, wherever it is. Raises `OSError`, or `JournalCorrupt` for a damaged archive."""
    path = f"{paths.wal}/{this.name}"
    try:
        return _PlainFile(path, disk.open(path))
    except FileNotFoundError:
        if not disk.exists(archive_path(paths, this)):
            raise
    return ArchiveFile(disk, archive_path(paths, this))


def read_source(
    disk: Disk, paths: Paths, this: Segment, size_max: int | None = None
) -> SegmentBytes:
    """Return a segment's bytes, at most `size_max`; an archive is checked first. Raises `JournalCorrupt`."""
    try:
        return _read_all(open_source(disk, paths, this), size_max)
    except OSError as error:
        raise JournalCorrupt(f"{paths.wal}/{this.name}", 0, f"cannot be read: {error}") from error


def read_segment_file(disk: Disk, path: str) -> SegmentBytes:
    """As `read_source`, of the one file or archive at a path."""
    if not path.endswith(SUFFIX):
        return SegmentBytes(path, read_file(disk, path), NOT_AMENDED)
    try:
        return _read_all(ArchiveFile(disk, path))
    except OSError as error:
        raise JournalCorrupt(path, 0, f"cannot be read: {error}") from error


def _read_all(source: SegmentSource, size_max: int | None = None) -> SegmentBytes:
    try:
        if isinstance(source, ArchiveFile):
            source.check()
        size = source.size()
        data = source.pread(size if size_max is None else min(size, size_max), 0)
        return SegmentBytes(source.path, data, source.amended)
    finally:
        source.close()
