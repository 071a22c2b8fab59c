"""A tally of what is due by when: how many should have come by a time, without a look at each of them.

    late: 2     {block of 256 spans: {span of 10 s: how many are due in it, ...}, ...}
          <----|----> the time that was asked about last

A million that are due within a week are sixty thousand numbers in 240 blocks, so that a look after all of the
week does not hold the loop up. Whoever adds one takes it off with the same time.
"""

from __future__ import annotations

from typing import Final

SPAN_S: Final = 10.0  # what is due is known to be late when all of its span is
_BLOCK_BITS: Final = 8


class DueTally:
    """Counts by due time, two look-ups for each operation. Time goes on: what was late once stays late."""

    def __init__(self) -> None:
        self._late = 0
        self._late_before = 0  # a span
        self._blocks: dict[int, dict[int, int]] = {}  # of that span and later ones

    def __len__(self) -> int:
        return self._late + sum(map(_total, self._blocks.values()))

    def add(self, due_s: float) -> None:
        """One more is due at this time."""
        self._count(int(due_s // SPAN_S), +1)

    def take_off(self, due_s: float) -> None:
        """One that was due at this time has come, or is not waited for any more."""
        self._count(int(due_s // SPAN_S), -1)

    def late(self, by_s: float) -> int:
        """How many were due before this time, not counting those of the span that it is in."""
        this = int(by_s // SPAN_S)
        if this > self._late_before:
            self._late_before = this
            self._late += self._take_passed(this)
        return self._late

    def _take_passed(self, this: int) -> int:
        """Take out what is before a span, and say how many that were."""
        passed = [block for block in self._blocks if block < this >> _BLOCK_BITS]
        late = sum(_total(self._blocks.pop(block)) for block in passed)
        counts = self._blocks.get(this >> _BLOCK_BITS, {})
        return late + sum(counts.pop(span) for span in [span for span in counts if span < this])

    def _count(self, span: int, change: int) -> None:
        if span < self._late_before:
            self._late += change
        else:
            counts = self._blocks.setdefault(span >> _BLOCK_BITS, {})
            counts[span] = counts.get(span, 0) + change


def _total(counts: dict[int, int]) -> int:
    return sum(counts.values())
