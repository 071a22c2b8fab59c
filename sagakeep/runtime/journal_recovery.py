"""Recovery: put a data directory in order after any stop, so that a new segment can follow.

The order of work: read FORMAT and HEAD, match the segments, check every frame (`journal_check`,
judged by `journal_tail`); remove what was only prepared; keep the bytes of a torn tail in
quarantine; write the last segment anew, because after a failed fsync, or a kill before one, the page cache may
show bytes that the disk does not have, the mark of a clean end among them. Only then is the next segment begun.
Every step is durable before the next one, and all of it may be interrupted anywhere and repeated.
"""

from __future__ import annotations

import posixpath
from typing import NamedTuple

from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_check import (
    CheckedSegment,
    Layout,
    check_archive,
    check_segment,
    read_layout,
)
from sagakeep.runtime.journal_directory import Format, Head, Paths, replace_file
from sagakeep.runtime.segment import Segment


class RecoveryReport(NamedTuple):
    """What an open found; `frames` and `segments` are those of earlier starts."""

    fresh: bool
    segments: int
    frames: int
    cut_bytes: int
    quarantined: str  # the file that keeps the cut bytes, or ""
    unclean: bool  # the last process did not close the journal
    notes: tuple[str, ...]


class Recovered(NamedTuple):
    """A directory in order: its segments, and the one that is to be begun next."""

    segments: tuple[Segment, ...]
    following: Segment
    report: RecoveryReport
    archived: frozenset[int] = frozenset()  # numbers of segments


def recover(disk: Disk, paths: Paths, *, now_ns: int, salt: bytes, uuid: bytes) -> Recovered:
    """Put a locked directory in order, or make an empty journal with this `uuid` in it."""
    layout = read_layout(disk, paths)
    if layout is None:
        _make(disk, paths, Format(uuid, now_ns))
        report = RecoveryReport(True, 0, 0, 0, "", False, ())
        return Recovered((), Segment(uuid, 1, 0, 1, 0, now_ns, salt), report)
    for path in (paths.root, paths.wal):  # a name that is seen may still be lost with the power:
        disk.sync_directory(path)  # the start that gave it may have been killed before it synced
    first = Segment(layout.format.uuid, 1, 0, 1, 0, now_ns, salt)
    frames = 0
    last: CheckedSegment | None = None
    for index in range(len(layout.segments)):
        if archived := check_archive(layout, index):
            frames += archived.frames
            continue
        last = check_segment(disk, paths, layout, index)
        frames += sum(found.header.records > 0 for found in last.frames)
    for path in (*layout.staged, *(path for path, _ in layout.prepared)):
        disk.unlink(path)
    if last is None:
        return Recovered((), first, RecoveryReport(False, 0, 0, 0, "", True, layout.notes))
    report = _settle(disk, paths, layout, last, frames)
    following = first._replace(
        number=last.segment.number + 1,
        base=last.end_position,
        epoch=last.segment.epoch + 1,
        previous_crc=last.previous_crc,
    )
    return Recovered(layout.segments, following, report, frozenset(layout.archives))


def _make(disk: Disk, paths: Paths, made: Format) -> None:
    """Make an empty journal; it exists once FORMAT does."""
    for path in (paths.wal, paths.archive, paths.snap, paths.quarantine):
        disk.make_directory(path)
    disk.sync_directory(posixpath.dirname(paths.root) or ".")
    replace_file(disk, paths.head, Head(made.uuid, 0, 0).encode())
    replace_file(disk, paths.format, made.encode())


def _settle(
    disk: Disk, paths: Paths, layout: Layout, last: CheckedSegment, frames: int
) -> RecoveryReport:
    """Make the last segment end, durably, where its last good frame does."""
    quarantined = _keep_aside(disk, paths, last)
    replace_file(disk, last.path, last.data[: last.end])
    return RecoveryReport(
        fresh=False,
        segments=len(layout.segments),
        frames=frames,
        cut_bytes=last.live_end - last.end,
        quarantined=quarantined,
        unclean=not last.closed,
        notes=(*layout.notes, last.note) if last.note else layout.notes,
    )


def _keep_aside(disk: Disk, paths: Paths, last: CheckedSegment) -> str:
    """Keep what follows the last good frame in quarantine; return the path, "" if there is nothing.

    The name depends on the place alone: a recovery that is repeated writes the same file again.
    """
    if last.live_end == last.end:
        return ""
    path = f"{paths.quarantine}/{last.segment.number:016x}-{last.end:08x}.torn"
    disk.make_directory(paths.quarantine)
    replace_file(disk, path, last.data[last.end : last.live_end])
    return path
