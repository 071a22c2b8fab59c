"""Rewriting: the bytes of a segment, or of an archive, as a repair wants them. Nothing moves."""

from __future__ import annotations

from sagakeep.codec import glance, void_of
from sagakeep.offline.salvage import ChainedSegment, plain_name
from sagakeep.runtime import frame, segment
from sagakeep.runtime.archive import ArchiveFile, encode_archive
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.frame import Amended
from sagakeep.runtime.journal_directory import Paths, read_file
from sagakeep.runtime.segment_source import read_segment_file


def plain_path(paths: Paths, one: ChainedSegment) -> str:
    """Where a segment is when it is not archived."""
    return f"{paths.wal}/{plain_name(one.path).rpartition('/')[2]}"


def without(
    disk: Disk, one: ChainedSegment, previous_crc: int, saga_ids: frozenset[str]
) -> tuple[bytes, int]:
    """Return a file without the records of some sagas, behind another frame, and its own last crc."""
    if one.is_archived:
        return _archive_without(disk, one, saga_ids)
    data = read_file(disk, one.path)
    this = one.segment._replace(previous_crc=previous_crc)
    pieces = [this.encode()]
    for found in frame.walk(data, segment.HEADER_BYTES, one.segment.place):
        body, taken = _voided(found.body, saga_ids)
        place = this.place._replace(previous_crc=previous_crc)
        count = found.header.records - taken
        piece, previous_crc = frame.encode_like(found.header, body, count, found.offset, place)
        pieces.append(piece)
    return b"".join((*pieces, data[one.ends[-1] :])), previous_crc


def unarchived(disk: Disk, one: ChainedSegment, length: int) -> bytes:
    """Return the first bytes of an archived segment as a segment of its own, whose headers are right."""
    _, data, amended = read_segment_file(disk, one.path)
    pieces, previous_crc = [data[: segment.HEADER_BYTES]], one.segment.previous_crc
    for found in frame.walk(data, segment.HEADER_BYTES, one.segment.place, amended):
        if found.end > length:
            break
        place = one.segment.place._replace(previous_crc=previous_crc)
        piece, previous_crc = frame.encode_like(
            found.header, found.body, found.header.records, found.offset, place
        )
        pieces.append(piece)
    return b"".join(pieces)


def _archive_without(
    disk: Disk, one: ChainedSegment, saga_ids: frozenset[str]
) -> tuple[bytes, int]:
    """An archive says beside its frames what they are now, so that their headers, and the chain, stay."""
    _, data, amended = read_segment_file(disk, one.path)
    changed, known = bytearray(data), dict(amended)
    for found in frame.walk(data, segment.HEADER_BYTES, one.segment.place, amended):
        body, taken = _voided(found.body, saga_ids)
        if taken:
            crc = frame.put_body(changed, found.offset, found.header, body)
            known[found.offset] = Amended(found.header.records - taken, crc)
    source = ArchiveFile(disk, one.path)
    source.close()
    last_crc, frames = source.index.last_crc, source.index.frames
    if known == amended:
        return read_file(disk, one.path), last_crc
    return encode_archive(one.path, bytes(changed), last_crc, frames, known), last_crc


def _voided(body: bytes, saga_ids: frozenset[str]) -> tuple[bytes, int]:
    """Return a body whose records of some sagas are void, and how many those are."""
    changed, taken = bytearray(body), 0
    for seen in glance(body):
        if seen.saga_id in saga_ids:
            changed[seen.offset : seen.end] = void_of(seen.end - seen.offset)
            taken += 1
    return bytes(changed), taken
