"""Segments: the files of the journal, each with a header of its own and then nothing but frames.

Theory of operation. The journal is one endless line of bytes; a segment holds the piece of it
that begins at its *base*, header included. So `base + offset` is a position that never changes
and never repeats, and a segment ends where the base of the next one says. A segment is written by
one process start only (its *epoch*): each start begins a new one, so stale bytes can never come
to life again behind a shorter rewrite. Files are allocated in full before use, so that a full
disk is told at the roll and not in the middle of a write, and they are never used twice, so that
what was not written reads as zeros.

      0         8    10   12       16       32       40      48      52        56        64
      +---------+----+----+--------+--------+--------+-------+-------+---------+---------+--------
      |SAGAWAL\\0|ver.|128 |checksum|uuid    |number  |base   |epoch  |previous |started  |salt
      |         |u16 |u16 |u32 = 1 |16 bytes|u64     |u64    |u32    |crc u32  |ns u64   |16 bytes
      +---------+----+----+--------+--------+--------+-------+-------+---------+---------+--------
      80                                                                        124      128
      +-------------------------------------------------------------------------+--------+
      | zeros                                                                   |crc u32 | frames
      +-------------------------------------------------------------------------+--------+

A segment is begun in this order: create, allocate, write the header, fsync the file, fsync `wal`,
write HEAD beside, fsync it; **rename it to HEAD**, fsync the directory; use. Before the rename
everything can be undone, after it the segment is in use. A segment that HEAD does not know was
merely prepared.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final, NamedTuple

from sagakeep.errors import DiskFull, JournalCorrupt
from sagakeep.runtime import frame
from sagakeep.runtime.disk import FULL_ERRNOS, Disk, DiskFile
from sagakeep.runtime.journal_directory import VERSION, Head, Paths, stage_file

MAGIC: Final = b"SAGAWAL\0"
HEADER: Final = struct.Struct("<8sHHI16sQQIIQ16s")
CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = 128
CHECKSUM_CRC32: Final = (
    1  # the crc of zlib, gzip and Ethernet (ISO-HDLC); the only algorithm so far
)
SALT_BYTES: Final = 16
CLOSED_BYTES: Final = frame.frame_bytes(0)  # kept free in each segment for the mark of a clean end

_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.seg")


class Segment(NamedTuple):
    """What a segment's header says."""

    uuid: bytes
    number: int  # from 1
    base: int  # position of the file's first byte
    epoch: int  # the start of the process that wrote it, from 1
    previous_crc: int  # header crc of the last frame before it; 0 when there is none
    started_ns: int  # wall clock of that start, ns UTC
    salt: bytes

    @property
    def name(self) -> str:
        return f"{self.number:016x}-{self.base:016x}.seg"

    @property
    def place(self) -> frame.Place:
        """What the segment's first frame must fit to."""
        return frame.Place(frame.seed_of(self.salt), self.base, self.epoch, self.previous_crc)

    def encode(self) -> bytes:
        """Return the header's bytes."""
        fields = (
            self.uuid,
            self.number,
            self.base,
            self.epoch,
            self.previous_crc,
            self.started_ns,
            self.salt,
        )
        packed = HEADER.pack(MAGIC, VERSION, HEADER_BYTES, CHECKSUM_CRC32, *fields)
        padded = packed.ljust(HEADER_BYTES - CRC.size, b"\0")
        return padded + CRC.pack(zlib.crc32(padded))


def parse_name(name: str) -> tuple[int, int] | None:
    """Return the number and base that a segment's file name says, or None for a foreign file."""
    match = _NAME.fullmatch(name)
    return (int(match[1], 16), int(match[2], 16)) if match else None


def decode(data: bytes, path: str) -> Segment:
    """Return what the header at the start of `data` says, or raise `JournalCorrupt`."""
    if len(data) < HEADER_BYTES:
        raise JournalCorrupt(path, 0, f"the segment header has {len(data)} of {HEADER_BYTES} bytes")
    if data[HEADER_BYTES - CRC.size : HEADER_BYTES] != CRC.pack(
        zlib.crc32(data[: HEADER_BYTES - CRC.size])
    ):
        raise JournalCorrupt(path, 0, "the crc of the segment header is wrong")
    magic, version, header_bytes, checksum, *fields = HEADER.unpack_from(data)
    if (magic, version, header_bytes, checksum) != (MAGIC, VERSION, HEADER_BYTES, CHECKSUM_CRC32):
        raise JournalCorrupt(path, 0, f"it is no segment of format {VERSION}")
    segment = Segment(*fields)
    if path.rpartition("/")[2] != segment.name:
        raise JournalCorrupt(path, 0, f"the file was named {segment.name} when it was written")
    return segment


def begin(disk: Disk, paths: Paths, segment: Segment, capacity: int) -> DiskFile:
    """Make the next segment and put it in use; durable when it returns.

    Raises `DiskFull`, and leaves all as it was, when there is no space; any other `OSError` when
    the disk fails, and then it is not known which segment is in use.
    """
    path = f"{paths.wal}/{segment.name}"
    try:
        file = _prepare(disk, paths, path, segment, capacity)
    except OSError as error:
        if error.errno not in FULL_ERRNOS:
            raise
        for leftover in (path, f"{paths.head}.tmp"):
            if disk.exists(leftover):
                disk.unlink(leftover)
        raise DiskFull(
            f"no space for a segment of {capacity} bytes in {paths.wal}: free some"
        ) from error
    disk.rename(f"{paths.head}.tmp", paths.head)
    disk.sync_directory(paths.root)
    return file


def _prepare(disk: Disk, paths: Paths, path: str, segment: Segment, capacity: int) -> DiskFile:
    """Write the segment and the HEAD that will name it; nothing is in use yet."""
    file = disk.open(path, create=True)
    try:
        file.allocate(capacity)
        file.pwrite(segment.encode(), 0)
        file.fsync()
        disk.sync_directory(paths.wal)
        stage_file(disk, paths.head, Head(segment.uuid, segment.number, segment.base).encode())
    except OSError:
        file.close()
        raise
    return file
