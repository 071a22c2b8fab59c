"""The data directory: its names, and the two small notes FORMAT and HEAD.

    LOCK            held by the process that writes; names it
    FORMAT          which journal this is: its uuid; written once, when all else is made
    HEAD            the highest segment in use; replaced each time a segment is begun
    REPAIR          a repair that was decided on and is not finished: see `amendment`
    RESTORE         a restore that is not finished: nothing here is to be used yet
    PAUSED          services that nobody calls: see `sagakeep.actors.service_pauses`
    wal/*.seg       the segments
    archive/*.zst   segments that are not written to any more, compressed: see `archive`
    snap/*.snap     snapshots
    quarantine/*    bytes that were cut from a torn tail; for people, never read

A note is lines of `key value` and a last line with the crc of the lines before. HEAD is what
makes a missing newest segment visible, and tells a segment that was begun from one that merely
was prepared.
"""

from __future__ import annotations

import re
import zlib
from typing import Final, NamedTuple

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.runtime.disk import Disk

VERSION: Final = 1
NOTE_BYTES_MAX: Final = 4096

_FORMAT: Final = re.compile(r"sagakeep-journal (\d+)\nuuid ([0-9a-f]{32})\ncreated_ns (\d+)\n")
_HEAD: Final = re.compile(r"uuid ([0-9a-f]{32})\nsegment (\d+)\nbase (\d+)\n")


class Paths(NamedTuple):
    """Where things are in a data directory."""

    root: str

    @property
    def lock(self) -> str:
        return f"{self.root}/LOCK"

    @property
    def format(self) -> str:
        return f"{self.root}/FORMAT"

    @property
    def head(self) -> str:
        return f"{self.root}/HEAD"

    @property
    def repair(self) -> str:
        return f"{self.root}/REPAIR"

    @property
    def restore(self) -> str:
        return f"{self.root}/RESTORE"

    @property
    def wal(self) -> str:
        return f"{self.root}/wal"

    @property
    def archive(self) -> str:
        return f"{self.root}/archive"

    @property
    def snap(self) -> str:
        return f"{self.root}/snap"

    @property
    def quarantine(self) -> str:
        return f"{self.root}/quarantine"


class Format(NamedTuple):
    """Which journal a directory holds."""

    uuid: bytes
    created_ns: int

    def encode(self) -> bytes:
        return seal(
            f"sagakeep-journal {VERSION}\nuuid {self.uuid.hex()}\ncreated_ns {self.created_ns}\n"
        )


class Head(NamedTuple):
    """The highest segment in use and its base position; segment 0 when none was begun yet."""

    uuid: bytes
    segment: int
    base: int

    def encode(self) -> bytes:
        return seal(f"uuid {self.uuid.hex()}\nsegment {self.segment}\nbase {self.base}\n")


def read_format(disk: Disk, paths: Paths) -> Format | None:
    """Return what FORMAT says, or None if there is none."""
    text = read_note(disk, paths.format)
    if text is None:
        return None
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise JournalCorrupt(paths.format, 0, "is not the format note of a journal")
    if int(match[1]) != VERSION:
        raise JournalError(
            f"{paths.format}: the journal has format {match[1]}, this version of sagakeep reads"
            f" {VERSION}: use a newer one"
        )
    return Format(bytes.fromhex(match[2]), int(match[3]))


def read_head(disk: Disk, paths: Paths) -> Head | None:
    """Return what HEAD says, or None if there is none."""
    text = read_note(disk, paths.head)
    if text is None:
        return None
    match = _HEAD.fullmatch(text)
    if match is None:
        raise JournalCorrupt(paths.head, 0, "is not the head note of a journal")
    return Head(bytes.fromhex(match[1]), int(match[2]), int(match[3]))


def read_file(disk: Disk, path: str, size_max: int | None = None) -> bytes:
    """Return a file's bytes, at most `size_max`; `JournalCorrupt` if they cannot be read."""
    try:
        file = disk.open(path)
        try:
            size = file.size()
            return file.pread(size if size_max is None else min(size, size_max), 0)
        finally:
            file.close()
    except OSError as error:
        raise JournalCorrupt(path, 0, f"cannot be read: {error}") from error


def stage_file(disk: Disk, path: str, data: bytes) -> str:
    """Write `data` durably beside `path`; return where, for the caller to rename it."""
    staged = f"{path}.tmp"
    file = disk.open(staged, create=True)
    try:
        file.pwrite(data, 0)
        file.fsync()
    finally:
        file.close()
    return staged


def replace_file(disk: Disk, path: str, data: bytes) -> None:
    """Give `path` the content `data`, all of it or nothing; durable when it returns."""
    disk.rename(stage_file(disk, path, data), path)
    disk.sync_directory(path.rpartition("/")[0])


def seal(text: str) -> bytes:
    """Return a note's bytes: its lines and the crc of them."""
    data = text.encode("ascii")
    return data + b"crc32 %08x\n" % zlib.crc32(data)


def read_note(disk: Disk, path: str, size_max: int = NOTE_BYTES_MAX) -> str | None:
    """Return the text of a note without its crc line, or None if there is no such file."""
    if not disk.exists(path):
        return None
    data = read_file(disk, path, size_max)
    text = data[: data.rfind(b"crc32 ")]
    if not text.isascii() or seal(text.decode("ascii")) != data:
        raise JournalCorrupt(path, 0, "its crc is wrong")
    return text.decode("ascii")
