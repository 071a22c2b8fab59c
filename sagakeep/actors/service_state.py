"""A service as it is seen from here, for people: what it is asked, what waits for it, and why."""

from __future__ import annotations

from typing import NamedTuple

from sagakeep.actors.breaker import BreakerState
from sagakeep.actors.gateway import Gateway
from sagakeep.runtime.clock import Clock
from sagakeep.runtime.timers import NEVER_S
from sagakeep.service_pause import ServicePause


class ServiceState(NamedTuple):
    """`failures` are those in a row, `rate_per_s` what may begin in a second just now, and `next_at_utc_s` when
    the next attempt may. Times are None when there is nothing to wait for; that one also while a probe is under
    way or it is paused, whose end nobody knows."""

    breaker: BreakerState
    breaker_since_utc_s: float
    failures: int
    in_flight: int
    concurrency: int
    queued: int
    queue_max: int
    attempts: int
    rate_limit_per_s: float | None
    rate_per_s: float | None
    held_off_until_utc_s: float | None
    next_at_utc_s: float | None
    paused: ServicePause | None


def state_of(gateway: Gateway, clock: Clock) -> ServiceState:
    """Look at a service now."""
    now_s, spec, numbers = gateway.timers.now_s(), gateway.spec, gateway.statistics()
    throttle = gateway.throttle.state(now_s)
    origin_utc_s = clock.now_utc_s() - now_s

    def time_or_none(at_s: float) -> float | None:
        return origin_utc_s + at_s if now_s < at_s < NEVER_S else None

    return ServiceState(
        throttle.breaker,
        origin_utc_s + throttle.breaker_since_s,
        throttle.failures,
        numbers.in_flight,
        spec.concurrency,
        numbers.queued,
        gateway.queue_max,
        numbers.attempts,
        spec.rate_limit_per_s or None,
        throttle.rate_per_s,
        time_or_none(throttle.held_off_until_s),
        time_or_none(throttle.next_at_s) if gateway.paused is None else None,
        gateway.paused,
    )
