"""Live facts: what only the running process knows of a saga, for whoever explains it. Read when asked for."""

from __future__ import annotations

from collections.abc import Mapping

from sagakeep.actors.breaker import BreakerState
from sagakeep.actors.gateway import Gateway
from sagakeep.actors.registry import Registry
from sagakeep.actors.service_state import ServiceState, state_of
from sagakeep.runtime.clock import Clock
from sagakeep.view import time_view
from sagakeep.waits import LiveFacts, Queue


def live_facts(
    saga_id: str, registry: Registry, gateways: Mapping[str, Gateway], clock: Clock
) -> LiveFacts:
    """Look how far the outstanding attempts of a saga have come, and how their services' gateways are."""
    begun = registry.begun(saga_id)
    services = {one.service for one in begun}
    queues = {
        name: _queue(state_of(gateways[name], clock)) for name in services if name in gateways
    }
    return LiveFacts(begun, queues)


def _queue(now: ServiceState) -> Queue:
    is_paused = now.paused is not None
    return Queue(now.in_flight, now.queued, now.concurrency, _note(now), is_paused)


def _note(now: ServiceState) -> str:
    """Say why calls are held back, though there may be room for them."""
    if now.paused is not None:
        return f"it is {now.paused.words(time_view(now.paused.since_utc_s))}"
    if now.breaker is not BreakerState.CLOSED:
        since = time_view(now.breaker_since_utc_s)
        probing = "a probe is under way"
        if now.breaker is BreakerState.OPEN:
            probing = "the next attempt is a probe"
            if now.next_at_utc_s is not None:
                probing = f"the next probe is at {time_view(now.next_at_utc_s)}"
        return f"its breaker is {now.breaker} since {since}, {probing}"
    if now.held_off_until_utc_s is not None:
        return f"it asked to be left alone until {time_view(now.held_off_until_utc_s)}"
    if now.next_at_utc_s is not None and now.rate_per_s is not None:
        return f"{now.rate_per_s:g} calls a second may begin just now"
    return ""
