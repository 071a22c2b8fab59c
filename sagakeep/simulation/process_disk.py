"""The disk as one process sees it: every operation is counted and traced, may fail, and may be the last.

    fault       the n-th operation fails with an errno, once or for good
    end         the process ends before, in the middle of, or after an operation

In the middle: a write has written some bytes, a sync some sectors. A write that fails has written some bytes too,
and a sync that fails leaves the pages that it could not write as if they had been written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple, Protocol, TypeVar

from sagakeep.runtime.disk import DiskFile
from sagakeep.simulation.disk import MemoryDisk, MemoryFile, MemoryLock
from sagakeep.simulation.process import Moment, Process
from sagakeep.simulation.trace import Trace

T = TypeVar("T")

_TAKES_ROOM: Final = frozenset({"create", "allocate", "pwrite", "rename", "make_directory", "lock"})
_WRITES: Final = frozenset(
    {*_TAKES_ROOM, "fsync", "fdatasync", "truncate", "sync_directory", "unlink"}
)


class DiskFault(NamedTuple):
    """The operation with this number fails, and with `lasts` every one after it that can fail so.

    A full disk fails what takes room; a read-only one what writes; any other error all.
    """

    number: int
    errno: int
    lasts: bool = False

    def strikes(self, number: int, operation: str) -> bool:
        if number != self.number and not (self.lasts and number > self.number):
            return False
        if self.errno in (errno.ENOSPC, errno.EDQUOT):
            return operation in _TAKES_ROOM
        if self.errno == errno.EROFS:
            return operation in _WRITES
        return True


class DiskObserver(Protocol):
    """Told what became durable, or failed to."""

    def wrote(self, path: str, data: bytes, offset: int) -> None:
        """Bytes were written; they are durable at the next `synced` of the path."""

    def synced(self, path: str) -> None:
        """The content of a file is durable."""

    def failed(self, operation: str, path: str, number: int) -> None:
        """An operation failed with an errno."""


class NoObserver:
    """Looks at nothing."""

    def wrote(self, path: str, data: bytes, offset: int) -> None:
        pass

    def synced(self, path: str) -> None:
        pass

    def failed(self, operation: str, path: str, number: int) -> None:
        pass


class ProcessDisk:
    """Implements `Disk`. `open_files` are those that were not closed."""

    def __init__(
        self,
        disk: MemoryDisk,
        process: Process,
        trace: Trace,
        random: Random,
        faults: tuple[DiskFault, ...] = (),
        observer: DiskObserver | None = None,
    ) -> None:
        self.open_files = 0
        self.observer: DiskObserver = observer or NoObserver()
        self._disk = disk
        self._process = process
        self._trace = trace
        self._random = random
        self._faults = faults

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        name = "create" if create else "open"
        file = self.do(name, path, lambda: self._disk.open(path, create=create))
        self.open_files += 1
        return ProcessFile(self, file, path)

    def list(self, directory: str) -> list[str]:
        return self.do("list", directory, lambda: self._disk.list(directory))

    def make_directory(self, path: str) -> None:
        self.do("make_directory", path, lambda: self._disk.make_directory(path))

    def rename(self, old: str, new: str) -> None:
        self.do("rename", new, lambda: self._disk.rename(old, new))

    def unlink(self, path: str) -> None:
        self.do("unlink", path, lambda: self._disk.unlink(path))

    def sync_directory(self, path: str) -> None:
        self.do("sync_directory", path, lambda: self._disk.sync_directory(path))

    def free_bytes(self, path: str) -> int:
        self._process.check()
        return self._disk.free_bytes(path)

    def exists(self, path: str) -> bool:
        self._process.check()
        return self._disk.exists(path)

    def lock(self, path: str) -> ProcessLock:
        return ProcessLock(self._process, self.do("lock", path, lambda: self._disk.lock(path)))

    def do(
        self,
        operation: str,
        path: str,
        deed: Callable[[], T],
        in_part: Callable[[], object] = lambda: None,
        fail: Callable[[], object] | None = None,
    ) -> T:
        """Do one operation; `in_part` does some of it when the process ends in the middle, `fail` what an
        operation that fails leaves behind, by default the same."""
        process = self._process
        number = process.count_disk()
        self._trace.note(f"disk {number} {operation} {path}")
        process.reach("disk", number, Moment.BEFORE)
        if process.ends("disk", number, Moment.PARTIAL):
            in_part()
            process.end()
        for fault in self._faults:
            if fault.strikes(number, operation):
                (fail or in_part)()
                self._trace.note(f"disk {number} fails: {errno.errorcode[fault.errno]}")
                self.observer.failed(operation, path, fault.errno)
                raise OSError(fault.errno, os.strerror(fault.errno), path)
        done = deed()
        if process.ends("disk", number, Moment.AFTER):
            self._tell(operation, path)
            process.end()
        return done

    def _tell(self, operation: str, path: str) -> None:
        """A process that ended after a sync has made something durable, though it never knew."""
        if operation in ("fsync", "fdatasync"):
            self.observer.synced(path)

    def part_of(self, data: bytes) -> bytes:
        """Some first bytes."""
        return data[: self._random.randint(0, len(data))]

    @property
    def chance(self) -> Random:
        return self._random


class ProcessFile:
    """Implements `DiskFile`."""

    def __init__(self, disk: ProcessDisk, file: MemoryFile, path: str) -> None:
        self._disk = disk
        self._file = file
        self._path = path
        self._is_open = True

    def pwrite(self, data: bytes, offset: int) -> None:
        disk, file = self._disk, self._file
        disk.do(
            "pwrite",
            self._path,
            lambda: file.pwrite(data, offset),
            lambda: file.pwrite(disk.part_of(data), offset),
        )
        disk.observer.wrote(self._path, data, offset)

    def pread(self, size: int, offset: int) -> bytes:
        return self._disk.do("pread", self._path, lambda: self._file.pread(size, offset))

    def fdatasync(self) -> None:
        self._sync("fdatasync")

    def fsync(self) -> None:
        self._sync("fsync")

    def allocate(self, size: int) -> None:
        self._disk.do("allocate", self._path, lambda: self._file.allocate(size))

    def truncate(self, size: int) -> None:
        self._disk.do("truncate", self._path, lambda: self._file.truncate(size))

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._disk.open_files -= 1

    def _sync(self, operation: str) -> None:
        inode, disk = self._file.inode, self._disk
        disk.do(
            operation,
            self._path,
            inode.sync,
            lambda: inode.sync_in_part(disk.chance),
            lambda: inode.fail_sync(disk.chance),
        )
        disk.observer.synced(self._path)


class ProcessLock:
    """A lock that the system releases when the process ends, and that a dead process cannot release."""

    def __init__(self, process: Process, lock: MemoryLock) -> None:
        self._process = process
        self._lock = lock

    def release(self) -> None:
        if self._process.is_alive:
            self._lock.release()
