"""Supervision: a child that dies of a bug runs again, but not for ever.

A crash is an `Exception` that leaves a child's turn. Cancellation is none, and an expected failure (a declined
card) never gets here: it is an outcome. Each child has a restart budget of its own, so that one poison child
cannot use up what its siblings would need (Erlang/OTP's intensity and period, but per child).
"""

from __future__ import annotations

from collections import deque

import trio


class RestartBudget:
    """At most `restarts_max` restarts within `period_s`."""

    def __init__(self, restarts_max: int, period_s: float) -> None:
        self._restarts_max = restarts_max
        self._period_s = period_s
        self._times_s: deque[float] = deque()

    def spend(self) -> bool:
        """Take one restart from the budget; False when none is left."""
        now_s = trio.current_time()
        while self._times_s and self._times_s[0] <= now_s - self._period_s:
            self._times_s.popleft()
        if len(self._times_s) >= self._restarts_max:
            return False
        self._times_s.append(now_s)
        return True
