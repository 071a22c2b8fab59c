"""Salvage: what can be read of a damaged journal, and what cannot.

The *chain* is what stands whole from the beginning: segments and frames that follow each other without a gap,
whatever HEAD and FORMAT say. Beyond it frames may still be read one by one; what cannot is a gap, whose records
may still say whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sagakeep.codec import glance
from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.runtime import archive, frame, segment
from sagakeep.runtime.archive import read_archive
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.frame import NOT_AMENDED, Amended
from sagakeep.runtime.journal_directory import Paths, read_file, read_format
from sagakeep.runtime.journal_reader import ScannedFrame
from sagakeep.runtime.segment import Segment
from sagakeep.runtime.segment_source import SegmentBytes, read_segment_file


class ChainedSegment(NamedTuple):
    """A segment of the chain; frames may end at `ends`, of which the first is its header's."""

    segment: Segment
    path: str
    ends: tuple[int, ...]
    amended: Mapping[int, Amended] = NOT_AMENDED

    @property
    def is_archived(self) -> bool:
        return self.path.endswith(archive.SUFFIX)

    @property
    def end(self) -> int:
        """The position where its last good frame ends."""
        return self.segment.base + self.ends[-1]

    @property
    def boundaries(self) -> tuple[int, ...]:
        return tuple(self.segment.base + end for end in self.ends)


class Chain(NamedTuple):
    """What stands whole from the beginning."""

    uuid: bytes
    segments: tuple[ChainedSegment, ...]

    @property
    def end(self) -> int:
        return self.segments[-1].end if self.segments else 0


def cluttered_end(disk: Disk, chain: Chain, path: str) -> int | None:
    """Return where a segment ends that another one follows, if anything stands behind that; it is of no frame."""
    for one in chain.segments[:-1]:
        if one.path == path and not one.is_archived and any(read_file(disk, path)[one.ends[-1] :]):
            return one.ends[-1]
    return None


class Gap(NamedTuple):
    """Bytes that cannot be read as frames; `sagas` are ids that stand in them, right or wrong."""

    path: str
    offset: int
    length: int
    sagas: tuple[str, ...]


def read_chain(disk: Disk, paths: Paths) -> Chain:
    """Read the chain. Raises JournalError when nothing says which journal this is."""
    uuid = _find_uuid(disk, paths)
    segments: list[ChainedSegment] = []
    previous_crc = end = epoch = 0
    named = segment_paths(disk, paths)
    while found := _next_segment(disk, named, uuid, len(segments) + 1, end, previous_crc, epoch):
        path, this = found
        read = _read(disk, path)
        if read is None:
            break
        frames = list(frame.walk(read.data, segment.HEADER_BYTES, this.place, read.amended))
        ends = (segment.HEADER_BYTES, *(one.end for one in frames))
        segments.append(ChainedSegment(this, path, ends, read.amended))
        previous_crc = frames[-1].header.header_crc if frames else previous_crc
        end, epoch = this.base + ends[-1], this.epoch
    return Chain(uuid, tuple(segments))


def read_beyond(
    disk: Disk, paths: Paths, chain: Chain, position: int
) -> Iterator[ScannedFrame | Gap]:
    """Yield whatever stands at a position of the chain or after it, in the order of the segments."""
    starts = {
        one.path: max(segment.HEADER_BYTES, position - one.segment.base) for one in chain.segments
    }
    ended = {one.path for one in chain.segments if one.end <= position and one.path != _last(chain)}
    for _, _, path in segment_paths(disk, paths):
        if path in ended:
            continue
        read = _read(disk, path)
        try:
            this = None if read is None else segment.decode(read.data, plain_name(path))
        except JournalCorrupt:
            this = None
        if read is None or this is None:
            data = read_file(disk, path) if read is None else read.data
            if live := len(data.rstrip(b"\0")):
                yield Gap(path, 0, live, ())
        else:
            yield from _read_piecemeal(read, this, starts.get(path, segment.HEADER_BYTES))


def _last(chain: Chain) -> str:
    return chain.segments[-1].path if chain.segments else ""


def plain_name(path: str) -> str:
    """The name of the file that a segment has, or had before it was archived."""
    return path.removesuffix(archive.SUFFIX)


def _read(disk: Disk, path: str) -> SegmentBytes | None:
    """Read a segment's file or an archive; None for an archive that is damaged, which is of no use at all."""
    try:
        return read_segment_file(disk, path)
    except JournalCorrupt:
        return None


def _read_piecemeal(read: SegmentBytes, this: Segment, offset: int) -> Iterator[ScannedFrame | Gap]:
    """Yield the frames of a segment from an offset on, wherever one stands, and the gaps between them."""
    path, data, amended = read
    live_end = len(data.rstrip(b"\0"))
    while offset < live_end:
        header = frame.decode_header(data, offset, this.place.seed)
        header = header and frame.amend(header, amended.get(offset))
        fits = header is not None and header.position == this.base + offset
        body = frame.decode_body(data, offset, header) if header is not None and fits else None
        if header is not None and body is not None:
            if header.records:
                yield ScannedFrame(header.position, body, header.records)
            offset += header.frame_bytes
            continue
        later = frame.find_frame(data, offset + frame.ALIGN, this.place)
        end = live_end if later is None else later
        yield Gap(path, offset, end - offset, _ids_in(data, offset, end, header))
        offset = end


def _ids_in(
    data: bytes, offset: int, end: int, header: frame.FrameHeader | None
) -> tuple[str, ...]:
    """Return the ids of the records that a broken frame still shows; its header may be broken, too."""
    body = data[offset + frame.HEADER_BYTES : end]
    if header is not None:
        body = body[: header.body_bytes]
        body = frame.unstuff(body) if header.flags & frame.STUFFED else body
    ids = (one.saga_id for one in glance(body))
    return tuple(dict.fromkeys(one for one in ids if one))


def _find_uuid(disk: Disk, paths: Paths) -> bytes:
    try:
        note = read_format(disk, paths)
    except JournalCorrupt:
        note = None
    if note is not None:
        return note.uuid
    for _, _, path in segment_paths(disk, paths):
        try:
            return _segment_at(disk, path).uuid
        except JournalCorrupt:
            continue
    raise JournalError(f"{paths.root}: neither FORMAT nor any segment says which journal this is")


def _next_segment(
    disk: Disk,
    named: list[tuple[int, int, str]],
    uuid: bytes,
    number: int,
    base: int,
    previous_crc: int,
    epoch: int,
) -> tuple[str, Segment] | None:
    """Return the segment that follows, None if there is none that does."""
    for its_number, its_base, path in named:
        if (its_number, its_base) != (number, base):
            continue
        try:
            found = _segment_at(disk, path)
        except JournalCorrupt:
            continue
        if (found.uuid, found.previous_crc) == (uuid, previous_crc) and found.epoch >= epoch:
            return path, found
    return None


def _segment_at(disk: Disk, path: str) -> Segment:
    if path.endswith(archive.SUFFIX):
        return read_archive(disk, path).segment
    return segment.decode(read_file(disk, path, segment.HEADER_BYTES), path)


def segment_paths(disk: Disk, paths: Paths) -> list[tuple[int, int, str]]:
    """Return number, base and path of every file that is named like a segment or its archive, in order.

    An archive beside its segment is left out: that is still the segment's.
    """
    names = ((segment.parse_name(name), name) for name in disk.list(paths.wal))
    found = {parsed: f"{paths.wal}/{name}" for parsed, name in names if parsed}
    for name in disk.list(paths.archive):
        parsed = segment.parse_name(plain_name(name))
        if parsed and name.endswith(archive.SUFFIX):
            found.setdefault(parsed, f"{paths.archive}/{name}")
    return sorted((*parsed, path) for parsed, path in found.items())
