"""The note of a backup: which files of a data directory it has, and the point that they reach.

    BACKUP          this note; **renamed into place: the backup is good**
    files/NAME.SUM  the files, each named after its content, so that none is ever changed
    LOCK            held while a backup is made

A file of the data directory that changes gets another name here, so what a note names stays as it is until
another note is in its place. Whatever instant a backup dies at, the one before it is whole.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sagakeep.errors import BackupRefused, JournalCorrupt
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import read_note, seal

NOTE_BYTES_MAX: Final = 256 << 20  # a line for each file
NAME: Final = "BACKUP"
FILES: Final = "files"

_SUM_CHARS: Final = 16  # of the sum, in a file's name
_HEAD: Final = re.compile(
    r"sagakeep-backup 1\nuuid ([0-9a-f]{32})\nposition (\d+)\nlatest_us (\d+)\nsagas (\d+)\nlive (\d+)\n"
    r"((?:file [0-9a-f]{64} \d+ [\w./-]+\n)*)"
)


class BackupFile(NamedTuple):
    """One file: its path in the data directory, its length, and its SHA-256."""

    path: str
    size: int
    sha256: str

    @property
    def stored(self) -> str:
        """Where it is in the backup."""
        return f"{FILES}/{self.path.rpartition('/')[2]}.{self.sha256[:_SUM_CHARS]}"


class Point(NamedTuple):
    """How far a journal goes: where it ends, when its last record was decided, and the sagas that it has."""

    position: int
    latest_us: int  # microseconds since 1970, UTC; 0 for an empty journal
    sagas: int
    live: int


class BackupNote(NamedTuple):
    """What a backup is."""

    uuid: str
    point: Point
    files: tuple[BackupFile, ...]

    def encode(self) -> bytes:
        point = self.point
        lines = [
            f"sagakeep-backup 1\nuuid {self.uuid}\nposition {point.position}\nlatest_us {point.latest_us}\n",
            f"sagas {point.sagas}\nlive {point.live}\n",
            *(f"file {one.sha256} {one.size} {one.path}\n" for one in self.files),
        ]
        return seal("".join(lines))


def read_backup(disk: Disk, directory: str) -> BackupNote | None:
    """Return the note of a backup, None if there is none. Raises BackupRefused when it is damaged."""
    path = f"{directory}/{NAME}"
    try:
        text = read_note(disk, path, NOTE_BYTES_MAX)
    except JournalCorrupt as error:
        raise BackupRefused(f"{path}: {error.reason}") from error
    if text is None:
        return None
    match = _HEAD.fullmatch(text)
    if match is None:
        raise BackupRefused(f"{path}: is no note of a backup that this version reads")
    uuid, *numbers, lines = match.groups()
    return BackupNote(uuid, Point(*map(int, numbers)), tuple(map(_file, lines.splitlines())))


def _file(line: str) -> BackupFile:
    _, sha256, size, path = line.split(" ")
    return BackupFile(path, int(size), sha256)
