"""Archiving: the steps by which a segment's file gives way to its archive, durable one by one.

    check the segment -> write the archive beside -> fsync -> read it back, compare -> rename, sync the directory
                      -> remove the segment, sync its directory

Whatever instant the process dies at: before the rename the segment counts, and between the rename and the removal
it still does; what is left over beside it is removed by the next start, and archived again. All of it blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.runtime import frame, segment
from sagakeep.runtime.archive import ArchiveFile, encode_archive
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.frame import Amended
from sagakeep.runtime.journal_directory import Paths, read_file, stage_file
from sagakeep.runtime.segment import Segment
from sagakeep.runtime.segment_source import archive_path


def archive_segment(disk: Disk, paths: Paths, this: Segment, following: Segment) -> None:
    """Put an archive in the place of a segment that another one follows; durable when it returns.

    Raises `JournalCorrupt` when the segment is damaged, `JournalError` when the disk does not keep the archive,
    and `OSError`; then the segment stands as it was.
    """
    path = f"{paths.wal}/{this.name}"
    data = read_file(disk, path, following.base - this.base)
    last_crc, frames = _check(path, data, this, following)
    _make_room(disk, paths)
    write_archive(disk, archive_path(paths, this), data, last_crc, frames, {})
    disk.unlink(path)
    disk.sync_directory(paths.wal)


def amend_archive(
    disk: Disk,
    paths: Paths,
    this: Segment,
    places: Mapping[int, Collection[int]],
    change: Callable[[bytes, Collection[int]], bytes],
) -> None:
    """Change bodies in an archived segment: of each frame at a position of `places`, by `change`.

    `change` gets the body and what `places` has for it, and must return one as long. May be repeated. Raises
    `JournalCorrupt` when the archive is damaged or has no such frame, `JournalError` when the disk does not keep
    the new one, and `OSError`; then the archive stands as it was.
    """
    path = archive_path(paths, this)
    source = ArchiveFile(disk, path)
    try:
        source.check()
        data, index = source.pread(source.size(), 0), source.index
    finally:
        source.close()
    changed, amended, missing = bytearray(data), dict(index.amended), set(places)
    for found in frame.walk(data, segment.HEADER_BYTES, this.place, index.amended):
        position = found.header.position
        if position in missing:
            missing.discard(position)
            body = change(found.body, places[position])
            if body != found.body:
                crc = frame.put_body(changed, found.offset, found.header, body)
                amended[found.offset] = Amended(found.header.records, crc)
    if missing:
        raise JournalCorrupt(path, min(missing) - this.base, "no good frame stands here")
    if amended != index.amended:
        write_archive(disk, path, bytes(changed), index.last_crc, index.frames, amended)


def write_archive(
    disk: Disk, path: str, data: bytes, last_crc: int, frames: int, amended: Mapping[int, Amended]
) -> None:
    """Write an archive, or another one in its place, once it was read back and is what it should be."""
    encoded = encode_archive(path, data, last_crc, frames, amended)
    try:
        staged = stage_file(disk, path, encoded)
        if read_file(disk, staged) != encoded or not _holds(disk, staged, path, data):
            raise JournalError(f"{staged}: the disk did not keep the archive")
        disk.rename(staged, path)
    except BaseException:
        if disk.exists(f"{path}.tmp"):
            disk.unlink(f"{path}.tmp")
        raise
    disk.sync_directory(path.rpartition("/")[0])


def _holds(disk: Disk, staged: str, path: str, data: bytes) -> bool:
    """Does what was written decompress to the segment?"""
    source = ArchiveFile(disk, staged, path)
    try:
        source.check()
        return source.pread(len(data) + 1, 0) == data
    finally:
        source.close()


def _check(path: str, data: bytes, this: Segment, following: Segment) -> tuple[int, int]:
    """Return the last header crc and the number of frames with records of a segment that is whole."""
    last_crc, end, frames = this.previous_crc, segment.HEADER_BYTES, 0
    for found in frame.walk(data, end, this.place):
        last_crc, end = found.header.header_crc, found.end
        frames += found.header.records > 0
    if this.base + end != following.base or last_crc != following.previous_crc:
        raise JournalCorrupt(path, end, "the frame is damaged: the segment was not archived")
    return last_crc, frames


def _make_room(disk: Disk, paths: Paths) -> None:
    """Make the directory of the archives in one that was begun before there were any."""
    if not disk.list(paths.archive):
        disk.make_directory(paths.archive)
        disk.sync_directory(paths.root)
