"""Snapshot files: a durable copy of the state at one position, so that a start reads only what follows.

Theory of operation. The journal alone is the truth; a snapshot only saves time. So a snapshot
that is damaged in any way is passed over, in favour of the older one or of the whole journal, and
never refuses a start. A snapshot is written beside, synced, *read back and checked*, and only
then given its name; two are kept.

      0         8    10   12       16       32         40        44
      +---------+----+----+--------+--------+----------+---------+
      |SAGASNP\\0|ver.|44  |checksum|uuid    |position  |crc u32  |   header; crc of the 40 bytes before
      |         |u16 |u16 |u32 = 1 |16 bytes|u64       |         |
      +---------+----+----+--------+--------+----------+---------+
      +------+------+------+-------------------+
      |magic |index |bytes |crc u32 | chunk    |   for each chunk, one behind the other; the crc covers
      |u32   |u32   |u32   |        | ...      |   magic, index, bytes and chunk, from the header's crc on
      +------+------+------+-------------------+
      +------+------+----------+-------+
      |magic |count |position  |crc u32|            footer, the last bytes of the file; the crc goes on
      |u32   |u32   |u64       |       |            from that of the last chunk (or the header)
      +------+------+----------+-------+

Each crc starts from the one before, so the footer's vouches for all.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sagakeep import limits
from sagakeep.errors import DiskFull, JournalCorrupt, JournalError
from sagakeep.runtime.disk import FULL_ERRNOS, Disk
from sagakeep.runtime.journal_directory import VERSION, Paths, read_file, read_format
from sagakeep.runtime.segment import CHECKSUM_CRC32

MAGIC: Final = b"SAGASNP\0"
HEADER: Final = struct.Struct("<8sHHI16sQ")
CHUNK: Final = struct.Struct("<4sII")
FOOTER: Final = struct.Struct("<4sIQ")
CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = HEADER.size + CRC.size  # 44
CHUNK_MAGIC: Final = b"\xf5SCK"
FOOTER_MAGIC: Final = b"END\xa5"
KEPT: Final = 2

_NAME: Final = re.compile(r"([0-9a-f]{16})\.snap")


class Snapshot(NamedTuple):
    """The newest good snapshot: all before `position` is in it; `notes` name those passed over."""

    position: int
    chunks: list[bytes]
    notes: tuple[str, ...] = ()


class DamagedSnapshot(NamedTuple):
    """A snapshot that will not be used, and why."""

    path: str
    reason: str


class _Damaged(Exception):
    """A snapshot is not what was written; the text says where."""


def write_snapshot(disk: Disk, directory: str, position: int, chunks: Iterable[bytes]) -> None:
    """Write what all frames before `position` amount to; durable when it returns.

    Removes all but the newest two afterwards. Raises `DiskFull`, or `JournalError` when the disk
    does not give back what was written; then the older snapshots stand as they were.
    """
    paths = Paths(directory.rstrip("/") or "/")
    path = f"{paths.snap}/{position:016x}.snap"
    staged = f"{path}.tmp"
    uuid = _uuid(disk, paths)
    try:
        try:
            _stage(disk, staged, _header(uuid, position), position, chunks)
            _decode(read_file(disk, staged), uuid, position)
            disk.rename(staged, path)
        except BaseException:
            if disk.exists(staged):
                disk.unlink(staged)
            raise
        disk.sync_directory(paths.snap)
        for _, old in _find(disk, paths)[KEPT:]:
            disk.unlink(old)
    except OSError as error:
        if error.errno in FULL_ERRNOS:
            raise DiskFull(f"no space for a snapshot in {paths.snap}: free some") from error
        raise JournalError(f"{path}: the snapshot could not be written: {error}") from error
    except _Damaged as damage:
        raise JournalError(f"{staged}: the disk did not keep the snapshot: {damage}") from damage


def read_newest_snapshot(disk: Disk, directory: str) -> Snapshot | None:
    """Return the newest snapshot that is whole, or None: then the whole journal is to be read.

    The caller refuses a snapshot whose position is beyond the journal's: then frames are lost.
    """
    notes: tuple[str, ...] = ()
    for found in read_snapshots(disk, directory):
        if isinstance(found, Snapshot):
            return found._replace(notes=notes)
        notes += (f"{found.path} was passed over: {found.reason}",)
    return None


def read_snapshots(disk: Disk, directory: str) -> Iterator[Snapshot | DamagedSnapshot]:
    """Yield every snapshot, newest first, whole or not."""
    paths = Paths(directory.rstrip("/") or "/")
    for position, path in _find(disk, paths):
        try:
            chunks = _decode(read_file(disk, path), _uuid(disk, paths), position)
        except (_Damaged, JournalCorrupt) as damage:
            yield DamagedSnapshot(path, str(damage))
        else:
            yield Snapshot(position, chunks)


def snapshot_positions(disk: Disk, directory: str) -> list[int]:
    """Return the positions that snapshots are named after, newest first; not whether they are whole."""
    return [position for position, _ in _find(disk, Paths(directory.rstrip("/") or "/"))]


def drop_snapshots_below(disk: Disk, directory: str, position: int) -> None:
    """Remove the snapshots of before a position, if there is a later one; durable when it returns."""
    paths = Paths(directory.rstrip("/") or "/")
    found = _find(disk, paths)
    older = [path for at, path in found if at < position]
    if older and len(older) < len(found):
        for path in older:
            disk.unlink(path)
        disk.sync_directory(paths.snap)


def _find(disk: Disk, paths: Paths) -> list[tuple[int, str]]:
    """Return position and path of the snapshots, newest first."""
    matches = (_NAME.fullmatch(name) for name in disk.list(paths.snap))
    found = ((int(match[1], 16), f"{paths.snap}/{match[0]}") for match in matches if match)
    return sorted(found, reverse=True)


def _uuid(disk: Disk, paths: Paths) -> bytes:
    """Return the journal's uuid: a snapshot of another journal is as bad as a damaged one."""
    format_note = read_format(disk, paths)
    if format_note is None:
        raise JournalCorrupt(paths.format, 0, "is missing")
    return format_note.uuid


def _header(uuid: bytes, position: int) -> bytes:
    header = HEADER.pack(MAGIC, VERSION, HEADER_BYTES, CHECKSUM_CRC32, uuid, position)
    return header + CRC.pack(zlib.crc32(header))


def _stage(disk: Disk, path: str, header: bytes, position: int, chunks: Iterable[bytes]) -> None:
    """Write a whole snapshot durably under a name that no reader looks for."""
    file = disk.open(path, create=True)
    try:
        file.pwrite(header, 0)
        end, count = len(header), 0
        (crc,) = CRC.unpack_from(header, HEADER.size)
        for count, chunk in enumerate(chunks, start=1):
            if len(chunk) > limits.FRAME_BYTES_MAX:
                raise ValueError(f"a chunk has {len(chunk)} of {limits.FRAME_BYTES_MAX} bytes")
            head = CHUNK.pack(CHUNK_MAGIC, count - 1, len(chunk))
            crc = zlib.crc32(chunk, zlib.crc32(head, crc))
            data = b"".join((head, CRC.pack(crc), chunk))
            file.pwrite(data, end)
            end += len(data)
        footer = FOOTER.pack(FOOTER_MAGIC, count, position)
        file.pwrite(footer + CRC.pack(zlib.crc32(footer, crc)), end)
        file.fsync()
    finally:
        file.close()


def _decode(data: bytes, uuid: bytes, position: int) -> list[bytes]:
    """Return the chunks of a snapshot, or raise `_Damaged`."""
    if data[:HEADER_BYTES] != _header(uuid, position):
        raise _Damaged("the header is not that of this journal's snapshot at this position")
    (crc,) = CRC.unpack_from(data, HEADER.size)
    end = HEADER_BYTES
    chunks: list[bytes] = []
    while data.startswith(CHUNK_MAGIC, end) and end + CHUNK.size + CRC.size <= len(data):
        _, index, length = CHUNK.unpack_from(data, end)
        first = end + CHUNK.size + CRC.size
        chunk = data[first : first + length]
        crc = zlib.crc32(chunk, zlib.crc32(data[end : end + CHUNK.size], crc))
        if index != len(chunks) or data[first - CRC.size : first] != CRC.pack(crc):
            raise _Damaged(f"offset {end}: chunk {len(chunks)} is wrong")
        chunks.append(chunk)
        end = first + length
    footer = FOOTER.pack(FOOTER_MAGIC, len(chunks), position)
    if data[end:] != footer + CRC.pack(zlib.crc32(footer, crc)):
        raise _Damaged(f"offset {end}: the footer is wrong")
    return chunks
