"""The queues of all services, as admission sees them: a new saga is refused before it only makes one longer."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

from sagakeep.actors.gateway import Gateway
from sagakeep.definition import SagaDefinition
from sagakeep.errors import Unavailable

RETRY_AFTER_S_MIN: Final = 5  # a queue that is too long is not short in a second
RETRY_AFTER_S_MAX: Final = 60


class ServiceQueues:
    """`crowded` has the names of the services whose queue was too long; almost always it has none."""

    def __init__(self, gateways: Mapping[str, Gateway], crowded: set[str]) -> None:
        self._gateways = gateways
        self._crowded = crowded

    def check_admission(self, definition: SagaDefinition) -> None:
        """Raise Unavailable when the queue of a service that the saga needs, first or later, is too long."""
        if not self._crowded:
            return
        for name in {step.service for step in definition.steps} & self._crowded:
            gateway = self._gateways[name]
            if gateway.is_crowded:
                raise Unavailable(_reason(gateway), retry_after_s=_retry_after_s(gateway))
            self._crowded.discard(name)


def _reason(gateway: Gateway) -> str:
    queued, breaker = gateway.statistics().queued, gateway.throttle.breaker
    how = f"whose breaker is {breaker}" if gateway.paused is None else "which is paused"
    return (
        f"{queued} attempts wait for service {gateway.name!r}, {how}:"
        f" from {gateway.queue_max} on no new saga that needs it is taken"
    )


def _retry_after_s(gateway: Gateway) -> int:
    """When there may be room; as soon as the service is called again, at the earliest."""
    now_s = gateway.timers.now_s()
    wait_s = min(gateway.throttle.ready_at_s(now_s) - now_s, RETRY_AFTER_S_MAX)
    return max(RETRY_AFTER_S_MIN, ceil(wait_s))
