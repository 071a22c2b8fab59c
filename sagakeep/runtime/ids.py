"""Ids: UUID version 7 (RFC 9562), ordered by the time they were made, also within a millisecond."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

POOLED_IDS: Final = 128  # chance is asked for in one system call for so many


class Ids:
    """A source of ids. 48 bits of milliseconds, a 12-bit count within one, 62 bits of chance."""

    def __init__(
        self, now_utc_s: Callable[[], float], chance: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._now_utc_s = now_utc_s
        self._chance = chance
        self._pool = b""
        self._last = 0

    def next(self) -> str:
        """A new id; later ids sort after earlier ones."""
        tick = int(self._now_utc_s() * 1000) << 12
        self._last = max(tick, self._last + 1)
        millis, count = self._last >> 12, self._last & 0xFFF
        if not self._pool:
            self._pool = self._chance(8 * POOLED_IDS)
        tail = int.from_bytes(self._pool[:8], "big") & (1 << 62) - 1
        self._pool = self._pool[8:]
        digits = f"{millis << 80 | 7 << 76 | count << 64 | 2 << 62 | tail:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
