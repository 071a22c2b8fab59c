"""How much memory the process holds, and how much it may have. Linux tells; elsewhere nothing is known."""

from __future__ import annotations

import os
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = "/proc/self/statm"
_CGROUP_LIMITS: Final = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


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
