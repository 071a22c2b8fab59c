"""The sagas of the show: orders, of which one cannot be shipped and is undone."""

from __future__ import annotations

from typing import Any, Final

SAGAS: Final = 20
UNLUCKY: Final = 7  # the number of the order that cannot be shipped
STEPS: Final = (
    ("reserve", "inventory"),
    ("pay", "payment"),
    ("pack", "inventory"),
    ("ship", "shipping"),
)


def demo_sagas(pace_s: float) -> list[dict[str, Any]]:
    """All orders; a step takes `pace_s` on average, and no two orders go in step."""
    return [_order(number, pace_s) for number in range(1, SAGAS + 1)]


def saga_id_of(number: int) -> str:
    return f"order-{number:02}"


def _order(number: int, pace_s: float) -> dict[str, Any]:
    steps = [_step(number, at, pace_s) for at in range(len(STEPS))]
    if number == UNLUCKY:
        steps[-1] |= {"action": "fail", "payload": {}}
    return {"id": saga_id_of(number), "name": "demo_order", "steps": steps}


def _step(number: int, at: int, pace_s: float) -> dict[str, Any]:
    step_id, service = STEPS[at]
    seconds = pace_s * (0.5 + (number * 7 + at * 3) % 10 / 9)
    return {
        "id": step_id,
        "service": service,
        "action": "wait",
        "payload": {"seconds": round(seconds, 3)},
        "compensation": "wait",
        "compensationPayload": {"seconds": round(pace_s, 3)},
    }
