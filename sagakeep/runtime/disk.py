"""The port to the file system, so that a simulated disk can take its place.

Everything durable goes through it. Paths are strings. Every failure is an `OSError`; the callers
decide what it means for the journal.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Final, Protocol

from sagakeep.errors import JournalLocked
from sagakeep.runtime.spare_descriptors import SpareDescriptors

FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})  # the disk or the quota is full
UNSUPPORTED_ERRNOS: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
READ_ONLY_ERRNOS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
ZEROS_BYTES: Final = 1 << 20  # written at a time where the file system cannot allocate


class DiskFile(Protocol):
    """One open file. Not safe for two writers; `pread` may be called from any thread."""

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`, or raise: then any part of it may have been written."""

    def pread(self, size: int, offset: int) -> bytes:
        """Read `size` bytes from `offset`; fewer only at the end of the file."""

    def fdatasync(self) -> None:
        """Make the file's bytes durable. After an error a second call proves nothing."""

    def fsync(self) -> None:
        """Make the file's bytes and its size durable."""

    def allocate(self, size: int) -> None:
        """Reserve `size` bytes of zeros from the start, so that the disk cannot be full later."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""

    def size(self) -> int:
        """Return the file's length in bytes."""

    def close(self) -> None:
        """Close the file; may be repeated."""


class DiskLock(Protocol):
    """A lock on a file that other processes respect, held until `release` or the process's end."""

    def release(self) -> None:
        """Let another process have it; may be repeated."""


class Disk(Protocol):
    """A file system."""

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        """Open a file to read and write; `create` makes it, or empties the one that exists.

        A file that we may only read is opened to be read.
        """

    def list(self, directory: str) -> list[str]:
        """Return the names in a directory, sorted; none if there is no such directory."""

    def make_directory(self, path: str) -> None:
        """Make a directory for the owner alone; may be repeated."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step, in place of what had that name."""

    def unlink(self, path: str) -> None:
        """Remove a file."""

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable: what was created, renamed and removed."""

    def free_bytes(self, path: str) -> int:
        """Return the space that is left for us on the file system of `path`."""

    def exists(self, path: str) -> bool:
        """Tell whether a file or directory has this name."""

    def lock(self, path: str) -> DiskLock:
        """Lock a file against other processes, or raise `JournalLocked` at once."""


class LocalDisk:
    """The disk of this machine; files are 0600, directories 0700, children inherit nothing.

    Who holds a lock has descriptors to spare, so that its files can be opened when there are no others.
    """

    def __init__(self, *, pid: Callable[[], int] = os.getpid) -> None:
        self._pid = pid
        self._descriptors = SpareDescriptors()

    def open(self, path: str, *, create: bool = False) -> LocalFile:
        if create:
            return self._open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            return self._open(path, os.O_RDWR)
        except OSError as error:
            if error.errno not in READ_ONLY_ERRNOS:
                raise
        return self._open(path, os.O_RDONLY)

    def _open(self, path: str, flags: int) -> LocalFile:
        return LocalFile(self._descriptors.open(path, flags, 0o600), self._descriptors.close)

    def list(self, directory: str) -> list[str]:
        try:
            return sorted(os.listdir(directory))
        except FileNotFoundError:
            return []

    def make_directory(self, path: str) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def sync_directory(self, path: str) -> None:
        fd = self._descriptors.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            self._descriptors.close(fd)

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def lock(self, path: str) -> LocalLock:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % self._pid(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise JournalLocked(
                f"{path} is locked by process {holder}: stop that process, or use another directory"
            ) from None
        except OSError:
            os.close(fd)
            raise
        self._descriptors.fill()
        return LocalLock(fd, self._descriptors)


class LocalFile:
    """A raw file descriptor: no buffer of ours stands between a write and the kernel."""

    def __init__(self, fd: int, close: Callable[[int], None]) -> None:
        self._fd = fd
        self._close = close

    def pwrite(self, data: bytes, offset: int) -> None:
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        while len(data) < size and (
            more := os.pread(self._fd, size - len(data), offset + len(data))
        ):
            data += more
        return data

    def fdatasync(self) -> None:
        os.fdatasync(self._fd)

    def fsync(self) -> None:
        os.fsync(self._fd)

    def allocate(self, size: int) -> None:
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno not in UNSUPPORTED_ERRNOS:
                raise
            for offset in range(0, size, ZEROS_BYTES):
                self.pwrite(bytes(min(ZEROS_BYTES, size - offset)), offset)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            self._close(self._fd)
            self._fd = -1


class LocalLock:
    """A flock; it belongs to the open file description, so it is kept open and never inherited."""

    def __init__(self, fd: int, descriptors: SpareDescriptors) -> None:
        self._fd = fd
        self._descriptors = descriptors

    def release(self) -> None:
        if self._fd >= 0:
            self._descriptors.drop()
            os.close(self._fd)
            self._fd = -1
