"""The trace of a world: a line for everything that was done, and the hash of all of them.

Twice the same seed is twice the same hash; where it is not, `lines` shows where two runs part.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Final

LINES_KEPT_MAX: Final = 100_000


class Trace:
    """Lines in order; the oldest are forgotten beyond a bound, and stay in the hash."""

    def __init__(self, stamp: Callable[[], str] = lambda: "") -> None:
        """Begin each line with `stamp()`: when it was."""
        self._stamp = stamp
        self.lines: deque[str] = deque(maxlen=LINES_KEPT_MAX)
        self._hashed = hashlib.blake2b(digest_size=16)

    def note(self, line: str) -> None:
        line = f"{self._stamp()}{line}"
        self.lines.append(line)
        self._hashed.update(line.encode())
        self._hashed.update(b"\n")

    def tail(self, count: int) -> list[str]:
        """The last lines."""
        return list(self.lines)[-count:]

    def digest(self) -> str:
        return self._hashed.hexdigest()
