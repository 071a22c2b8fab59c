"""Read the journal while it is written: one record, or all frames from a position on.

Reads use file descriptors of their own and may come from any thread; they never see beyond
`durable`.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.runtime import frame, segment
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths
from sagakeep.runtime.segment import Segment
from sagakeep.runtime.segment_source import (
    SegmentBytes,
    SegmentSource,
    archive_path,
    open_source,
    read_source,
)

OPEN_FILES_MAX: Final = 16
CACHED_FRAMES_MAX: Final = 8
CACHED_FRAME_BYTES_MAX: Final = 4 << 20  # a larger frame is read anew each time
FIRST_READ_BYTES: Final = 16 << 10  # most frames need one read


class Position(NamedTuple):
    """The place of a record: its frame's position, and its first byte in the frame's body."""

    frame: int
    offset: int


@dataclass(frozen=True, slots=True)
class ScannedFrame:
    """A frame of the log: its position, its records' bytes joined, and their number."""

    position: int
    body: bytes
    count: int


class JournalReader:
    """All readers of a journal; the writer tells it of each segment and of each durable frame."""

    def __init__(
        self, disk: Disk, paths: Paths, segments: tuple[Segment, ...], durable: int
    ) -> None:
        self._disk = disk
        self._paths = paths
        self._segments = segments
        self._durable = durable
        self._closed = False
        self._lock = threading.Lock()  # of the two caches, between reading threads
        self._files: OrderedDict[int, SegmentSource] = OrderedDict()
        self._bodies: OrderedDict[int, bytes] = OrderedDict()

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._segments

    def add_segment(self, begun: Segment) -> None:
        """Let frames of a new segment be read, as far as they are durable."""
        self._segments = (*self._segments, begun)

    def set_durable(self, position: int) -> None:
        """Let all before `position` be read."""
        self._durable = position

    def read_record(self, position: Position) -> bytes:
        """Return the body of a frame from a record's first byte to the frame's end.

        Raises `ValueError` if no durable frame stands there or its body is shorter,
        `JournalCorrupt` if it is damaged, `JournalError` if the disk cannot read it now.
        """
        durable = self._durable
        if position.frame % frame.ALIGN or not 0 <= position.frame < durable:
            raise ValueError(
                f"{position}: no frame stands there; the log is durable up to {durable}"
            )
        with self._lock:
            body = self._cached_body(position.frame, durable)
        if not 0 <= position.offset < len(body):
            raise ValueError(f"{position}: the frame has {len(body)} bytes")
        return body[position.offset :]

    def scan(self, after: int = 0) -> Iterator[ScannedFrame]:
        """Yield the frames that are durable now and stand at `after` or later, in order."""
        segments, durable = self._segments, self._durable
        first = max(0, _index_of(segments, after))
        for index in range(first, len(segments)):
            yield from self._scan_segment(segments, index, durable, after)

    def place_of(self, position: int) -> tuple[str, int]:
        """Return the file that holds a position, and the offset there."""
        this = self._segments[max(0, _index_of(self._segments, position))]
        path = f"{self._paths.wal}/{this.name}"
        archived = archive_path(self._paths, this)
        return archived if self._disk.exists(archived) else path, position - this.base

    def forget(self, this: Segment) -> None:
        """Read a segment anew from now on: it was archived, or amended."""
        with self._lock:
            file = self._files.pop(this.number, None)
            if file is not None:
                file.close()
            self._bodies.clear()

    def close(self) -> None:
        """Close the files and read no more records; may be repeated."""
        with self._lock:
            self._closed = True
            while self._files:
                self._files.popitem()[1].close()

    def _scan_segment(
        self, segments: tuple[Segment, ...], index: int, durable: int, after: int
    ) -> Iterator[ScannedFrame]:
        this = segments[index]
        path, data, amended = self._read_durable(segments, index, durable)
        end = segment.HEADER_BYTES
        for found in frame.walk(data, end, this.place, amended):
            end = found.end
            if found.header.position >= after and found.header.records:
                yield ScannedFrame(found.header.position, found.body, found.header.records)
        if end < len(data):
            raise JournalCorrupt(
                path, end, "the frame is damaged: it was good when the journal was opened"
            )

    def _read_durable(
        self, segments: tuple[Segment, ...], index: int, durable: int
    ) -> SegmentBytes:
        """Return the bytes of a segment up to the next one, or up to what is durable."""
        this = segments[index]
        end = segments[index + 1].base if index + 1 < len(segments) else durable
        return read_source(self._disk, self._paths, this, end - this.base)

    def _cached_body(self, position: int, durable: int) -> bytes:
        """Return the body of the frame at `position`, from memory if it was read lately."""
        if self._closed:
            raise JournalError("the journal is closed")
        if position in self._bodies:
            self._bodies.move_to_end(position)
            return self._bodies[position]
        try:
            return self._read_body(position, durable)
        except OSError as error:
            raise JournalError(f"position {position}: cannot be read: {error}") from error

    def _read_body(self, position: int, durable: int) -> bytes:
        """Read the frame at `position`, and keep its body if it is small."""
        segments = self._segments
        index = _index_of(segments, position)
        this = segments[index]
        offset = position - this.base
        file = self._open(this)
        data = file.pread(FIRST_READ_BYTES, offset)
        header = frame.decode_header(data, 0, this.place.seed)
        if header is None or header.position != position:
            raise self._explain(segments, index, durable, offset)
        if header.frame_bytes > len(data):
            data += file.pread(header.frame_bytes - len(data), offset + len(data))
        body = frame.decode_body(data, 0, frame.amend(header, file.amended.get(offset)))
        if body is None:
            raise JournalCorrupt(file.path, offset, "the frame's body is damaged")
        if len(body) <= CACHED_FRAME_BYTES_MAX:
            self._bodies[position] = body
            if len(self._bodies) > CACHED_FRAMES_MAX:
                self._bodies.popitem(last=False)
        return body

    def _open(self, this: Segment) -> SegmentSource:
        """Return a file to read the segment with; close the one that was unused for longest."""
        file = self._files.get(this.number)
        if file is None:
            file = self._files[this.number] = open_source(self._disk, self._paths, this)
            if len(self._files) > OPEN_FILES_MAX:
                self._files.popitem(last=False)[1].close()
        else:
            self._files.move_to_end(this.number)
        return file

    def _explain(
        self, segments: tuple[Segment, ...], index: int, durable: int, offset: int
    ) -> JournalCorrupt | ValueError:
        """Say why no frame was found at `offset`: the caller is wrong, or the disk is."""
        this = segments[index]
        path, data, amended = self._read_durable(segments, index, durable)
        end = segment.HEADER_BYTES
        for found in frame.walk(data, end, this.place, amended):
            end = found.end
        if offset < end:
            return ValueError(f"position {this.base + offset}: no frame begins there")
        return JournalCorrupt(path, end, "the frame is damaged")


def _index_of(segments: tuple[Segment, ...], position: int) -> int:
    """Return the index of the segment that holds a position; -1 if it is before the first."""
    return bisect_right(segments, position, key=attrgetter("base")) - 1
