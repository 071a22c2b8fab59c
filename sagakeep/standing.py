"""Standing: where a saga is, and what it waits for, in words for people. Pure: no clock, no I/O."""

from __future__ import annotations

from typing import Final

from sagakeep.definition import Step
from sagakeep.service import Outcome
from sagakeep.state import (
    FINAL,
    HELD,
    MOVING,
    CallState,
    SagaState,
    SagaStatus,
    StepState,
    StepStatus,
    compensation_in_flight,
    to_undo,
)

WAY_BACK: Final = frozenset(
    {StepStatus.COMPENSATING, StepStatus.COMPENSATED, StepStatus.COMPENSATION_FAILED}
)


def current_call(step: StepState) -> CallState:
    """The compensation once it has begun, else the action."""
    return step.compensation if step.status in WAY_BACK else step.action


def action_was_given_up(step: StepState) -> bool:
    """Did the action fail for good? A step in doubt did, even when it was undone since."""
    if step.status is StepStatus.FAILED:
        return True
    return step.status in WAY_BACK and step.action.outcome is not Outcome.DONE


def current_step(state: SagaState) -> str:
    """The step that runs or waits for its turn; where a saga stands still, where it would go on."""
    if state.status in FINAL:
        return ""
    busy = _busy(state)
    if busy:
        return busy[0]
    if state.status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATION_FAILED):
        return next(iter(_failed_undos(state) or to_undo(state)), "")
    failed = [name for name, step in state.steps.items() if step.status is StepStatus.FAILED]
    return next(iter(failed or _ready(state)), "")


def next_attempt_at_utc_s(state: SagaState) -> float:
    """The earliest of the attempts that are planned, 0 when none is."""
    if state.status not in MOVING or state.paused is not None:
        return 0.0
    times = [current_call(step).retry_at_utc_s for step in state.steps.values()]
    return min(filter(None, times), default=0.0)


def waiting_for(state: SagaState) -> str:
    """Name what will move the saga next; "" when it is final."""
    if state.status in HELD:
        return "operator"
    if state.paused is not None:
        return "operator, who paused it"
    busy = _busy(state) if state.status in MOVING else []
    if not busy:
        return ""
    more = f" and {len(busy) - 1} more" if len(busy) > 1 else ""
    return _wait_view(state.step(busy[0]), state.steps[busy[0]]) + more


def _wait_view(spec: Step, step: StepState) -> str:
    if step.probing:
        return f"reply of {spec.service}.{spec.probe} (attempt {step.probes + 1})"
    call = current_call(step)
    name = spec.compensation if step.status is StepStatus.COMPENSATING else spec.action
    if _is_in_flight(step):
        return f"reply of {spec.service}.{name} (attempt {call.attempt})"
    return f"next attempt of {spec.service}.{name} (attempt {call.attempt + 1})"


def _busy(state: SagaState) -> list[str]:
    """The steps with an attempt out, then those whose next attempt is planned."""
    out = [name for name, step in state.steps.items() if _is_in_flight(step)]
    planned = [
        name
        for name, step in state.steps.items()
        if step.status in (StepStatus.RETRYING, StepStatus.COMPENSATING) and name not in out
    ]
    return out + planned


def _is_in_flight(step: StepState) -> bool:
    return step.status is StepStatus.RUNNING or step.probing or compensation_in_flight(step)


def _failed_undos(state: SagaState) -> list[str]:
    return [
        name for name, step in state.steps.items() if step.status is StepStatus.COMPENSATION_FAILED
    ]


def _ready(state: SagaState) -> list[str]:
    """The steps that nothing but time keeps from starting."""
    return [
        name
        for name, step in state.steps.items()
        if step.status is StepStatus.PENDING
        and all(needed in state.completed for needed in state.graph.dependencies[name])
    ]
