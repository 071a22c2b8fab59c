"""A disk in memory that knows what is durable, so that a power cut can be played.

A test holds it to the real one. Data that was not synced may survive a cut in any subset of its
sectors, a name that was not synced may or may not: `cut_power` chooses with the random generator it
is given, `None` drops all that may be lost.
"""

from __future__ import annotations

import errno
from random import Random

from sagakeep.errors import JournalLocked

SECTOR = 512


class Inode:
    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""

    def after_cut(self, random: Random | None) -> bytes:
        if random is None or self.data == self.synced:
            return self.synced
        size = random.choice((len(self.synced), len(self.data)))
        old, new = self.synced.ljust(size, b"\0")[:size], bytes(self.data).ljust(size, b"\0")[:size]
        keep = random.choice((0.0, 0.5, 1.0))
        pieces = []
        for at in range(0, size, SECTOR):
            source = new if random.random() < keep else old
            pieces.append(source[at : at + SECTOR])
        return b"".join(pieces)


class MemoryDisk:
    """Implements `Disk`; `copy` gives an independent one with the same content."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self.synced_names: dict[str, Inode] = {}
        self.locked: set[str] = set()

    def put(self, path: str, data: bytes) -> None:
        """Place a durable file."""
        inode = Inode()
        inode.data, inode.synced = bytearray(data), data
        self.names[path] = self.synced_names[path] = inode

    def get(self, path: str) -> bytes:
        return bytes(self.names[path].data)

    def paths(self) -> list[str]:
        return sorted(self.names)

    def copy(self) -> MemoryDisk:
        twin = MemoryDisk()
        for path, inode in self.names.items():
            twin.put(path, bytes(inode.data))
        return twin

    def cut_power(self, random: Random | None = None) -> MemoryDisk:
        """Return the disk as the next start of the machine could find it."""
        twin = MemoryDisk()
        names = dict(self.synced_names)
        for path in {*self.names, *self.synced_names}:
            if random is not None and random.random() < 0.5:
                names.pop(path, None)
                if path in self.names:
                    names[path] = self.names[path]
        for path, inode in names.items():
            twin.put(path, inode.after_cut(random))
        return twin

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        if create:
            inode = self.names.setdefault(path, Inode())
            inode.data.clear()
        elif path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return MemoryFile(self.names[path])

    def list(self, directory: str) -> list[str]:
        heads = (path.rpartition("/") for path in self.names)
        return sorted(name for head, _, name in heads if head == directory)

    def make_directory(self, path: str) -> None:
        pass

    def rename(self, old: str, new: str) -> None:
        self.names[new] = self.names.pop(old)

    def unlink(self, path: str) -> None:
        del self.names[path]

    def sync_directory(self, path: str) -> None:
        for synced in [name for name in self.synced_names if name.rpartition("/")[0] == path]:
            del self.synced_names[synced]
        for name, inode in self.names.items():
            if name.rpartition("/")[0] == path:
                self.synced_names[name] = inode

    def free_bytes(self, path: str) -> int:
        return 1 << 30

    def exists(self, path: str) -> bool:
        return path in self.names

    def lock(self, path: str) -> MemoryLock:
        if path in self.locked:
            raise JournalLocked(f"{path} is locked by process 1: stop that process")
        self.locked.add(path)
        return MemoryLock(self, path)


class MemoryLock:
    def __init__(self, disk: MemoryDisk, path: str) -> None:
        self.disk = disk
        self.path = path

    def release(self) -> None:
        self.disk.locked.discard(self.path)


class MemoryFile:
    def __init__(self, inode: Inode) -> None:
        self.inode = inode

    def pwrite(self, data: bytes, offset: int) -> None:
        self.inode.data.extend(bytes(max(0, offset - len(self.inode.data))))
        self.inode.data[offset : offset + len(data)] = data

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self.inode.data[offset : offset + size])

    def fdatasync(self) -> None:
        self.inode.synced = bytes(self.inode.data)

    def fsync(self) -> None:
        self.inode.synced = bytes(self.inode.data)

    def allocate(self, size: int) -> None:
        self.inode.data.extend(bytes(max(0, size - len(self.inode.data))))

    def truncate(self, size: int) -> None:
        del self.inode.data[size:]

    def size(self) -> int:
        return len(self.inode.data)

    def close(self) -> None:
        pass
