"""The sagas that the benches run: two steps, and a way to have a thousand of them in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from sagakeep import limits
from sagakeep.definition import SagaDefinition
from sagakeep.orchestrator import Orchestrator
from sagakeep.service import Call, ServiceRefused
from sagakeep.state import SagaStatus
from sagakeep.validation import parse_definition

REFUSED_EVERY: Final = 10  # the second step of one in ten is refused, and its first undone
WAIT_S_MAX: Final = 7 * 24 * 3_600.0
PAYLOAD: Final = {"quantity": 2, "productId": "prod_123"}


class Nothing:
    """Does nothing, or refuses to."""

    async def do(self, call: Call) -> None:
        return None

    async def undo(self, call: Call) -> None:
        return None

    async def refuse(self, call: Call) -> None:
        raise ServiceRefused("as asked")


def make_document(service: str, second_action: str = "do") -> dict[str, object]:
    """An order of two steps at one service, as a client would send it."""
    step = {"service": service, "compensation": "undo", "payload": PAYLOAD}
    steps = [
        {"id": "reserve", "action": "do", **step},
        {"id": "charge", "action": second_action, **step},
    ]
    return {"name": "order", "steps": steps}


def make_waiting(service: str) -> dict[str, object]:
    """An order that waits for a week, or some part of it, before it asks again a service that is away."""
    retry = {"initialInterval": WAIT_S_MAX, "multiplier": 1, "maxInterval": WAIT_S_MAX}
    step = {"service": service, "action": "do", "compensation": "undo", "payload": PAYLOAD}
    patient = {**step, "retry": retry, "maxRetries": limits.RETRIES_MAX}
    steps = [{"id": "reserve", **patient}, {"id": "charge", **patient}]
    return {"name": "order", "steps": steps, "timeout": 2 * WAIT_S_MAX}


def make_definition(service: str, second_action: str = "do") -> SagaDefinition:
    return parse_definition(make_document(service, second_action), {service})


async def run_sagas(
    orchestrator: Orchestrator,
    service: str,
    sagas: int,
    in_flight: int,
    ended: Callable[[int], None],
) -> Counter[SagaStatus]:
    """Start `sagas` with at most `in_flight` at a time and wait for each; counts by end status."""
    good, bad = make_definition(service), make_definition(service, "refuse")
    ends: Counter[SagaStatus] = Counter()
    numbers = iter(range(sagas))

    async def client() -> None:
        for number in numbers:
            definition = good if number % REFUSED_EVERY else bad
            saga = await orchestrator.run(definition, timeout_s=60)
            ends[saga.status] += 1
            ended(1)

    async with trio.open_nursery() as nursery:
        for _ in range(min(in_flight, sagas)):
            nursery.start_soon(client)
    return ends


def check_ends(ends: Counter[SagaStatus], sagas: int) -> None:
    """Raise when a saga did not end as it must. For `sagas` that were run in turns of whole tens."""
    refused = sagas // REFUSED_EVERY
    if ends != {SagaStatus.COMPLETED: sagas - refused, SagaStatus.COMPENSATED: refused}:
        raise AssertionError(f"sagas ended as {dict(ends)}")
