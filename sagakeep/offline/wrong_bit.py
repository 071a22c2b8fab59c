"""Wrong bits: find the one bit whose flip makes damaged bytes what they were.

A checksum tells more than that bytes are wrong. The crc of a frame with one flipped bit differs from the right
one by a value that depends on the place of the bit alone, and no two places have the same (below 512 MB); so the
place is found by walking through those values, in one pass. Other damage looks like one flipped bit by chance,
once in 4 billion divided by the number of the frame's bits, and what is mended is audited first.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.offline.overlay import OverlayDisk
from sagakeep.runtime import frame, segment
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths, read_file, read_format, read_head

_ALL_BITS: Final = 0xFFFFFFFF


class WrongBit(NamedTuple):
    """A bit, 0 to 7 from the lowest, of a byte of a file."""

    path: str
    offset: int
    bit: int

    def put_back(self, data: bytes) -> bytes:
        changed = bytearray(data)
        changed[self.offset] ^= 1 << self.bit
        return bytes(changed)


def find_wrong_bit(disk: Disk, paths: Paths, error: JournalCorrupt) -> WrongBit | None:
    """Return the bit that explains an error; None when it is no single one, or not of bytes."""
    if error.record is not None or not disk.exists(error.file):
        return None
    data = read_file(disk, error.file)
    if error.file in (paths.head, paths.format):
        return _first_good(
            error.file, data, 0, len(data), lambda tried: _is_note(disk, paths, error.file, tried)
        )
    if segment.parse_name(error.file.rpartition("/")[2]) is None:
        return None
    if error.offset < segment.HEADER_BYTES:
        end = min(segment.HEADER_BYTES, len(data))
        return _first_good(error.file, data, 0, end, lambda tried: _is_segment(error.file, tried))
    return _in_frame(error.file, data, error.offset)


def _in_frame(path: str, data: bytes, offset: int) -> WrongBit | None:
    place = _place_at(data, path, offset)
    if place is None:
        return None
    header = frame.decode_header(data, offset, place.seed)
    if header is not None and frame.fits(header, offset, place):
        return _in_body(path, data, offset, header)
    stray = data[offset:].rstrip(b"\0")
    if stray and not stray.strip(b"\0")[1:] and stray[-1].bit_count() == 1:
        return WrongBit(path, offset + len(stray) - 1, stray[-1].bit_length() - 1)
    end = min(offset + frame.HEADER_BYTES, len(data))

    def is_good(tried: bytes) -> bool:
        return any(True for _ in frame.walk(tried, offset, place))

    return _first_good(path, data, offset, end, is_good)


def _in_body(path: str, data: bytes, offset: int, header: frame.FrameHeader) -> WrongBit | None:
    first, end = offset + frame.HEADER_BYTES, offset + header.frame_bytes
    if end > len(data):
        return None
    difference = zlib.crc32(data[first:end]) ^ header.body_crc
    for distance, bit in _places_of(difference, end - first):
        return WrongBit(path, end - 1 - distance, bit)
    return None


def _places_of(difference: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield how far from the end the byte stands, and the bit, whose flip changes a crc by `difference`."""
    changes = [zlib.crc32(bytes([1 << bit])) ^ zlib.crc32(b"\0") for bit in range(8)]
    for distance in range(length):
        if difference in changes:
            yield distance, changes.index(difference)
        changes = [zlib.crc32(b"\0", one ^ _ALL_BITS) ^ _ALL_BITS for one in changes]


def _place_at(data: bytes, path: str, offset: int) -> frame.Place | None:
    """What the frame at an offset must fit to, None if the frames before it do not lead there."""
    place = segment.decode(data, path).place
    end = segment.HEADER_BYTES
    for found in frame.walk(data, end, place):
        if found.end > offset:
            break
        end = found.end
        place = place._replace(previous_crc=found.header.header_crc)
    return place if end == offset else None


def _first_good(
    path: str, data: bytes, first: int, end: int, is_good: Callable[[bytes], bool]
) -> WrongBit | None:
    """Try every bit of a few bytes."""
    for offset in range(first, end):
        for bit in range(8):
            wrong = WrongBit(path, offset, bit)
            if is_good(wrong.put_back(data)):
                return wrong
    return None


def _is_note(disk: Disk, paths: Paths, path: str, tried: bytes) -> bool:
    over = OverlayDisk(disk, {path: lambda: tried}, frozenset())
    try:
        return (read_head if path == paths.head else read_format)(over, paths) is not None
    except JournalError:
        return False


def _is_segment(path: str, tried: bytes) -> bool:
    try:
        segment.decode(tried, path)
    except JournalCorrupt:
        return False
    return True
