"""How much memory the process holds, how much it may have, and how it gives back what it does not need.

Linux and its glibc know; elsewhere nothing is known, and nothing done.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = "/proc/self/statm"
_CGROUP_LIMITS: Final = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
_LARGE_BYTES: Final = 1 << 20
_M_MMAP_THRESHOLD: Final = -3  # malloc.h


def give_large_blocks_back() -> None:
    """Have large blocks of memory go back to the system when they are freed. For the process's owner.

    glibc keeps the room of a block for the next one once such a block was freed, and small ones that settle
    behind it hold it for ever: 16 MiB segments that were compressed left 20 to 50 MB behind, now and then.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    except (OSError, AttributeError):  # another libc
        return


def resident_bytes(path: str = _STATM) -> int:
    """Return the resident memory, 0 where it is not known. About 20 us."""
    try:
        with open(path, "rb") as file:
            return int(file.read(100).split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def available_bytes(paths: tuple[str, ...] = _CGROUP_LIMITS) -> int:
    """Return the memory that the machine or its container gives the process at most."""
    available = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    for path in paths:
        try:
            with open(path, "rb") as file:
                available = min(available, int(file.read(100)))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return available
