"""A tally of what is due by when: how many should have come by a time, without a look at each of them.

    late: 2     {span of 10 s: how many are due in it, ...}
          <----|----> the time that was asked about last

A million that are due within a week are sixty thousand numbers. Whoever adds one takes it off with the same time.
"""

from __future__ import annotations

from typing import Final

SPAN_S: Final = 10.0  # what is due is known to be late when all of its span is


class DueTally:
    """Counts by due time, a look-up for each operation. Time goes on: what was late once stays late."""

    def __init__(self) -> None:
        self._late = 0
        self._late_before = 0  # a span
        self._counts: dict[int, int] = {}  # of that span and later ones

    def __len__(self) -> int:
        return self._late + sum(self._counts.values())

    def add(self, due_s: float) -> None:
        """One more is due at this time."""
        self._count(int(due_s // SPAN_S), +1)

    def take_off(self, due_s: float) -> None:
        """One that was due at this time has come, or is not waited for any more."""
        self._count(int(due_s // SPAN_S), -1)

    def late(self, by_s: float) -> int:
        """How many were due before this time, not counting those of the span that it is in."""
        this = int(by_s // SPAN_S)
        if this - self._late_before > len(self._counts):
            passed = [span for span in self._counts if span < this]
        else:
            passed = [*range(self._late_before, this)]
        self._late += sum(self._counts.pop(span, 0) for span in passed)
        self._late_before = max(self._late_before, this)
        return self._late

    def _count(self, span: int, change: int) -> None:
        if span < self._late_before:
            self._late += change
        else:
            self._counts[span] = self._counts.get(span, 0) + change
