"""A disk in memory that knows what is durable, so that a power cut can be played.

A test holds it to the real one. Data that was not synced may survive a cut in any subset of its sectors, or up
to any byte; a name that was not synced may or may not: `cut_power` chooses with the random generator it is
given, `None` drops all that may be lost.

After a failed fsync the page cache takes what it could not write for written: it can still be read, and no later
fsync writes it (Rebello et al., "Can Applications Recover from fsync Failures?", 2020). So an inode has three
contents:

    data      what is read
    clean     what the page cache takes for written; the same object as `synced` while no fsync has failed
    synced    what the disk has
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

from sagakeep.errors import JournalLocked

SECTOR = 512


class Inode:
    """The content of a file, whatever its names are."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.clean = self.synced = b""
        self.is_synced_in_part = False

    def dirty(self, start: int, end: int) -> None:
        """These bytes are written to, or cut off: their sectors are to be written again, whatever is in them."""
        if self.clean is self.synced:
            return
        start, end = start - start % SECTOR, end + -end % SECTOR
        size = max(len(self.clean), len(self.synced))
        clean, synced = self.clean.ljust(size, b"\0"), self.synced.ljust(size, b"\0")
        self.clean = clean[:start] + synced[start:end] + clean[end:]

    def sync(self) -> None:
        """Write what is dirty."""
        new = bytes(self.data)
        self.is_synced_in_part = False
        if self.clean is self.synced:
            self.clean = self.synced = new
        else:
            self.synced, self.clean = self._written(new, lambda: True), new

    def fail_sync(self, random: Random) -> None:
        """Write some of what is dirty, and take all of it for written."""
        new = bytes(self.data)
        self.synced, self.clean = self._written(new, lambda: random.random() < 0.5), new

    def sync_in_part(self, random: Random) -> None:
        """Write some of what is dirty; the rest stays dirty."""
        self.is_synced_in_part = True
        if self.clean is self.synced:
            self.clean = self.synced = self._written(
                bytes(self.data), lambda: random.random() < 0.5
            )

    def after_cut(self, random: Random | None) -> bytes:
        """What the disk may have when the power is gone."""
        if random is None or self.data == self.clean:
            return self.synced
        new = bytes(self.data)
        match random.choice(("none", "size", "all", "sectors", "prefix")):
            case "none":
                return self.synced
            case "size":
                return self.synced[: len(new)].ljust(len(new), b"\0")
            case "all":
                return self._written(new, lambda: True)
            case "sectors":
                return self._written(new, lambda: random.random() < 0.5)
            case _:
                return self._torn(new, random)

    def _written(self, new: bytes, reaches: Callable[[], bool]) -> bytes:
        """The disk's content when, of each dirty sector, `reaches` says whether it is written."""
        size = len(new)
        old, clean = self.synced[:size].ljust(size, b"\0"), self.clean[:size].ljust(size, b"\0")
        pieces = []
        for at in range(0, size, SECTOR):
            end = at + SECTOR
            is_written = new[at:end] != clean[at:end] and reaches()
            pieces.append(new[at:end] if is_written else old[at:end])
        return b"".join(pieces)

    def _torn(self, new: bytes, random: Random) -> bytes:
        """What is dirty is written up to a byte; by sectors, where some behind it may be written already.

        A sector is written whole or not at all, but for the one at which a write in order stops.
        """
        whole = self._written(new, lambda: True)
        old = self.synced[: len(whole)].ljust(len(whole), b"\0")
        dirty = [
            at
            for at in range(0, len(whole), SECTOR)
            if whole[at : at + SECTOR] != old[at : at + SECTOR]
        ]
        if not dirty:
            return whole
        byte = random.randrange(dirty[0], min(dirty[-1] + SECTOR, len(whole)) + 1)
        if self.is_synced_in_part:
            byte -= byte % SECTOR
        return whole[:byte] + old[byte:]


class MemoryDisk:
    """Implements `Disk`; `copy` gives an independent one with the same durable content."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self.synced_names: dict[str, Inode] = {}
        self.locked: set[str] = set()

    def put(self, path: str, data: bytes) -> None:
        """Place a durable file."""
        inode = Inode()
        inode.data = bytearray(data)
        inode.clean = inode.synced = data
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
        for path in sorted({*self.names, *self.synced_names}):
            if random is not None and random.random() < 0.5:
                names.pop(path, None)
                if path in self.names:
                    names[path] = self.names[path]
        for path, inode in names.items():
            twin.put(path, inode.after_cut(random))
        return twin

    def kill(self) -> None:
        """End the process: what it wrote can be read, what it did not sync can still be lost."""
        self.locked.clear()

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        if create:
            inode = self.names.setdefault(path, Inode())
            MemoryFile(inode).truncate(0)
        return MemoryFile(self._find(path))

    def list(self, directory: str) -> list[str]:
        heads = (path.rpartition("/") for path in self.names)
        return sorted(name for head, _, name in heads if head == directory)

    def make_directory(self, path: str) -> None:
        pass

    def rename(self, old: str, new: str) -> None:
        self._find(old)
        self.names[new] = self.names.pop(old)

    def unlink(self, path: str) -> None:
        self._find(path)
        del self.names[path]

    def _find(self, path: str) -> Inode:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return self.names[path]

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
        self.inode.dirty(offset, offset + len(data))

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self.inode.data[offset : offset + size])

    def fdatasync(self) -> None:
        self.inode.sync()

    def fsync(self) -> None:
        self.inode.sync()

    def allocate(self, size: int) -> None:
        self.inode.data.extend(bytes(max(0, size - len(self.inode.data))))

    def truncate(self, size: int) -> None:
        self.inode.dirty(size, len(self.inode.data))
        del self.inode.data[size:]

    def size(self) -> int:
        return len(self.inode.data)

    def close(self) -> None:
        pass
