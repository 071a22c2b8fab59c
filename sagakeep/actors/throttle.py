"""The throttle of one service: whether the next attempt may begin, and when.

    hold-off      the service asked us to come later (Retry-After): nobody calls it until then
    breaker       it does not answer: a probe now and then
    ramp          it is back from either: what piled up goes out at a rate that begins small and doubles
    rate limit    what the operator allows

The latest of the four times counts. Almost always there is nothing to wait for: `is_free` says so in one look.

Pure: the time is given.
"""

from __future__ import annotations

from typing import NamedTuple

from sagakeep import limits
from sagakeep.actors.breaker import Breaker, BreakerState, Sign, sign_of
from sagakeep.actors.ramp import Ramp
from sagakeep.actors.rate_limit import RateLimit
from sagakeep.service import AttemptResult

BURST_S = 0.1  # of the calls that a rate limit allows may come at once, unless it says how many


class ThrottleRules(NamedTuple):
    """What an operator may say; 0 is no rate limit, its own burst, no breaker, no ramp."""

    rate_limit_per_s: float
    rate_burst: int
    breaker_failures: int
    breaker_open_s: float
    ramp_calls_per_s: float


class ThrottleState(NamedTuple):
    """How it stands. Times are of trio's clock; `held_off_until_s` is in the past, or 0, when nobody is held off;
    `rate_per_s` is what may begin in a second just now, None for any number."""

    breaker: BreakerState
    breaker_since_s: float
    failures: int
    held_off_until_s: float
    next_at_s: float
    rate_per_s: float | None


class Throttle:
    """Asked before each attempt, told after it. `is_free`: no attempt has to wait; `is_calm`: and the last one
    was a good sign, so that another changes nothing."""

    def __init__(self, rules: ThrottleRules, now_s: float) -> None:
        self._rules = rules
        self._breaker = Breaker(rules.breaker_failures, rules.breaker_open_s, now_s)
        self._limit: RateLimit | None = None
        if rules.rate_limit_per_s:
            burst = rules.rate_burst or max(1.0, rules.rate_limit_per_s * BURST_S)
            self._limit = RateLimit(rules.rate_limit_per_s, burst)
        self._ramp: Ramp | None = None
        self._held_off_until_s = 0.0
        self.is_free = self.is_calm = self._limit is None

    @property
    def breaker(self) -> BreakerState:
        """Whether the service counts as there."""
        return self._breaker.state

    def ready_at_s(self, now_s: float) -> float:
        """The earliest time of the next attempt, as seen now; for ever while a probe is under way."""
        at_s = max(self._held_off_until_s, self._breaker.ready_at_s)
        if self._limit is not None:
            at_s = max(at_s, self._limit.ready_at_s)
        if self._ramp is not None:
            at_s = max(at_s, self._ramp.ready_at_s(now_s))
        return at_s

    def begin(self, now_s: float) -> bool:
        """An attempt begins, at `ready_at_s` or later; is it a probe?"""
        if self._limit is not None:
            self._limit.take(now_s)
        if self._ramp is not None:
            self._ramp.take(now_s)
            if self._ramp.is_over(now_s):
                self._ramp = None
        is_probe = self._breaker.begin(now_s)
        self._look(now_s)
        return is_probe

    def learn(self, result: AttemptResult, saga_id: str, now_s: float, *, is_probe: bool) -> None:
        """An attempt has ended; that may move the breaker."""
        sign, before = sign_of(result), self._breaker.state
        self._breaker.learn(sign, saga_id, now_s, is_probe=is_probe)
        if sign is Sign.BUSY:
            self._hold_off(result.retry_after_s or 0.0, now_s)
        elif sign is Sign.FAILED and self._ramp is not None:
            self._ramp.falter(now_s)
        if before is not BreakerState.CLOSED and self._breaker.state is BreakerState.CLOSED:
            self._begin_ramp(max(now_s, self._held_off_until_s))
        self._look(now_s)

    def state(self, now_s: float) -> ThrottleState:
        """How it stands now."""
        rates = [self._rules.rate_limit_per_s] if self._limit is not None else []
        if self._ramp is not None:
            rates.append(self._ramp.per_s(now_s))
        return ThrottleState(
            self._breaker.state,
            self._breaker.since_s,
            self._breaker.failures,
            self._held_off_until_s,
            self.ready_at_s(now_s),
            min(rates, default=None),
        )

    def _hold_off(self, wish_s: float, now_s: float) -> None:
        if wish_s <= 0.0:
            return
        until_s = now_s + min(wish_s, limits.HOLD_OFF_S_MAX)
        self._held_off_until_s = max(self._held_off_until_s, until_s)
        self._begin_ramp(self._held_off_until_s)

    def _begin_ramp(self, at_s: float) -> None:
        per_s_max = self._rules.rate_limit_per_s or limits.RAMP_CALLS_PER_S_MAX
        if self._rules.ramp_calls_per_s:
            every_s = limits.RAMP_DOUBLES_EVERY_S
            self._ramp = Ramp(self._rules.ramp_calls_per_s, per_s_max, every_s, at_s)

    def _look(self, now_s: float) -> None:
        is_closed = self._breaker.state is BreakerState.CLOSED
        is_held_off = self._held_off_until_s > now_s
        self.is_free = self._limit is None and self._ramp is None and is_closed and not is_held_off
        self.is_calm = self.is_free and not self._breaker.failures
