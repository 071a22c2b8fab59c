"""An overlay: a disk as it would be after an amendment, to be read and not written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from sagakeep.offline.read_only_disk import ReadOnlyDisk, unwritable
from sagakeep.runtime.disk import Disk, DiskFile


class OverlayDisk(ReadOnlyDisk):
    """Reads `replaced` in place of what a disk has, and does not see `removed`; whatever writes raises."""

    def __init__(
        self, disk: Disk, replaced: Mapping[str, Callable[[], bytes]], removed: frozenset[str]
    ) -> None:
        super().__init__(disk)
        self._replaced = replaced
        self._removed = removed

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        if create:
            raise unwritable(path)
        if path in self._removed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        make = self._replaced.get(path)
        return self._disk.open(path) if make is None else OverlayFile(path, make())

    def list(self, directory: str) -> list[str]:
        here = {f"{directory}/{name}" for name in self._disk.list(directory)} - self._removed
        here |= {path for path in self._replaced if path.rpartition("/")[0] == directory}
        return sorted(path.rpartition("/")[2] for path in here)

    def exists(self, path: str) -> bool:
        return path not in self._removed and (path in self._replaced or self._disk.exists(path))


class OverlayFile:
    """A file that is its bytes."""

    def __init__(self, path: str, data: bytes) -> None:
        self._path = path
        self._data = data

    def pread(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def size(self) -> int:
        return len(self._data)

    def close(self) -> None:
        pass

    def pwrite(self, data: bytes, offset: int) -> None:
        raise unwritable(self._path)

    def fdatasync(self) -> None:
        raise unwritable(self._path)

    def fsync(self) -> None:
        raise unwritable(self._path)

    def allocate(self, size: int) -> None:
        raise unwritable(self._path)

    def truncate(self, size: int) -> None:
        raise unwritable(self._path)
