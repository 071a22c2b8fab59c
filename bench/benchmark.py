"""What a benchmark is: something that measures at a scale, tells how far it is, and returns numbers."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

Numbers = dict[str, object]


class Scale(NamedTuple):
    """How much of it: the sagas, and for those that last a given time the seconds."""

    sagas: int
    seconds: float = 0.0


class Progress(Protocol):
    """A bar: `expect` says of how much, a call says that so much more is done."""

    def expect(self, total: int) -> None: ...

    def __call__(self, count: int) -> None: ...


class Benchmark(NamedTuple):
    """`scale` is what it measures at when nothing else is asked for. Raises when the work was not done."""

    measure: Callable[[Scale, Progress], Awaitable[Numbers]]
    scale: Scale


class Silent:
    """A bar that nobody looks at."""

    def expect(self, total: int) -> None:
        pass

    def __call__(self, count: int) -> None:
        pass


def work_directory() -> AbstractContextManager[str]:
    """Yield a directory for the length of a measurement; SAGAKEEP_BENCH_DIR says on which disk."""
    return TemporaryDirectory(prefix="sagakeep-bench-", dir=os.environ.get("SAGAKEEP_BENCH_DIR"))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of all is not above; of none, 0."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Sum times up, in milliseconds."""
    return {
        "p50": round(statistics.median(seconds) * 1e3, 2) if seconds else 0.0,
        "p99": round(percentile(seconds, 0.99) * 1e3, 2),
    }
