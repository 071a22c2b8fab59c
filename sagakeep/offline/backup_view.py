"""A backup as the data directory that it is a copy of: to be read by whatever reads one, and not written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from sagakeep.offline.backup_note import BackupFile
from sagakeep.offline.read_only_disk import ReadOnlyDisk, unwritable
from sagakeep.runtime.disk import Disk, DiskFile


class BackupDisk(ReadOnlyDisk):
    """Shows files of the backup in `directory` at their paths in a data directory of the same name."""

    def __init__(self, disk: Disk, directory: str, files: Iterable[BackupFile]) -> None:
        super().__init__(disk)
        self._stored = {f"{directory}/{one.path}": f"{directory}/{one.stored}" for one in files}

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        if create:
            raise unwritable(path)
        if path not in self._stored:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._disk.open(self._stored[path])

    def list(self, directory: str) -> list[str]:
        heads = (path.rpartition("/") for path in self._stored)
        return sorted(name for head, _, name in heads if head == directory)

    def exists(self, path: str) -> bool:
        return path in self._stored
