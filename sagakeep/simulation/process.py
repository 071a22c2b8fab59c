"""One process of the product, from its start to its end, at a point of our choice or of its own accord.

Everything that it does to the world passes here and is counted: operations of the disk, calls of services, and
the steps of its tasks. A `Point` names one of them, and whether the process ends before it, in it or after it.

A process that ends must do nothing more, and trio cannot abandon a run. So first the fence falls: from then on
whatever its tasks ask of the world raises Crashed and has no effect. Then all of it is cancelled.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, NamedTuple

import trio

from sagakeep.simulation.trace import Trace

STEPS_MAX: Final = 200_000  # of a process; one that takes more does not end

Kind = Literal["disk", "call", "step"]


class Moment(StrEnum):
    """Where in what is done the process ends; in the middle of a write some of it was written."""

    BEFORE = "before"
    PARTIAL = "partial"
    AFTER = "after"


class Point(NamedTuple):
    """The `number`th deed of a kind in a process, counted from 1."""

    kind: Kind
    number: int
    moment: Moment = Moment.BEFORE

    def __str__(self) -> str:
        return f"{self.moment} {self.kind} {self.number}"


class Crashed(BaseException):
    """The process is no more; what its code still does has no effect."""


class DoesNotEnd(Exception):
    """The process takes steps without end."""


class Process(trio.abc.Instrument):
    """Counts, and ends at `ends_at`, None for of its own accord."""

    def __init__(self, trace: Trace, ends_at: Point | None = None) -> None:
        self.is_alive = True
        self.disk_operations = self.calls = self.steps = 0
        self.ended_at_s = 0.0  # on the process's clock
        self._trace = trace
        self._ends_at = ends_at
        self._last_step = ends_at.number if ends_at and ends_at.kind == "step" else STEPS_MAX
        self._end = trio.Event()

    def check(self) -> None:
        """Raise Crashed if the process is no more."""
        if not self.is_alive:
            raise Crashed

    def count_disk(self) -> int:
        self.check()
        self.disk_operations += 1
        return self.disk_operations

    def count_call(self) -> int:
        self.check()
        self.calls += 1
        return self.calls

    def ends(self, kind: Kind, number: int, moment: Moment) -> bool:
        """Is this the point where the process ends?"""
        return self._ends_at is not None and (kind, number, moment) == self._ends_at

    def reach(self, kind: Kind, number: int, moment: Moment) -> None:
        """Raise Crashed at the point where the process ends, and after it."""
        self.check()
        if self.ends(kind, number, moment):
            self.end()

    def end(self) -> None:
        """End it here."""
        self._fall()
        raise Crashed

    def stop(self) -> None:
        """It has ended of its own accord."""
        if self.is_alive:
            self.ended_at_s = trio.current_time()

    @property
    def is_endless(self) -> bool:
        """Did it take more steps than any process that ends?"""
        return self.steps >= STEPS_MAX

    def _fall(self) -> None:
        if self.is_alive:
            self.stop()
            self.is_alive = False
            self._trace.note(f"crash {self._ends_at or 'here'}")
            self._end.set()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps >= self._last_step:
            self._fall()

    async def reap(self) -> None:
        """Cancel all that is left of it."""
        await self._end.wait()
        if self.is_endless:
            raise DoesNotEnd(f"more than {STEPS_MAX} steps")
        raise Crashed
