"""A tally of what is due by when: how many should have come by a time, without a look at each of them.

    {span of 10 s: how many are due in it}     and a heap of the spans

A million that are due within a week are sixty thousand numbers. Whoever adds one takes it off with the same time.
"""

from __future__ import annotations

import heapq
from typing import Final

SPAN_S: Final = 10.0  # what is due is known to be late when all of its span is


class DueTally:
    """Counts by due time. All operations cost a look-up, but `late`, which costs the spans when some are late."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._spans: list[int] = []  # heap of the keys of _counts

    def __len__(self) -> int:
        return sum(self._counts.values())

    def add(self, due_s: float) -> None:
        """One more is due at this time."""
        span = int(due_s // SPAN_S)
        if span in self._counts:
            self._counts[span] += 1
        else:
            self._counts[span] = 1
            heapq.heappush(self._spans, span)

    def take_off(self, due_s: float) -> None:
        """One that was due at this time has come, or is not waited for any more."""
        self._counts[int(due_s // SPAN_S)] -= 1

    def late(self, by_s: float) -> int:
        """How many were due before this time, not counting those of the span that it is in."""
        this = int(by_s // SPAN_S)
        while self._spans and self._spans[0] < this and not self._counts[self._spans[0]]:
            del self._counts[heapq.heappop(self._spans)]
        if not self._spans or self._spans[0] >= this:
            return 0
        return sum(count for span, count in self._counts.items() if span < this)
