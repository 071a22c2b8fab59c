"""A service that answers at once, so that a fuzzer waits for the edge and for nothing else."""

from __future__ import annotations

from typing import Final

from sagakeep.service import Call, ServiceRefused, ServiceUnavailable


class Instant:
    """Knows the actions of the demo: what is done is `{"key"}`, `fail` refuses, `busy` is never available."""

    async def reserve(self, call: Call) -> object:
        return {"key": call.idempotency_key}

    charge = ship = release = refund = cancel = reserve

    async def fail(self, call: Call) -> object:
        raise ServiceRefused("declined")

    async def busy(self, call: Call) -> object:
        raise ServiceUnavailable("later", retry_after_s=3600)


instant: Final = Instant()
ACTIONS: Final = ("reserve", "charge", "ship", "fail", "busy")
SERVICES: Final = ("inventory", "payment", "shipping")
