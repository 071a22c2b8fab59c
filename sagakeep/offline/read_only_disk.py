"""A disk that shows something else than what is there, and is only read."""

from __future__ import annotations

import io

from sagakeep.runtime.disk import Disk, DiskLock


class ReadOnlyDisk:
    """The part of a `Disk` that writes, which raises; a base for those that show something."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def free_bytes(self, path: str) -> int:
        return self._disk.free_bytes(path)

    def make_directory(self, path: str) -> None:
        raise unwritable(path)

    def rename(self, old: str, new: str) -> None:
        raise unwritable(old)

    def unlink(self, path: str) -> None:
        raise unwritable(path)

    def sync_directory(self, path: str) -> None:
        raise unwritable(path)

    def lock(self, path: str) -> DiskLock:
        raise unwritable(path)


def unwritable(path: str) -> io.UnsupportedOperation:
    """What a call that would write raises."""
    return io.UnsupportedOperation(f"{path}: it is only read")
