"""Check a data directory without changing it: what it says it holds, and whether every byte agrees.

`read_layout` matches FORMAT, HEAD and the segments with each other, `check_segment` checks all the
frames of one segment and how it ends. Both opening and `verify_journal` are made of these two.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.runtime import archive, frame, segment
from sagakeep.runtime.archive import Archive, read_archive
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.frame import Frame
from sagakeep.runtime.journal_directory import (
    Format,
    Head,
    Paths,
    read_file,
    read_format,
    read_head,
)
from sagakeep.runtime.journal_reader import ScannedFrame
from sagakeep.runtime.journal_tail import CORRUPT, TORN, Judgement, judge_tail
from sagakeep.runtime.segment import Segment
from sagakeep.runtime.segment_source import read_source


class Layout(NamedTuple):
    """What a directory says it holds, before its frames were looked at."""

    format: Format
    head: Head
    segments: tuple[Segment, ...]  # 1 to HEAD's, in order
    prepared: tuple[tuple[str, int], ...]  # path and base of segments that HEAD does not know
    staged: tuple[
        str, ...
    ]  # paths of files that were to be renamed, or to replace what is still there
    notes: tuple[str, ...]
    archives: dict[int, Archive]  # by segment number; of those that are not in `wal` any more


class CheckedSegment(NamedTuple):
    """A segment whose frames are good up to `end`; after it only the last has live bytes."""

    segment: Segment
    path: str
    frames: list[Frame]
    data: bytes
    end: int
    live_end: int
    previous_crc: int
    judgement: Judgement

    @property
    def closed(self) -> bool:
        """Whether the writer stopped here in good order."""
        return bool(self.frames) and bool(self.frames[-1].header.flags & frame.CLOSED)

    @property
    def end_position(self) -> int:
        return self.segment.base + self.end

    @property
    def note(self) -> str:
        """What a person should know about the tail, or ""."""
        if self.judgement.verdict is not TORN:
            return ""
        return f"{self.path}: offset {self.end}: torn: {self.judgement.reason}"


class JournalVerification:
    """A read-only pass over a journal: iterate it once, then read what it found.

    It takes no lock and may run beside a server, then it sees the frames that stood at some moment
    of its run. A torn tail is no error: `torn_bytes` and `notes` tell of it.
    """

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._paths = Paths(directory.rstrip("/") or "/")
        self.segments = 0
        self.frames = 0
        self.records = 0
        self.torn_bytes = 0
        self.end = 0  # position where the journal ends, as far as it was read
        self.notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[ScannedFrame]:
        """Yield every frame with records, in order; raise `JournalCorrupt` at the first damage."""
        layout = read_moving_layout(self._disk, self._paths)
        if layout is None:
            raise JournalError(f"{self._paths.root}: there is no journal here")
        self.notes = layout.notes
        for index in range(len(layout.segments)):
            checked = _check_moving_segment(self._disk, self._paths, layout, index)
            self.segments += 1
            self.torn_bytes = checked.live_end - checked.end
            self.end = checked.end_position
            self.notes += (checked.note,) if checked.note else ()
            for found in checked.frames:
                if found.header.records:
                    self.frames += 1
                    self.records += found.header.records
                    yield ScannedFrame(found.header.position, found.body, found.header.records)


def verify_journal(disk: Disk, directory: str) -> JournalVerification:
    """Return a read-only check of a journal; nothing is read before it is iterated."""
    return JournalVerification(disk, directory)


def read_layout(disk: Disk, paths: Paths) -> Layout | None:
    """Return what the directory says it holds, or None if it holds no journal yet.

    Raises `JournalCorrupt` when its files contradict each other, `JournalError` when a repair is half done.
    """
    if disk.exists(paths.restore):
        raise JournalError(
            f"{paths.restore}: a restore was interrupted: `sagakeep restore` into {paths.root} again finishes it"
        )
    if disk.exists(paths.repair):
        raise JournalError(
            f"{paths.repair}: a repair was interrupted: `sagakeep repair {paths.root} --yes`, or a start of the"
            " server, finishes it"
        )
    format_note, head = read_format(disk, paths), read_head(disk, paths)
    numbered, staged, notes = _sort_names(disk, paths)
    archived, redundant = _sort_archives(disk, paths, {number for number, _, _ in numbered})
    staged += redundant
    if format_note is None:
        if numbered or archived or (head is not None and head.segment):
            raise JournalCorrupt(paths.format, 0, "is missing, yet there are segments")
        return None
    if head is None:
        raise JournalCorrupt(paths.head, 0, "is missing")
    if head.uuid != format_note.uuid:
        raise JournalCorrupt(paths.head, 0, "is of another journal than FORMAT")
    used = [path for number, _, path in numbered if number <= head.segment]
    prepared = tuple((path, base) for number, base, path in numbered if number > head.segment)
    for path, _ in prepared:
        _refuse_frames(disk, path, head)
    found = [_read_segment(disk, path, format_note.uuid) for path in used]
    archives = [_read_archive(disk, path, format_note.uuid) for path in archived]
    found += [one.segment for one in archives]
    segments = tuple(sorted(found, key=attrgetter("number")))
    _match_numbers(paths, segments, head)
    if segments and not used:
        raise JournalCorrupt(paths.wal, 0, f"segment {head.segment}, the last one, is missing")
    by_number = {one.segment.number: one for one in archives}
    return Layout(*(format_note, head, segments, prepared, tuple(staged), tuple(notes), by_number))


def check_segment(disk: Disk, paths: Paths, layout: Layout, index: int) -> CheckedSegment:
    """Check every frame of a segment and how it ends; `JournalCorrupt` says what is wrong."""
    this = layout.segments[index]
    path, data, amended = read_source(disk, paths, this)
    frames = list(frame.walk(data, segment.HEADER_BYTES, this.place, amended))
    end = frames[-1].end if frames else segment.HEADER_BYTES
    previous_crc = frames[-1].header.header_crc if frames else this.previous_crc
    last = index + 1 == len(layout.segments)
    sight = frame.look(data, end, this.place._replace(previous_crc=previous_crc))
    judgement = judge_tail(sight, last=last)
    if judgement.verdict is CORRUPT:
        raise JournalCorrupt(path, end, judgement.reason)
    live_end = max(sight.live_end, end)
    checked = CheckedSegment(this, path, frames, data, end, live_end, previous_crc, judgement)
    if last:
        _match_prepared(checked, layout)
    else:
        _match_next(path, checked.end_position, previous_crc, this, layout.segments[index + 1])
    return checked


def check_archive(layout: Layout, index: int) -> Archive | None:
    """Return the archive of a segment once its index fits to the next segment, or None if it has none.

    What is archived was checked then; `verify` checks it again, a start does not.
    """
    found = layout.archives.get(layout.segments[index].number)
    if found is not None:
        following = layout.segments[index + 1]
        _match_next(found.path, found.end_position, found.last_crc, found.segment, following)
    return found


def read_moving_layout(disk: Disk, paths: Paths) -> Layout | None:
    """Return the layout of a journal that a server may be rolling or archiving at this moment."""
    seen = read_head(disk, paths), disk.list(paths.wal), disk.list(paths.archive)
    while True:
        try:
            return read_layout(disk, paths)
        except JournalCorrupt:
            before = seen
            seen = read_head(disk, paths), disk.list(paths.wal), disk.list(paths.archive)
            if seen == before:
                raise


def _check_moving_segment(disk: Disk, paths: Paths, layout: Layout, index: int) -> CheckedSegment:
    """Check a segment that a server may be writing: what is wrong twice at one place is wrong."""
    offset = -1
    while True:
        try:
            return check_segment(disk, paths, layout, index)
        except JournalCorrupt as error:
            if error.offset <= offset:
                raise
            offset = error.offset


def _sort_names(
    disk: Disk, paths: Paths
) -> tuple[list[tuple[int, int, str]], list[str], list[str]]:
    """Return what is in `wal`: (number, base, path) of segments, staged files, notes."""
    numbered, staged, notes = [], [], []
    for name in disk.list(paths.wal):
        path = f"{paths.wal}/{name}"
        if parsed := segment.parse_name(name):
            numbered.append((*parsed, path))
        elif segment.parse_name(name.removesuffix(".tmp")):
            staged.append(path)
        else:
            notes.append(f"{path} is no file of the journal and was ignored")
    return numbered, staged, notes


def _sort_archives(disk: Disk, paths: Paths, present: set[int]) -> tuple[list[str], list[str]]:
    """Return the archives of segments that are not `present`, and what archiving has left over."""
    found, redundant = [], []
    for name in disk.list(paths.archive):
        path = f"{paths.archive}/{name}"
        whole = name.removesuffix(".tmp")
        parsed = segment.parse_name(whole.removesuffix(archive.SUFFIX))
        if parsed is None or not whole.endswith(archive.SUFFIX):
            continue  # no file of ours
        if whole != name or parsed[0] in present:
            redundant.append(path)
        else:
            found.append(path)
    return found, redundant


def _refuse_frames(disk: Disk, path: str, head: Head) -> None:
    """Raise if a segment beyond HEAD was used: then HEAD is older than the segments."""
    if any(read_file(disk, path)[segment.HEADER_BYTES :]):
        reason = f"has frames, but HEAD ends at segment {head.segment}"
        raise JournalCorrupt(path, segment.HEADER_BYTES, reason)


def _read_segment(disk: Disk, path: str, uuid: bytes) -> Segment:
    found = segment.decode(read_file(disk, path, segment.HEADER_BYTES), path)
    if found.uuid != uuid:
        raise JournalCorrupt(path, 0, "is of another journal than FORMAT")
    return found


def _read_archive(disk: Disk, path: str, uuid: bytes) -> Archive:
    found = read_archive(disk, path)
    if found.segment.uuid != uuid:
        raise JournalCorrupt(path, 0, "is of another journal than FORMAT")
    return found


def _match_numbers(paths: Paths, segments: tuple[Segment, ...], head: Head) -> None:
    """Raise unless the segments are 1, 2, 3 ... up to the one that HEAD names."""
    for expected, found in enumerate(segments, start=1):
        if found.number != expected:
            path = f"{paths.wal}/{found.name}"
            raise JournalCorrupt(path, 0, f"segment {expected} should stand here")
    if len(segments) != head.segment:
        there = f"{len(segments)} are there"
        raise JournalCorrupt(paths.head, 0, f"names segment {head.segment}, but {there}")
    if segments and segments[-1].base != head.base:
        there = f"the segment has {segments[-1].base}"
        raise JournalCorrupt(paths.head, 0, f"names base {head.base}, but {there}")


def _match_next(path: str, end: int, last_crc: int, this: Segment, following: Segment) -> None:
    """Raise unless the next segment begins where this one ends."""
    if following.base != end:
        reason = f"ends at position {end}, but the next segment begins at {following.base}"
        raise JournalCorrupt(path, end - this.base, reason)
    if following.previous_crc != last_crc or following.epoch < this.epoch:
        reason = "the next segment followed another one than this"
        raise JournalCorrupt(path, end - this.base, reason)


def _match_prepared(checked: CheckedSegment, layout: Layout) -> None:
    """Raise if a segment was prepared for a later position: then frames before it are lost."""
    for path, base in layout.prepared:
        if base > checked.end_position:
            reason = f"ends at position {checked.end_position}, but {path} was to begin at {base}"
            raise JournalCorrupt(checked.path, checked.end, reason)
