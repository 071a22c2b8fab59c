"""How long the steps of a trio loop take: what one task keeps all others waiting for.

Watching costs a microsecond or two for each step, so it is done in a turn of its own, never in one whose
throughput is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

PARTS: Final = 16  # a bucket is an octave and one of its upper eight sixteenths: known to 12 %


class StepTimes(trio.abc.Instrument):
    """Counts the steps of all tasks by how long they took, in a fixed amount of memory."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._counts: dict[int, int] = {}
        self._began_ns = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_ns = time.perf_counter_ns()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._began_ns:  # the step in which the watching began
            return
        took_ns = time.perf_counter_ns() - self._began_ns
        octave = took_ns.bit_length()
        bucket = octave * PARTS + (took_ns * PARTS >> octave)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        if took_ns > self.longest_s * 1e9:
            self.longest_s = took_ns / 1e9

    def percentile_s(self, share: float) -> float:
        """Return a time that so large a share of the steps did not exceed, to 12 %."""
        left = share * sum(self._counts.values())
        for bucket, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return min(_upper_s(bucket), self.longest_s)
        return 0.0

    def numbers(self) -> dict[str, float]:
        """Say it in the words of the JSON objects."""
        return {
            "longest_step_ms": round(self.longest_s * 1e3, 3),
            "p999_step_ms": round(self.percentile_s(0.999) * 1e3, 3),
        }


def _upper_s(bucket: int) -> float:
    octave, part = divmod(bucket, PARTS)
    return ((part + 1) << octave) / PARTS / 1e9


@contextmanager
def watched_steps() -> Iterator[StepTimes]:
    """Watch the loop that this is called in, until the block is left."""
    times = StepTimes()
    trio.lowlevel.add_instrument(times)
    try:
        yield times
    finally:
        trio.lowlevel.remove_instrument(times)
