"""How long the steps of a trio loop take: what one task keeps all others waiting for, and whose step it was.

Watching costs a microsecond or two for each step, so it is done in a turn of its own, never in one whose
throughput is measured. A thread samples where a long step is, which says what to cut.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

PARTS: Final = 16  # a bucket is an octave and one of its upper eight sixteenths: known to 12 %
LONG_S: Final = 0.005  # a step that has taken so long is sampled
SAMPLE_EVERY_S: Final = 0.002
FRAMES: Final = 3


class StepTimes(trio.abc.Instrument):
    """Counts the steps of all tasks by how long they took, in a fixed amount of memory.

    `longest_cpu_s` is of the loop's own thread: a machine with other guests, or another thread that has the
    interpreter, adds to the one and not to the other.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.longest_cpu_s = 0.0
        self.longest_task = ""
        self.longest_at = ""
        self.samples: Counter[str] = Counter()
        self._counts: dict[int, int] = {}
        self._began_ns = 0
        self._began_cpu_ns = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_cpu_ns = time.thread_time_ns()
        self._began_ns = time.perf_counter_ns()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._began_ns:  # the step in which the watching began
            return
        took_ns = time.perf_counter_ns() - self._began_ns
        self._began_ns = 0
        octave = took_ns.bit_length()
        bucket = octave * PARTS + (took_ns * PARTS >> octave)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        cpu_s = (time.thread_time_ns() - self._began_cpu_ns) / 1e9
        if cpu_s > self.longest_cpu_s:
            self.longest_cpu_s, self.longest_task = cpu_s, task.name
            self.longest_at = self.samples.most_common(1)[0][0] if self.samples else ""
        if self.samples:
            self.samples.clear()
        self.longest_s = max(self.longest_s, took_ns / 1e9)

    @property
    def step_took_s(self) -> float:
        """How long the step of now has taken so far, 0 when none is under way; in any thread."""
        began_ns = self._began_ns
        return (time.perf_counter_ns() - began_ns) / 1e9 if began_ns else 0.0

    def percentile_s(self, share: float) -> float:
        """Return a time that so large a share of the steps did not exceed, to 12 %."""
        left = share * sum(self._counts.values())
        for bucket, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return min(_upper_s(bucket), self.longest_s)
        return 0.0

    def numbers(self) -> dict[str, float | str]:
        """Say it in the words of the JSON objects."""
        return {
            "longest_step_ms": round(self.longest_s * 1e3, 3),
            "longest_step_cpu_ms": round(self.longest_cpu_s * 1e3, 3),
            "longest_step_of": self.longest_task,
            "longest_step_at": self.longest_at,
            "p999_step_ms": round(self.percentile_s(0.999) * 1e3, 3),
        }


def _upper_s(bucket: int) -> float:
    octave, part = divmod(bucket, PARTS)
    return ((part + 1) << octave) / PARTS / 1e9


@contextmanager
def watched_steps() -> Iterator[StepTimes]:
    """Watch the loop that this is called in, until the block is left."""
    times, over = StepTimes(), threading.Event()
    loop = threading.get_ident()
    sampler = threading.Thread(target=_sample, args=(times, loop, over), daemon=True)
    trio.lowlevel.add_instrument(times)
    sampler.start()
    try:
        yield times
    finally:
        trio.lowlevel.remove_instrument(times)
        over.set()
        sampler.join()


def _sample(times: StepTimes, loop: int, over: threading.Event) -> None:
    """Look where a long step is, until it is over."""
    while not over.wait(SAMPLE_EVERY_S):
        if times.step_took_s > LONG_S:
            frame = sys._current_frames().get(loop)
            times.samples[_place(frame)] += 1


def _place(frame: FrameType | None) -> str:
    """The innermost calls, the innermost first."""
    names: list[str] = []
    while frame is not None and len(names) < FRAMES:
        names.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(names)
