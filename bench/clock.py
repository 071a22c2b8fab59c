"""A clock that can be put forward: an hour of waiting passes at once, and all that fell due in it is due."""

from __future__ import annotations

import time

import trio


class JumpingClock(trio.abc.Clock):
    """Real time, and whatever it was put forward by; for trio and, as `wall`, for the orchestrator."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def put_forward(self, by_s: float) -> None:
        self._ahead_s += by_s

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return time.perf_counter() + self._ahead_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()

    def wall(self) -> float:
        return time.time() + self._ahead_s


def jumping_clock() -> JumpingClock:
    """Return the clock of the loop that this is called in, which must have been started with one."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, JumpingClock), "this benchmark puts the clock forward"
    return clock
