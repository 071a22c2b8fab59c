"""What a seed stands for. Everything about a world is decided here, so that it can be printed and changed.

Services are as good as their promise, so what may happen to a call depends on it: a request that arrives after
its timeout, perhaps after its undo, is fair to a service with a barrier only, and one that arrives twice to a
service that knows its keys.
"""

from __future__ import annotations

import errno
from random import Random
from typing import NamedTuple

import msgspec

from sagakeep.simulation.ledger import Promise
from sagakeep.simulation.process import Moment, Point
from sagakeep.simulation.process_disk import DiskFault
from sagakeep.simulation.service import NO_LIMIT, Behaviour, CallLimit
from sagakeep.simulation.world import Shape

CANARY = "canary-4111111111111111"  # stands where a definition says `sensitive`

ERASE_AFTER_S = 20.0  # so that it comes to that in the life of a small world
NEVER_STUCK_EVERY_S = 5.0  # a second look is two seconds later; a call may take eight
ERRNOS = (errno.EIO, errno.ENOSPC, errno.EROFS)
FAIR = {
    Promise.BLIND: frozenset(Behaviour) - {Behaviour.TWICE, Behaviour.SLOW},
    Promise.ONCE: frozenset(Behaviour) - {Behaviour.SLOW},
    Promise.BARRIER: frozenset(Behaviour),
}


class ServicePlan(NamedTuple):
    """A service: its promise, what its calls come to (weights), and how long a call takes at most."""

    promise: Promise
    weights: dict[str, float]
    undo_weights: dict[str, float]
    latency_s: float = 0.0
    late_reply_s: float = 0.0
    poison: float = 0.0  # how likely an answer is one that crashes the saga's actor
    limit: CallLimit = NO_LIMIT


class Wish(NamedTuple):
    """What a client asks for, `after_s` seconds after its last answer."""

    after_s: float
    kind: str
    step_id: str = ""


class SagaPlan(NamedTuple):
    """A saga, and what is asked of it in the course of time."""

    document: dict[str, object]
    idempotency_key: str
    wishes: tuple[Wish, ...]
    starts_after_s: float = 0.0
    by_http: bool = False


class Crash(NamedTuple):
    """A process ends at a point, or breaks at a fault; then the power is cut, or it is not."""

    ends_at: Point | None
    faults: tuple[DiskFault, ...] = ()
    cuts_power: bool = True
    down_s: float = 0.0
    wall_skew_s: float = 0.0
    flips_bit: bool = False
    drains_after_s: float | None = None  # a graceful stop, in good order
    grace_s: float = 0.0
    rows_fail: float = 0.0  # how likely an access to the rows fails


class Configuration(NamedTuple):
    """A world. After the crashes comes one process without any trouble."""

    seed: int
    sagas: tuple[SagaPlan, ...]
    services: dict[str, ServicePlan]
    crashes: tuple[Crash, ...]
    shape: Shape
    concurrency: int = 64

    def text(self) -> str:
        """JSON for people."""
        return msgspec.json.format(msgspec.json.encode(named(self)), indent=2).decode()


def named(value: object) -> object:
    """Named tuples as objects, however deep, for JSON."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: named(one) for name, one in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [named(one) for one in value]
    if isinstance(value, dict):
        return {name: named(one) for name, one in value.items()}
    return value


def configure(seed: int) -> Configuration:
    """Expand a seed."""
    random = Random(f"configuration/{seed}")
    limits = Random(f"limits/{seed}")  # of its own: what seeds stood for before stays the same
    steering = Random(f"steering/{seed}")
    names = ["alpha", "beta"][: random.choice((1, 1, 2))]
    return Configuration(
        seed=seed,
        sagas=tuple(
            _steered(_saga(random, number, names), steering)
            for number in range(random.choice((1, 1, 1, 2, 2, 3, 4)))
        ),
        services={name: _limited(_service(random), limits) for name in names},
        crashes=tuple(_crash(random) for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 4)))),
        shape=Shape(
            segment_bytes=random.choice((4 << 10, 4 << 10, 8 << 10, 16 << 10)),
            snapshot_every_bytes=random.choice((500, 2_000, 8_000, 1 << 20)),
            commit_bytes=random.choice((1, 600, 1 << 20)),
            disk_latency_s=random.choice((0.0, 0.0, 0.0, 0.002, 0.3)),
            erase_after_s=ERASE_AFTER_S,
            never_stuck_every_s=NEVER_STUCK_EVERY_S,
        ),
        concurrency=random.choice((1, 2, 64)),
    )


def _service(random: Random) -> ServicePlan:
    promise = random.choice((Promise.BLIND, Promise.ONCE, Promise.BARRIER, Promise.BARRIER))
    latency_s = random.choice((0.0, 0.01, 1.0))
    return ServicePlan(
        promise,
        _weather(random, promise, (0.0, 0.15, 0.4, 0.8)),
        _weather(random, promise, (0.0, 0.1, 0.3)),
        latency_s,
        random.choice((0.0, 60.0)),
        random.choice((0.0,) * 9 + (0.3,)),
    )


def _limited(plan: ServicePlan, random: Random) -> ServicePlan:
    """One service in three may be called only so often."""
    if random.random() > 1 / 3:
        return plan
    return plan._replace(
        limit=CallLimit(random.choice((0.3, 1.0, 5.0, 100.0)), random.choice((1, 1, 2, 5)))
    )


def _weather(random: Random, promise: Promise, troubles: tuple[float, ...]) -> dict[str, float]:
    """How often what happens: some kinds of trouble share what is not done well."""
    trouble = random.choice(troubles)
    bad = sorted(FAIR[promise] - {Behaviour.DONE})
    kinds = random.sample(bad, random.randint(1, 4))
    return {"done": 1.0 - trouble} | {str(kind): trouble / len(kinds) for kind in kinds}


def _crash(random: Random) -> Crash:
    kind = random.choice(("disk", "disk", "call", "step", "step", "fault", "none", "drain"))
    rest = {
        "cuts_power": random.random() < 0.6,
        "down_s": random.choice((0.0, 0.0, 1.0, 30.0)),
        "wall_skew_s": random.choice((0.0,) * 6 + (-86_400.0, 86_400.0)),
        "flips_bit": random.random() < 0.04,
        "rows_fail": random.choice((0.0,) * 8 + (0.1, 0.5)),
    }
    match kind:
        case "disk":
            number = random.randint(1, random.choice((60, 60, 200)))
            return Crash(Point("disk", number, random.choice(list(Moment))), **rest)
        case "call":
            moment = random.choice((Moment.BEFORE, Moment.AFTER))
            return Crash(Point("call", random.randint(1, 12), moment), **rest)
        case "step":
            number = random.randint(1, random.choice((100, 300, 1_000)))
            return Crash(Point("step", number), **rest)
        case "fault":
            number = random.randint(1, random.choice((60, 60, 200)))
            fault = DiskFault(number, random.choice(ERRNOS), random.random() < 0.5)
            return Crash(Point("step", 5_000), (fault,), **rest)
        case "drain":
            drains_after_s = random.choice((0.0, 0.01, 0.5, 3.0, 30.0))
            return Crash(
                None,
                drains_after_s=drains_after_s,
                grace_s=random.choice((0.0, 1.0, 30.0)),
                **rest,
            )
        case _:
            return Crash(None, **rest)


# Sagas


def _saga(random: Random, number: int, services: list[str]) -> SagaPlan:
    count = random.choice((1, 2, 2, 3, 3, 4))
    pivot = random.randrange(count) if random.random() < 0.3 else count
    steps: list[dict[str, object]] = []
    after_pivot: set[str] = set()
    for index in range(count):
        step = _step(random, index, steps, services)
        needs = step.get("dependsOn", [steps[-1]["id"]] if steps else [])
        if index == pivot:
            step["kind"] = "pivot"
        elif after_pivot.intersection(needs):
            step["kind"] = "retriable"
            step.pop("compensation", None)
        elif random.random() < 0.08:
            step["kind"] = "readOnly"
            step.pop("compensation", None)
        if step.get("kind") == "pivot" or after_pivot.intersection(needs):
            after_pivot.add(str(step["id"]))
        steps.append(step)
    naming = random.choice(("id", "key", "both", "both", "none"))
    document: dict[str, object] = {
        "name": "order",
        "steps": steps,
        "timeout": random.choice((2, 20, 20, 100)),
        "maxRetries": random.choice((0, 1, 3)),
        "onFailure": random.choice(("compensate",) * 5 + ("hold",)),
    }
    if naming in ("id", "both"):
        document["id"] = f"s{number}"
    return SagaPlan(
        document,
        f"key {number}" if naming in ("key", "both") else "",
        tuple(_wish(random, steps) for _ in range(random.choice((0, 0, 1, 2, 3)))),
        random.choice((0.0, 0.0, 0.1, 3.0)),
        random.random() < 0.06,
    )


def _steered(plan: SagaPlan, random: Random) -> SagaPlan:
    """One saga in four is paused and, nearly always, resumed; one in eight meets an operator's other verbs."""
    wishes = list(plan.wishes)
    if random.random() < 0.25:
        place = random.randint(0, len(wishes))
        pause = Wish(random.choice((0.0, 0.1, 1.0, 10.0)), "pause")
        resume = Wish(random.choice((0.1, 3.0, 30.0)), "resume")
        wishes[place:place] = [pause, resume] if random.random() < 0.9 else [pause]
    if random.random() < 0.125:
        place = random.randint(0, len(wishes))
        kind = random.choice(("skip", "edit", "edit", "down", "down", "finish"))
        steps = plan.document["steps"]
        assert isinstance(steps, list)
        step_id = "" if kind == "finish" else str(random.choice(steps)["id"])
        wishes.insert(place, Wish(random.choice((0.0, 0.1, 1.0, 10.0)), kind, step_id))
    return plan._replace(wishes=tuple(wishes))


def _step(
    random: Random, index: int, before: list[dict[str, object]], services: list[str]
) -> dict[str, object]:
    step: dict[str, object] = {
        "id": f"t{index}",
        "service": random.choice(services),
        "action": "do",
        "compensation": "undo",
        "payload": {"n": index},
        "maxRetries": random.choice((0, 1, 2)),
        "compensationMaxRetries": random.choice((0, 1, 3)),
        "timeout": random.choice((0.5, 2, 2, 8)),
        "retry": {
            "initialInterval": random.choice((0.1, 1)),
            "maxInterval": 5,
        },
    }
    if random.random() < 0.5:
        step["dependsOn"] = [one["id"] for one in before if random.random() < 0.5]
    match random.choice(("undo",) * 4 + ("probe", "probe", "hold")):
        case "probe":
            step |= {"inDoubt": "probe", "probe": "ask"}
        case "hold":
            step["inDoubt"] = "hold"
    needs = step.get("dependsOn", [before[-1]["id"]] if before else [])
    assert isinstance(needs, list)
    if needs and random.random() < 0.3:
        step["payload"] = {"of": {"$from": f"steps.{needs[0]}.result.receipt"}}
    elif random.random() < 0.2:
        step["payload"] = {"card": {"number": CANARY}}
        step["sensitive"] = ["/card/number"]
    if random.random() < 0.2:
        step["compensationPayload"] = {"of": {"$from": f"steps.t{index}.result"}}
    if random.random() < 0.08:
        step.pop("compensation", None)
        step.pop("compensationPayload", None)
    if random.random() < 0.15:
        step["retry"] = {"initialInterval": 1, "maxElapsed": 3}
    return step


def _wish(random: Random, steps: list[dict[str, object]]) -> Wish:
    kind = random.choice(
        (
            "compensate",
            "compensate",
            "retry",
            "retry",
            "read",
            "events",
            "list",
            "again",
            "delete",
            "watch",
        )
    )
    step_id = ""
    if kind == "compensate" and random.random() < 0.3:
        step_id = str(random.choice(steps)["id"])
    return Wish(random.choice((0.0, 0.0, 0.05, 1.0, 5.0, 40.0)), kind, step_id)
