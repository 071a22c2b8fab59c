"""Time: wall-clock where it is written down, monotonic where it is waited for.

The wall clock is read once, at the start; from then on UTC is that reading plus what trio's clock counted.
So a step of the system's clock neither fires a timer nor loses one, and time never runs backwards within
a process. Under trio's MockClock the same code runs in virtual time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio


class Clock:
    """UTC in seconds since 1970, never earlier than `not_before_utc_s` (the last event on disk)."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._monotonic_s = trio.lowlevel.current_clock().current_time
        self._origin_utc_s = wall() - self._monotonic_s()

    def now_utc_s(self) -> float:
        return self._origin_utc_s + self._monotonic_s()

    def monotonic_of(self, utc_s: float) -> float:
        """When that time is, on trio's clock."""
        return utc_s - self._origin_utc_s

    def utc_of(self, monotonic_s: float) -> float:
        """What the time was, or will be, at a moment of trio's clock."""
        return self._origin_utc_s + monotonic_s

    def advance_to(self, utc_s: float) -> None:
        """Never tell a time before this one: the wall clock was set back while the process was down."""
        self._origin_utc_s += max(0.0, utc_s - self.now_utc_s())
