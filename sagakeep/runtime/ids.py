"""Ids: UUID version 7 (RFC 9562), ordered by the time they were made, also within a millisecond."""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import iter_unpack
from typing import Final

POOLED_IDS: Final = 128  # chance is asked for in one system call for so many
_CHANCE: Final = (1 << 62) - 1


class Ids:
    """A source of ids. 48 bits of milliseconds, a 12-bit count within one, 62 bits of chance."""

    def __init__(
        self, now_utc_s: Callable[[], float], chance: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._now_utc_s = now_utc_s
        self._chance = chance
        self._pool: list[str] = []
        self._last = 0

    def next(self) -> str:
        """A new id; later ids sort after earlier ones."""
        tick = int(self._now_utc_s() * 1000) << 12
        self._last = max(tick, self._last + 1)
        if not self._pool:
            self._pool = _tails(self._chance(8 * POOLED_IDS))
        head = f"{self._last:015x}"
        return f"{head[:8]}-{head[8:12]}-7{head[12:]}-{self._pool.pop()}"


def _tails(chance: bytes) -> list[str]:
    """The last two parts of an id, for each eight bytes of chance; the next one is the last."""
    texts = []
    for (number,) in iter_unpack(">Q", chance):
        digits = f"{2 << 62 | number & _CHANCE:016x}"
        texts.append(f"{digits[:4]}-{digits[4:]}")
    texts.reverse()
    return texts
