"""A histogram: how often a number was how large, counted in half a microsecond and never sampled.

The buckets are Prometheus': each bound is the largest number that its bucket takes, and a last bucket without
a bound takes the rest. Two of them from different times tell what happened between: `since`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

# From a tenth of a millisecond (a call within this process) to half an hour (a saga with retries).
SECONDS: Final = (
    *(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)


class Histogram:
    """Counts numbers by bucket; `counts` has one more than `bounds`."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(
        self, bounds: Sequence[float] = SECONDS, counts: Sequence[int] | None = None
    ) -> None:
        self.bounds = bounds
        self.counts = list(counts) if counts is not None else [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def since(self, before: Sequence[int]) -> Histogram:
        """What was noted since `counts` was as given; its `sum` is not known and 0."""
        rest = [now - then for now, then in zip(self.counts, before, strict=True)]
        return Histogram(self.bounds, rest)

    def quantile(self, share: float) -> float:
        """The bound below which this share of the numbers lies: exact to a bucket, 0 when there are none.

        Numbers beyond the last bound count as that bound.
        """
        wanted, seen = share * self.count, 0
        if not wanted:
            return 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return self.bounds[-1]

    def buckets(self) -> list[tuple[str, float]]:
        """The cumulative counts by upper bound, as Prometheus wants them."""
        buckets, seen = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(seen)))
        return buckets
