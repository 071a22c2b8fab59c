"""Small worlds: few enough moments that every one of them can be tried, alone and in pairs."""

from __future__ import annotations

from sagakeep.simulation.ledger import Promise
from sagakeep.simulation.world import Shape
from simulation.configuration import ERASE_AFTER_S, Configuration, SagaPlan, ServicePlan, Wish

WELL = {"done": 1.0}


def _step(step_id: str, service: str = "alpha", **more: object) -> dict[str, object]:
    return {
        "id": step_id,
        "service": service,
        "action": "do",
        "compensation": "undo",
        "maxRetries": 1,
        "compensationMaxRetries": 2,
        "timeout": 2,
        "retry": {"initialInterval": 0.1, "maxInterval": 1},
        **more,
    }


def _saga(saga_id: str, *steps: dict[str, object], **more: object) -> SagaPlan:
    document = {"id": saga_id, "name": "small", "steps": list(steps), "timeout": 30, **more}
    return SagaPlan(document, f"key of {saga_id}", ())


def _nameless(key: str) -> SagaPlan:
    """A saga whose id the orchestrator chooses; two clients may ask for it at the same time."""
    document = {"name": "small", "steps": [_step("a")], "timeout": 30}
    return SagaPlan(document, key, ())


def _world(*sagas: SagaPlan, trouble: dict[str, float] | None = None) -> Configuration:
    """`alpha` does what it is asked; `beta` has the trouble."""
    services = {
        "alpha": ServicePlan(Promise.BARRIER, WELL, WELL),
        "beta": ServicePlan(Promise.BARRIER, trouble or WELL, WELL),
    }
    shape = Shape(4 << 10, 600, 1 << 20, erase_after_s=ERASE_AFTER_S)
    return Configuration(0, sagas, services, (), shape)


SMALL: dict[str, Configuration] = {
    "one": _world(_saga("s", _step("a"))),
    "done": _world(_saga("s", _step("a"), _step("b"))),
    "undone": _world(
        _saga("s", _step("a"), _step("b", "beta")), trouble={"refused": 1.0, "done": 0.0}
    ),
    "parallel": _world(
        _saga("s", _step("a"), _step("b", dependsOn=[]), _step("c", "beta", dependsOn=["a", "b"])),
        trouble={"refused": 1.0, "done": 0.0},
    ),
    "lost": _world(
        _saga("s", _step("a", "beta"), _step("b", "beta")), trouble={"lost": 0.7, "done": 0.3}
    ),
    "slow": _world(
        _saga("s", _step("a"), _step("b", "beta")), trouble={"slow": 0.6, "unavailable": 0.4}
    ),
    "probed": _world(
        _saga("s", _step("a"), _step("b", "beta", inDoubt="probe", probe="ask")),
        trouble={"lost": 0.3, "error": 0.4, "done": 0.3},
    ),
    "pivot": _world(
        _saga(
            "s",
            _step("a", kind="pivot", compensation=""),
            _step("b", "beta", kind="retriable", compensation=""),
        ),
        trouble={"unavailable": 0.5, "busy": 0.2, "done": 0.3},
    ),
    "operated": _world(
        _saga("s", _step("a"), maxRetries=2)._replace(
            wishes=(
                Wish(1.0, "compensate"),
                Wish(1.0, "retry"),
                Wish(1.0, "compensate"),
                Wish(1.0, "delete"),
                Wish(0.0, "again"),
            )
        )
    ),
    "rolling": _world(_saga("s", _step("a"), _step("b")))._replace(
        shape=Shape(300, 600, 1 << 20)  # a segment for every few frames
    ),
    "same": _world(_nameless("a key for both"), _nameless("a key for both")),
    "two": _world(
        _saga("s", _step("a")),
        _saga("t", _step("a", "beta"))._replace(wishes=(Wish(0.0, "compensate"),)),
        trouble={"twice": 1.0, "done": 0.0},
    ),
}
