"""A rate limit: a bucket of tokens, of which each call takes one, kept as a single time.

    calls in any `t` seconds   <=   burst + per_s * t

`_full_at_s` is when the bucket would be full again (the "theoretical arrival time" of GCRA, ATM Forum 1996): a
call is early when that time is more than a burst away. Nothing is to be refilled, and nothing drifts.

Pure: the time is given.
"""

from __future__ import annotations


class RateLimit:
    """At most `per_s` calls a second, and `burst` at once, both above 0. `per_s` may be changed."""

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self.burst = burst
        self._full_at_s = 0.0

    @property
    def ready_at_s(self) -> float:
        """The earliest time of the next call."""
        return self._full_at_s - (self.burst - 1.0) / self.per_s

    def take(self, now_s: float) -> None:
        """A call begins, at `ready_at_s` or later."""
        self._full_at_s = max(self._full_at_s, now_s) + 1.0 / self.per_s
