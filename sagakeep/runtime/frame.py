"""Frames: the unit in which bytes become durable, and how damage is told from an interrupted write.

Theory of operation. A frame is one group commit: a header, a body of opaque records, and an end
mark. It is written with one write and made durable with one fdatasync, and **the next frame is
written only after that**. So a frame that stands before another was durable once; whatever is
wrong with it now is damage. Only the very last frame may be incomplete through no fault of the
disk.

    0      4      8          16     20     24     28     32     36     40
    +------+------+----------+------+------+------+------+------+------+-----------+-----+-------+
    |magic |body  |position  |epoch |re-   |flags |prev. |body  |head. | body      |zeros|end    |
    |u32   |bytes |u64       |u32   |cords |u32   |crc   |crc   |crc   | ...       |0..7 |mark   |
    +------+------+----------+------+------+------+------+------+------+-----------+-----+-------+
    |<---------- header crc: of the salt and these 36 bytes ---->|     |<------ body crc ------->|

- All integers are little-endian. Every frame begins and ends at a multiple of 8: a search for
  frames has to look at no other place.
- The *header crc* guards the length before it is believed. It starts from the segment's random
  salt, which no interface shows: nobody can place a header in a payload that a search would take
  for a frame.
- *position* is the frame's place in the whole log, *epoch* counts the starts of the process, and
  the *previous crc* is the header crc of the frame before. Since a header crc covers the body crc
  and the previous crc, the frames form a chain: one that is lost, repeated, moved or foreign does
  not fit.
- The *end mark* is not zero and comes last, so the file's last non-zero byte shows whether the
  end arrived.
- Fresh files read as zeros. A sector (512 bytes) of zeros within a frame is therefore a sector
  that never arrived; so no intact frame may have one, nor be one flipped bit away from one. A
  body with a run of 249 zeros (which with 7 bytes of padding is half a sector) is *stuffed*:
  after each 128 bytes one byte 1.

`walk` reads good frames from a buffer and stops at the first place without one; `look` says what
is seen there. What that means is decided in `journal_recovery`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<IIQIIIIII")
HEADER_BYTES: Final = HEADER.size  # 40
CHECKED: Final = struct.Struct("<IIQIIIII")  # the header without its own crc
CRC: Final = struct.Struct("<I")
MAGIC_BYTES: Final = b"\xf5SGF"
MAGIC: Final = int.from_bytes(MAGIC_BYTES, "little")
END_MARK: Final = b"END\xa5"  # the last byte of a frame has several bits: no single flip clears it
ALIGN: Final = 8

STUFFED: Final = 1  # flags
CLOSED: Final = 2  # the writer stopped in good order: the mark of a clean end, without records
KNOWN_FLAGS: Final = STUFFED | CLOSED

SECTOR_BYTES: Final = 512
ZERO_RUN: Final = bytes(SECTOR_BYTES // 2 - (ALIGN - 1))
STUFF_EVERY: Final = 128
STUFFING: Final = b"\x01"


class FrameHeader(NamedTuple):
    """The fields of a header whose crc was right."""

    body_bytes: int
    position: int
    epoch: int
    records: int
    flags: int
    previous_crc: int
    body_crc: int
    header_crc: int

    @property
    def frame_bytes(self) -> int:
        return frame_bytes(self.body_bytes)


class Amended(NamedTuple):
    """What a header says no more: its frame's body was changed since, in an archive."""

    records: int
    body_crc: int


NOT_AMENDED: Final[Mapping[int, Amended]] = MappingProxyType({})


class Place(NamedTuple):
    """What a frame must fit to: its segment's `seed`, `base` and `epoch`, and the crc before it."""

    seed: int
    base: int
    epoch: int
    previous_crc: int


class Frame(NamedTuple):
    """A good frame; `offset` and `end` are those of its bytes in the segment's file."""

    offset: int
    end: int
    header: FrameHeader
    body: bytes


class Sight(NamedTuple):
    """What is seen in a segment at a place where no good frame stands."""

    offset: int
    live_end: int  # after the last byte of the file that is not zero
    later_frame: int | None  # the offset of a true header that stands further on
    header: bool  # is the header here true
    fits: bool  # and of the frame that should stand here
    end_missing: bool  # the frame reaches beyond the file, or beyond its live end
    sector_missing: bool  # a sector of the frame is all zeros
    header_missing: bool  # the header's bytes did not all arrive


def frame_bytes(body_bytes: int) -> int:
    """Return the length of a frame on disk whose stored body has `body_bytes`."""
    return (HEADER_BYTES + body_bytes + len(END_MARK) + ALIGN - 1) & -ALIGN


def seed_of(salt: bytes) -> int:
    """Return the value from which the header crcs of a segment start."""
    return zlib.crc32(salt)


def encode(body: bytes, count: int, offset: int, place: Place, flags: int = 0) -> tuple[bytes, int]:
    """Return the bytes of a frame for `offset` of its segment, and its header crc."""
    if ZERO_RUN in body:
        return _pack(stuff(body), count, offset, place, flags | STUFFED)
    return _pack(body, count, offset, place, flags)


def encode_like(
    header: FrameHeader, body: bytes, count: int, offset: int, place: Place
) -> tuple[bytes, int]:
    """Encode as long a body as a frame has, in its way: what stands behind it need not move."""
    stored = stuff(body) if header.flags & STUFFED else body
    return _pack(stored, count, offset, place, header.flags)


def _pack(body: bytes, count: int, offset: int, place: Place, flags: int) -> tuple[bytes, int]:
    length = len(body)
    tail = bytes(frame_bytes(length) - HEADER_BYTES - length - len(END_MARK)) + END_MARK
    body_crc = zlib.crc32(tail, zlib.crc32(body))
    checked = CHECKED.pack(
        MAGIC, length, place.base + offset, place.epoch, count, flags, place.previous_crc, body_crc
    )
    header_crc = zlib.crc32(checked, place.seed)
    return b"".join((checked, CRC.pack(header_crc), body, tail)), header_crc


def stuff(body: bytes) -> bytes:
    """Break every long run of zeros."""
    return STUFFING.join(body[at : at + STUFF_EVERY] for at in range(0, len(body), STUFF_EVERY))


def unstuff(stored: bytes) -> bytes:
    """Undo `stuff`."""
    step = STUFF_EVERY + len(STUFFING)
    return b"".join(stored[at : at + STUFF_EVERY] for at in range(0, len(stored), step))


def decode_header(data: bytes, offset: int, seed: int) -> FrameHeader | None:
    """Return the header at `offset`, or None if there is no true one."""
    if len(data) < offset + HEADER_BYTES:
        return None
    magic, *fields = HEADER.unpack_from(data, offset)
    checked = zlib.crc32(data[offset : offset + CHECKED.size], seed)
    if magic != MAGIC or fields[-1] != checked:
        return None
    return FrameHeader(*fields)


def fits(header: FrameHeader, offset: int, place: Place) -> bool:
    """Tell whether a true header is that of the frame which must stand at `offset`."""
    return (
        header.position == place.base + offset
        and header.epoch == place.epoch
        and header.previous_crc == place.previous_crc
        and not header.flags & ~KNOWN_FLAGS
    )


def amend(header: FrameHeader, amended: Amended | None) -> FrameHeader:
    """Return the header as it would be if it knew; its own crc stays, for the next frame names that."""
    if amended is None:
        return header
    return header._replace(records=amended.records, body_crc=amended.body_crc)


def decode_body(data: bytes, offset: int, header: FrameHeader) -> bytes | None:
    """Return the records of the frame at `offset`, or None if they are not what was written."""
    first, end = offset + HEADER_BYTES, offset + header.frame_bytes
    if end > len(data) or zlib.crc32(memoryview(data)[first:end]) != header.body_crc:
        return None
    stored = data[first : first + header.body_bytes]
    return unstuff(stored) if header.flags & STUFFED else stored


def put_body(data: bytearray, offset: int, header: FrameHeader, body: bytes) -> int:
    """Put another body, as long as the one that is there, into the frame at `offset`; return the crc of it.

    The header is left as it is.
    """
    stored = stuff(body) if header.flags & STUFFED else body
    first = offset + HEADER_BYTES
    assert len(stored) == header.body_bytes, "nothing in a segment moves"
    data[first : first + len(stored)] = stored
    return zlib.crc32(data[first : offset + header.frame_bytes])


def walk(
    data: bytes, offset: int, place: Place, amended: Mapping[int, Amended] = NOT_AMENDED
) -> Iterator[Frame]:
    """Yield good frames from `offset` on; stop before the first place that has none.

    `amended` says what is no more as the headers at these offsets say.
    """
    while (header := decode_header(data, offset, place.seed)) and fits(header, offset, place):
        header = amend(header, amended.get(offset))
        body = decode_body(data, offset, header)
        if body is None:
            return
        end = offset + header.frame_bytes
        yield Frame(offset, end, header, body)
        offset, place = end, Place(place.seed, place.base, place.epoch, header.header_crc)


def look(data: bytes, offset: int, place: Place) -> Sight:
    """Say what is seen at `offset`, where no good frame stands."""
    live_end = len(data.rstrip(b"\0"))
    header = decode_header(data, offset, place.seed)
    end = offset + (header.frame_bytes if header else HEADER_BYTES)
    return Sight(
        offset=offset,
        live_end=live_end,
        later_frame=find_frame(data, offset + ALIGN, place),
        header=header is not None,
        fits=header is not None and fits(header, offset, place),
        end_missing=header is not None and live_end < end,
        sector_missing=header is not None and _has_zero_piece(data, offset, end, end),
        header_missing=header is None
        and (live_end < end or _has_zero_piece(data, offset, end, len(data))),
    )


def find_frame(data: bytes, offset: int, place: Place) -> int | None:
    """Return where the next true header stands, from `offset` on."""
    at = data.find(MAGIC_BYTES, offset)
    while at >= 0:
        if at % ALIGN == 0:
            header = decode_header(data, at, place.seed)
            if header and header.position == place.base + at:
                return at
        at = data.find(MAGIC_BYTES, at + 1)
    return None


def _has_zero_piece(data: bytes, first: int, end: int, extent_end: int) -> bool:
    """Tell whether a sector over [first, end) is zero, between `first` and `extent_end`."""
    at = first
    while at < end:
        after = min((at // SECTOR_BYTES + 1) * SECTOR_BYTES, extent_end)
        if not any(data[at:after]):
            return True
        at = after
    return False
