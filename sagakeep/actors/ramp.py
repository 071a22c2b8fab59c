"""A ramp: the rate at which what has piled up goes to a service that may be just starting.

    per_s        ____            begins small, doubles every interval, up to the most;
            ____|                an interval with a failure in it is made again
       ____|

Pure: the time is given.
"""

from __future__ import annotations

from typing import Final

from sagakeep.actors.rate_limit import RateLimit

PULSE_S: Final = (
    0.02  # calls may come in pulses of so long: a timer for each would cost more than the call
)
_DOUBLINGS_MAX: Final = 64


class Ramp:
    """Lets calls pass at `per_s` calls a second from `began_s` on, doubled every `every_s` seconds up to
    `per_s_max`."""

    def __init__(self, per_s: float, per_s_max: float, every_s: float, began_s: float) -> None:
        self._per_s = min(per_s, per_s_max)
        self._per_s_max = per_s_max
        self._every_s = every_s
        self._began_s = began_s
        self._limit = RateLimit(self._per_s, 1.0)

    def per_s(self, now_s: float) -> float:
        """The rate at a time."""
        doublings = int(max(0.0, now_s - self._began_s) / self._every_s)
        return min(self._per_s_max, self._per_s * 2.0 ** min(doublings, _DOUBLINGS_MAX))

    def is_over(self, now_s: float) -> bool:
        """Has it reached its most?"""
        return self.per_s(now_s) >= self._per_s_max

    def ready_at_s(self, now_s: float) -> float:
        """The earliest time of the next call, as seen now."""
        self._limit.per_s = self.per_s(now_s)
        self._limit.burst = max(1.0, self._limit.per_s * PULSE_S)
        return max(self._began_s, self._limit.ready_at_s)

    def take(self, now_s: float) -> None:
        """A call begins, at `ready_at_s` or later."""
        self._limit.take(now_s)

    def falter(self, now_s: float) -> None:
        """A call has failed: keep the rate for one more interval."""
        if now_s > self._began_s:
            self._per_s, self._began_s = self.per_s(now_s), now_s
