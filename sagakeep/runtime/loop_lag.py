"""The lag of the event loop: how late a task is woken that asked for a time.

    asleep ---- due |---- lag ----> awake

Whatever holds up the loop (a long step, the collector, a thread that keeps the interpreter, a machine that is
short of processors) holds up every saga by as much. A heartbeat sees it without a cost for each step; a hold-up
that falls between two beats is seen by its end only, so the longest one is at least as long as what is told.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from sagakeep.runtime.histogram import Histogram

LOOKS_BACK: Final = 60.0  # seconds
_SPANS: Final = 6  # of which the longest lag is remembered for each


class LoopLag:
    """Beats every `every_s` seconds once it runs; 0 for never."""

    def __init__(self, every_s: float) -> None:
        self.seconds = Histogram()
        self._every_s = every_s
        self._longest: deque[float] = deque([0.0], maxlen=_SPANS)
        self._span_ends_s = 0.0

    @property
    def longest_s(self) -> float:
        """The longest lag of the last minute."""
        return max(self._longest)

    async def run(self) -> None:
        """Beat until cancelled."""
        while self._every_s:
            due_s = trio.current_time() + self._every_s
            await trio.sleep_until(due_s)
            now_s = trio.current_time()
            self.note(max(0.0, now_s - due_s), now_s)

    def note(self, lag_s: float, now_s: float) -> None:
        """A beat came so late."""
        self.seconds.note(lag_s)
        if now_s >= self._span_ends_s:
            self._span_ends_s = now_s + LOOKS_BACK / _SPANS
            self._longest.append(0.0)
        self._longest[-1] = max(self._longest[-1], lag_s)
