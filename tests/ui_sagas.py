"""Sagas for the dashboard to show: orders at the demo services that go well, are undone, or need a person."""

from __future__ import annotations

RESERVE = {
    "id": "reserve_inventory",
    "service": "inventory",
    "action": "reserve",
    "compensation": "release",
    "payload": {"productId": "prod_123", "quantity": 2},
}
PAY = {
    "id": "process_payment",
    "service": "payment",
    "action": "charge",
    "compensation": "refund",
    "payload": {
        "amount": 99.99,
        "currency": "USD",
        "reservation": {"$from": "steps.reserve_inventory.result.reservationId"},
    },
}
SHIP = {
    "id": "ship_order",
    "service": "shipping",
    "action": "ship",
    "compensation": "cancel",
    "payload": {"address": "123 Main St"},
}
QUICK = {"initialInterval": 0.05, "maxInterval": 0.1}


def order(saga_id: str, *, pay: object = PAY, ship: object = SHIP, **more: object) -> dict:
    return {"id": saga_id, "name": "order_processing", "steps": [RESERVE, pay, ship], **more}


def undone(saga_id: str) -> dict:
    return order(saga_id, ship={**SHIP, "action": "fail"}, tags={"customer": "c-7"})


def stuck(saga_id: str) -> dict:
    """Its payment cannot be refunded by any call: a person must."""
    pay = {**PAY, "compensation": "fail"}
    return order(saga_id, pay=pay, ship={**SHIP, "action": "fail"})


def held(saga_id: str) -> dict:
    return order(saga_id, ship={**SHIP, "action": "fail"}, onFailure="hold")


def slow(saga_id: str, seconds: float = 600) -> dict:
    pay = {**PAY, "action": "wait", "payload": {"seconds": seconds}, "timeout": 900}
    return order(saga_id, pay=pay, timeout=1800)


def flaky(saga_id: str) -> dict:
    ship = {**SHIP, "action": "flaky", "payload": {"times": 2}, "retry": QUICK}
    return order(saga_id, ship=ship)


def trip(saga_id: str) -> dict:
    """A graph: two steps at once, a point of no return, and one that is retried until it is done."""
    steps = [
        {**RESERVE, "id": "hotel", "dependsOn": []},
        {**RESERVE, "id": "flight", "dependsOn": []},
        {**RESERVE, "id": "car", "dependsOn": ["flight"]},
        {
            **PAY,
            "id": "pay",
            "dependsOn": ["hotel", "car"],
            "payload": {"amount": 480, "currency": "EUR"},
            "kind": "pivot",
            "compensation": "",
        },
        {
            **SHIP,
            "id": "tickets",
            "dependsOn": ["pay"],
            "kind": "retriable",
            "compensation": "",
        },
    ]
    return {"id": saga_id, "name": "trip", "steps": steps}


def small(saga_id: str) -> dict:
    return {"id": saga_id, "name": "small", "steps": [RESERVE], "timeout": 7200}
