"""Sagas at random, each with what its services will do, and what it may come to in the end."""

from __future__ import annotations

import random
from collections.abc import Sequence

SERVICES = ("stock", "bank")
SHAPES: tuple[tuple[tuple[str, tuple[str, ...]], ...], ...] = (
    (("a", ()),),
    (("a", ()), ("b", ("a",))),
    (("a", ()), ("b", ("a",)), ("c", ("b",))),
    (("a", ()), ("b", ("a",)), ("c", ("a",)), ("d", ("b", "c"))),
)
ACTIONS = ("done", "done", "done", "done", "flaky", "slow", "lost")
ENDINGS = ("done", "done", "done", "done", "refused", "vanished")  # of one step of the saga
UNDOS = ("done", "done", "flaky", "lost", "slow", "stubborn")

STILL = frozenset({"completed", "compensated", "failed", "compensation_failed"})


def order(name: str, timeout_s: float = 60.0) -> dict[str, object]:
    """The definition that goes by this name, always the same; whatever its id, `tags.order` is the name."""
    draw = random.Random(name)
    shape = draw.choice(SHAPES)
    special = draw.randrange(len(shape))
    ending = draw.choice(ENDINGS)
    steps = []
    for at, (step, after) in enumerate(shape):
        then = ending if at == special and ending != "done" else draw.choice(ACTIONS)
        steps.append(_step(draw, step, after, then) | {"timeout": timeout_s})
    document: dict[str, object] = {
        "name": "order",
        "steps": steps,
        "timeout": 86_400,
        "tags": {"order": name},
    }
    if draw.random() < 0.5:
        document["id"] = name
    return document


def _step(draw: random.Random, step: str, after: Sequence[str], then: str) -> dict[str, object]:
    return {
        "id": step,
        "service": draw.choice(SERVICES),
        "action": "do",
        "compensation": "undo",
        "dependsOn": list(after),
        "payload": {"then": then},
        "compensationPayload": {"then": draw.choice(UNDOS)},
        "maxRetries": 1 if then == "vanished" else 100,
        "compensationMaxRetries": 100,
        "retry": {"initialInterval": 0.005, "maxInterval": 0.02},
    }


def endings(document: dict[str, object]) -> frozenset[str]:
    """The statuses in which the saga may stand still when nobody asks anything of it."""
    steps = _steps(document)
    thens = [_then(step, "payload") for step in steps]
    if not {"refused", "vanished"} & set(thens):
        return frozenset({"completed"})
    ends = {"compensated"}
    if "refused" in thens:
        ends.add("failed")  # when it was the first thing to be done
    if any(_then(step, "compensationPayload") == "stubborn" for step in steps):
        ends.add("compensation_failed")
    return frozenset(ends)


def undone_endings(document: dict[str, object]) -> frozenset[str]:
    """The statuses in which the saga may stand still when it was asked to be undone."""
    undos = {_then(step, "compensationPayload") for step in _steps(document)}
    return frozenset(
        {"compensated", "compensation_failed"} if "stubborn" in undos else {"compensated"}
    )


def dependencies(document: dict[str, object]) -> dict[str, list[str]]:
    """The steps that each step waits for."""
    waits: dict[str, list[str]] = {}
    for step in _steps(document):
        after = step["dependsOn"]
        assert isinstance(after, list)
        waits[str(step["id"])] = after
    return waits


def _steps(document: dict[str, object]) -> list[dict[str, object]]:
    steps = document["steps"]
    assert isinstance(steps, list)
    return steps


def _then(step: dict[str, object], member: str) -> str:
    payload = step[member]
    assert isinstance(payload, dict)
    return str(payload["then"])
