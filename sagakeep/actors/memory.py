"""Memory: whether there is room for one more saga.

The resident memory of a process seldom shrinks: what finished sagas leave is used again, not given back. So a
process that has once reached its bound has room again when a good part of the sagas that were live then are gone,
though its size is what it was.

Pure but for what it is given to look with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ROOM_SHARE: Final = 0.75  # of the sagas that filled it; below, there is room for some


class Memory:
    """Resident memory against its bound; `look` now and then."""

    def __init__(self, resident_bytes: Callable[[], int], bytes_max: int) -> None:
        self.has_room = True
        self.resident_bytes = 0
        self.bytes_max = bytes_max
        self._look = resident_bytes
        self._live_when_full = 0

    def look(self, live: int) -> None:
        """Look how large the process is, with so many live sagas."""
        self.resident_bytes = self._look()
        if self.resident_bytes < self.bytes_max:
            self._live_when_full = 0
            self.has_room = True
            return
        self._live_when_full = self._live_when_full or live
        self.has_room = live < ROOM_SHARE * self._live_when_full

    def __str__(self) -> str:
        size, most = self.resident_bytes >> 20, self.bytes_max >> 20
        return f"{size} of {most} MiB of memory"
