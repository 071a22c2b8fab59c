"""A disk that fails, or ends the process, at a chosen operation; it writes down what was asked of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from sagakeep.runtime.disk import Disk, DiskFile, DiskLock


class Killed(BaseException):
    """The process ended here; nothing that runs after it counts."""


@dataclass
class Fault:
    """Fail operations that `matches`, after the first `after` of them, `times` times (0 = for ever)."""

    matches: Callable[[str], bool]
    error: Callable[[], BaseException]
    after: int = 0
    times: int = 1
    seen: int = 0

    def strike(self, operation: str) -> None:
        if self.matches(operation):
            self.seen += 1
            if self.seen > self.after and (not self.times or self.seen <= self.after + self.times):
                raise self.error()


@dataclass
class FaultyDisk:
    """Wraps a disk; `trace` has one line for each operation: `fsync HEAD.tmp`, `rename HEAD.tmp HEAD`."""

    inner: Disk
    trace: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def fail(self, operation: str, number: int, *, after: int = 0, times: int = 1) -> None:
        """Let operations whose line begins with `operation` fail with an errno."""
        self.faults.append(
            Fault(
                lambda line: line.startswith(operation),
                lambda: OSError(number, os.strerror(number)),
                after,
                times,
            )
        )

    def fail_any(self, number: int, index: int) -> None:
        """Let the operation with this index from now on fail, whichever it is."""
        self.faults.append(Fault(lambda _: True, lambda: OSError(number, "injected"), index))

    def kill(self, index: int) -> None:
        """End the process before the operation with this index from now on."""
        self.faults.append(Fault(lambda _: True, Killed, index, 0))

    def heal(self) -> None:
        self.faults.clear()

    def note(self, *words: str) -> None:
        line = " ".join((words[0], *(word.rpartition("/")[2] for word in words[1:])))
        self.trace.append(line)
        for fault in self.faults:
            fault.strike(line)

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        self.note("create" if create else "open", path)
        return FaultyFile(self, self.inner.open(path, create=create), path)

    def list(self, directory: str) -> list[str]:
        self.note("list", directory)
        return self.inner.list(directory)

    def make_directory(self, path: str) -> None:
        self.note("make_directory", path)
        self.inner.make_directory(path)

    def rename(self, old: str, new: str) -> None:
        self.note("rename", old, new)
        self.inner.rename(old, new)

    def unlink(self, path: str) -> None:
        self.note("unlink", path)
        self.inner.unlink(path)

    def sync_directory(self, path: str) -> None:
        self.note("sync_directory", path)
        self.inner.sync_directory(path)

    def free_bytes(self, path: str) -> int:
        self.note("free_bytes", path)
        return self.inner.free_bytes(path)

    def exists(self, path: str) -> bool:
        self.note("exists", path)
        return self.inner.exists(path)

    def lock(self, path: str) -> DiskLock:
        self.note("lock", path)
        return self.inner.lock(path)


class FaultyFile:
    def __init__(self, disk: FaultyDisk, inner: DiskFile, path: str) -> None:
        self.disk = disk
        self.inner = inner
        self.path = path

    def pwrite(self, data: bytes, offset: int) -> None:
        self.disk.note("pwrite", self.path)
        self.inner.pwrite(data, offset)

    def pread(self, size: int, offset: int) -> bytes:
        self.disk.note("pread", self.path)
        return self.inner.pread(size, offset)

    def fdatasync(self) -> None:
        self.disk.note("fdatasync", self.path)
        self.inner.fdatasync()

    def fsync(self) -> None:
        self.disk.note("fsync", self.path)
        self.inner.fsync()

    def allocate(self, size: int) -> None:
        self.disk.note("allocate", self.path)
        self.inner.allocate(size)

    def truncate(self, size: int) -> None:
        self.disk.note("truncate", self.path)
        self.inner.truncate(size)

    def size(self) -> int:
        return self.inner.size()

    def close(self) -> None:
        self.inner.close()
