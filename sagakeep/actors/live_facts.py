"""Live facts: what only the running process knows of a saga, for whoever explains it. Read when asked for."""

from __future__ import annotations

from collections.abc import Mapping

from sagakeep.actors.breaker import BreakerState
from sagakeep.actors.gateway import Gateway, GatewayState
from sagakeep.actors.registry import Registry
from sagakeep.runtime.clock import Clock
from sagakeep.view import time_view
from sagakeep.waits import LiveFacts, Queue


def live_facts(
    saga_id: str, registry: Registry, gateways: Mapping[str, Gateway], clock: Clock
) -> LiveFacts:
    """Look how far the outstanding attempts of a saga have come, and how their services' gateways are."""
    begun = registry.begun(saga_id)
    services = {one.service for one in begun}
    queues = {name: _queue(gateways[name].state(), clock) for name in services if name in gateways}
    return LiveFacts(begun, queues)


def _queue(state: GatewayState, clock: Clock) -> Queue:
    now, spec = state.statistics, state.spec
    return Queue(now.in_flight, now.queued, spec.concurrency, _note(state, clock))


def _note(state: GatewayState, clock: Clock) -> str:
    """Say why calls are held back, though there may be room for them."""
    throttle, now_s = state.throttle, clock.monotonic_of(clock.now_utc_s())
    if throttle.breaker is not BreakerState.CLOSED:
        since = time_view(clock.utc_of(throttle.breaker_since_s))
        probing = "a probe is under way"
        if throttle.breaker is BreakerState.OPEN:
            probing = f"the next probe is at {time_view(clock.utc_of(throttle.next_at_s))}"
        return f"its breaker is {throttle.breaker} since {since}, {probing}"
    if throttle.held_off_until_s > now_s:
        until = time_view(clock.utc_of(throttle.held_off_until_s))
        return f"it asked to be left alone until {until}"
    if throttle.next_at_s > now_s and throttle.rate_per_s is not None:
        return f"{throttle.rate_per_s:g} calls a second may begin just now"
    return ""
