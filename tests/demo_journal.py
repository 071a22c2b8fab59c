"""A data directory with a few sagas of the demo services in it, and the definitions they are made of."""

from __future__ import annotations

import trio

from sagakeep.demo.services import demo_services
from sagakeep.orchestrator import open_orchestrator
from sagakeep.validation import parse_definition


def order(saga_id, **changes):
    """The order of the specification; `changes` replace the members of its steps by id."""
    steps = [
        {
            "id": "reserve_inventory",
            "service": "inventory",
            "action": "reserve",
            "compensation": "release",
            "payload": {"productId": "prod_123", "quantity": 2},
            "sensitive": ["/productId"],
        },
        {
            "id": "process_payment",
            "service": "payment",
            "action": "charge",
            "compensation": "refund",
            "payload": {
                "amount": 99.99,
                "currency": "USD",
                "reservation": {"$from": "steps.reserve_inventory.result.reservationId"},
            },
        },
        {"id": "ship_order", "service": "shipping", "action": "ship", "compensation": "cancel"},
    ]
    for step in steps:
        step |= changes.get(step["id"], {})
    return {"id": saga_id, "name": "order_processing", "steps": steps}


def fill(directory):
    """Run a saga that completes, one that is undone, one that is undone late, and one that is deleted."""

    async def run():
        async with open_orchestrator(directory, demo_services(directory)) as sagas:
            for document in (
                order("done"),
                order("undone", ship_order={"action": "fail"}),
                order("refunded"),
                order("deleted"),
                order("held", reserve_inventory={"action": "fail"}),
            ):
                await sagas.start(parse_definition(document, sagas.services))
                await sagas.wait(document["id"], 10)
            await sagas.compensate("refunded")
            await sagas.wait("refunded", 10)
            await sagas.delete("deleted")

    trio.run(run)
