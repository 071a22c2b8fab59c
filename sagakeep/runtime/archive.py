"""Archived segments: a segment that is no longer written to, compressed, every record of it one small read away.

Theory of operation. The file is in the seekable format of Zstandard, so that `zstd -d` makes the segment of it,
byte for byte up to its last frame: frames of zstd, each of CHUNK_BYTES of the segment, then two that it skips.

      +-----------+-----------+ - - - -+--------------------------------------+--------------------------+
      | zstd frame| zstd frame|        | index: the segment's header, amended | seek table: the length   |
      | of 128 KiB| of 128 KiB|        | frames, crc of all before, its own   | of each zstd frame       |
      +-----------+-----------+ - - - -+--------------------------------------+--------------------------+

Positions stay what they are: the byte at offset `o` of the segment is the byte at `o` of what is decompressed.

*Amended* frames are those in which records were erased. Their bodies are as long as before, and their headers are
what they were, wrong body crc and all: so the chain of header crcs holds, through this segment and into the one
that is being written to. The right crcs of those bodies stand in the index.

An archive is written beside, synced, read back and compared, and only then given its name; the segment's own file
is removed after that. Whoever finds both takes the segment: it was not yet removed, so nothing was amended yet.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from sagakeep.errors import JournalCorrupt
from sagakeep.runtime import segment
from sagakeep.runtime.disk import Disk, DiskFile
from sagakeep.runtime.frame import Amended
from sagakeep.runtime.segment import Segment

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIX: Final = ".zst"
CHUNK_BYTES: Final = 128 << 10
MAGIC: Final = b"SAGAARC\0"
VERSION: Final = 1

_INDEX_MAGIC: Final = 0x184D2A50  # frames with these magics are skipped by every reader of zstd
_TABLE_MAGIC: Final = 0x184D2A5E
_SEEKABLE_MAGIC: Final = 0x8F92EAB1
_SKIPPABLE: Final = struct.Struct("<II")  # magic, length
_FOOTER: Final = struct.Struct("<IBI")  # chunks, descriptor, magic: the last bytes of the file
_CHUNK: Final = struct.Struct("<II")  # compressed, plain
_INDEX: Final = struct.Struct("<8sHHIQIIII")
_AMENDED: Final = struct.Struct("<QII")  # offset in the segment, records, crc of the body
_CRC: Final = struct.Struct("<I")
_FIXED_BYTES: Final = _SKIPPABLE.size + _INDEX.size + segment.HEADER_BYTES + _CRC.size
_OPTIONS: Final[Mapping[int, int]] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.checksum_flag: 1,
}


class Archive(NamedTuple):
    """What an archive's index says; `amended` is by the offsets of frames."""

    path: str
    segment: Segment
    plain_bytes: int  # of the segment, up to the end of its last frame
    last_crc: int  # header crc of its last frame, or the segment's previous crc
    frames: int  # with records
    amended: Mapping[int, Amended]
    starts: tuple[int, ...]  # of the chunks in the file, and where the last one ends
    data_crc: int  # of the chunks

    @property
    def end_position(self) -> int:
        return self.segment.base + self.plain_bytes

    def encode(self, data: bytes) -> bytes:
        """Return the file: chunks that are compressed already, and this index."""
        sizes = [after - at for at, after in zip(self.starts, self.starts[1:], strict=False)]
        last = self.plain_bytes - (len(sizes) - 1) * CHUNK_BYTES
        plain = [CHUNK_BYTES] * (len(sizes) - 1) + [last]
        entries = b"".join(_CHUNK.pack(*one) for one in zip(sizes, plain, strict=True))
        footer = _FOOTER.pack(len(sizes), 0, _SEEKABLE_MAGIC)
        table = _SKIPPABLE.pack(_TABLE_MAGIC, len(entries) + len(footer)) + entries + footer
        amended = b"".join(
            _AMENDED.pack(offset, *one) for offset, one in sorted(self.amended.items())
        )
        length = _INDEX.size + segment.HEADER_BYTES + len(amended) + _CRC.size
        head = _SKIPPABLE.pack(_INDEX_MAGIC, length) + _INDEX.pack(
            *(MAGIC, VERSION, _INDEX.size, segment.CHECKSUM_CRC32, self.plain_bytes),
            *(self.last_crc, self.frames, len(self.amended), self.data_crc),
        )
        index = head + self.segment.encode() + amended
        return b"".join((data, index, _CRC.pack(zlib.crc32(table, zlib.crc32(index))), table))


def encode_archive(
    path: str, data: bytes, last_crc: int, frames: int, amended: Mapping[int, Amended]
) -> bytes:
    """Return the bytes of the archive of a segment that ends with `data`; takes 10 ms for each MiB or so."""
    this = segment.decode(data, path.removesuffix(SUFFIX))
    chunks = [
        zstd.compress(data[at : at + CHUNK_BYTES], options=_OPTIONS)
        for at in range(0, len(data), CHUNK_BYTES)
    ]
    starts = [0]
    for chunk in chunks:
        starts.append(starts[-1] + len(chunk))
    packed = b"".join(chunks)
    index = Archive(
        *(path, this, len(data), last_crc, frames, amended, tuple(starts), zlib.crc32(packed))
    )
    return index.encode(packed)


class ArchiveFile:
    """An archive that is open for reading: `pread` reads of the segment. Not for two threads at once."""

    def __init__(self, disk: Disk, path: str, named: str = "") -> None:
        """Read the index, also of one that is yet to be `named`.

        Raises `JournalCorrupt` when it is not what was written, `OSError` when it cannot be read.
        """
        self.path = path
        self._file = disk.open(path)
        try:
            self.index = _read_index(self._file, named or path)
        except BaseException:
            self._file.close()
            raise
        self._chunk = -1  # the one that was read last, and what is in it
        self._plain = b""

    @property
    def amended(self) -> Mapping[int, Amended]:
        return self.index.amended

    def pread(self, size: int, offset: int) -> bytes:
        """Read `size` bytes of the segment from `offset`; fewer only at its end."""
        end = min(offset + size, self.index.plain_bytes)
        pieces = []
        while offset < end:
            number, first = divmod(offset, CHUNK_BYTES)
            piece = self._read_chunk(number)[first : first + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def size(self) -> int:
        """Return the length of the segment."""
        return self.index.plain_bytes

    def check(self) -> None:
        """Raise `JournalCorrupt` unless the compressed bytes are those that were written."""
        if zlib.crc32(self._file.pread(self.index.starts[-1], 0)) != self.index.data_crc:
            raise JournalCorrupt(self.path, 0, "the crc of its compressed bytes is wrong")

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._file.close()

    def _read_chunk(self, number: int) -> bytes:
        if number == self._chunk:
            return self._plain
        first, end = self.index.starts[number : number + 2]
        offset = number * CHUNK_BYTES
        length = min(CHUNK_BYTES, self.index.plain_bytes - offset)
        try:
            plain = zstd.ZstdDecompressor().decompress(
                self._file.pread(end - first, first), max_length=length
            )
        except zstd.ZstdError as error:
            raise JournalCorrupt(self.path, offset, f"cannot be decompressed: {error}") from error
        if len(plain) != length:
            there = f"{len(plain)} of {length} bytes"
            raise JournalCorrupt(self.path, offset, f"a compressed chunk has {there}")
        self._chunk, self._plain = number, plain
        return plain


def read_archive(disk: Disk, path: str) -> Archive:
    """Return what an archive's index says. Raises `JournalCorrupt`."""
    try:
        file = ArchiveFile(disk, path)
    except OSError as error:
        raise JournalCorrupt(path, 0, f"cannot be read: {error}") from error
    file.close()
    return file.index


def _read_index(file: DiskFile, path: str) -> Archive:
    size = file.size()
    footer = file.pread(_FOOTER.size, max(0, size - _FOOTER.size))
    if len(footer) < _FOOTER.size:
        raise JournalCorrupt(path, 0, f"is no archive: it has {size} bytes")
    chunks, _, magic = _FOOTER.unpack(footer)
    table_bytes = _SKIPPABLE.size + chunks * _CHUNK.size + _FOOTER.size
    if magic != _SEEKABLE_MAGIC or table_bytes + _FIXED_BYTES > size or not chunks:
        raise JournalCorrupt(path, 0, "is no archive: its seek table is not that of one")
    table = file.pread(table_bytes, size - table_bytes)
    sizes = [entry[0] for entry in _CHUNK.iter_unpack(table[_SKIPPABLE.size : -_FOOTER.size])]
    starts = [0]
    for one in sizes:
        starts.append(starts[-1] + one)
    index = file.pread(max(0, size - table_bytes - starts[-1]), starts[-1])
    crc = index[-_CRC.size :]
    if len(index) < _FIXED_BYTES or crc != _CRC.pack(
        zlib.crc32(table, zlib.crc32(index[: -_CRC.size]))
    ):
        raise JournalCorrupt(path, 0, "the crc of its index is wrong")
    return _decode_index(index[_SKIPPABLE.size : -_CRC.size], path, tuple(starts))


def _decode_index(index: bytes, path: str, starts: tuple[int, ...]) -> Archive:
    """Take apart an index whose crc is right."""
    magic, version, length, checksum, plain, last_crc, frames, _, data_crc = _INDEX.unpack_from(
        index
    )
    known = (MAGIC, VERSION, _INDEX.size, segment.CHECKSUM_CRC32)
    if (magic, version, length, checksum) != known:
        raise JournalCorrupt(path, 0, f"it is no archive of format {VERSION}")
    behind = _INDEX.size + segment.HEADER_BYTES
    this = segment.decode(index[_INDEX.size : behind], path.removesuffix(SUFFIX))
    entries = _AMENDED.iter_unpack(index[behind:])
    amended = {offset: Amended(*one) for offset, *one in entries}
    return Archive(path, this, plain, last_crc, frames, amended, starts, data_crc)
