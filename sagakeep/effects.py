"""Deeds: what remains to be done for a saga, as a function of its state alone.

    outstanding(state) -> (RunCall(...), ..., WaitUntil(...))

A live saga and a recovered one ask the same question and get the same answer, so recovery has no code
path of its own: an attempt that was in flight at a crash is still outstanding, and is made again under
the same key. The actor starts what is missing and forgets what is no longer wanted.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from sagakeep import saga_status, step_status
from sagakeep.service import UNKNOWN, Call, Phase
from sagakeep.state import (
    SagaState,
    StepState,
    compensation_in_flight,
    is_done,
    pivot_is_done,
    waits_for_operator,
)


class RunCall(msgspec.Struct, frozen=True, gc=False):
    """Make this attempt, not before a time (0: now). Equal effects are the same deed."""

    step_id: str
    phase: Phase
    epoch: int
    attempt: int
    not_before_utc_s: float = 0.0


class WaitUntil(msgspec.Struct, frozen=True, gc=False):
    """Wake the saga at this time."""

    at_utc_s: float


Effect = RunCall | WaitUntil


def outstanding(state: SagaState) -> list[Effect]:
    """List the effects, at most one WaitUntil, the earliest.

    Of a saga that is paused they are the attempts that were meant before: those that have begun may end, and the
    others are not begun before it is resumed. No time is waited for.
    """
    if state.status is saga_status.RUNNING:
        effects, times = _forward(state)
    elif state.status is saga_status.COMPENSATING:
        effects, times = _backward(state)
    else:
        return []
    if times and state.paused is None:
        effects.append(WaitUntil(min(times)))
    return effects


def idle_until(state: SagaState) -> float | None:
    """Until when a saga that has no attempt in flight only waits, 0 for an operator's word; None when there is
    something to do."""
    if waits_for_operator(state):
        return 0.0
    times = []
    for effect in outstanding(state):
        at_utc_s = effect.at_utc_s if isinstance(effect, WaitUntil) else effect.not_before_utc_s
        if not at_utc_s:
            return None
        times.append(at_utc_s)
    return min(times, default=None)


def _forward(state: SagaState) -> tuple[list[Effect], list[float]]:
    effects: list[Effect] = []
    times = [] if pivot_is_done(state) else [state.deadline_utc_s]
    for step_id, step in state.steps.items():
        status = step.status
        if status is step_status.RUNNING:
            effects.append(RunCall(step_id, "action", step.action.epoch, step.action.attempt))
        elif status is step_status.RETRYING:
            times.append(step.action.retry_at_utc_s)
        elif step.probing:
            effects.append(_probe(step_id, step))
    return effects, times


def _backward(state: SagaState) -> tuple[list[Effect], list[float]]:
    effects: list[Effect] = []
    times: list[float] = []
    for step_id, step in state.steps.items():
        if step.status is step_status.RUNNING:
            effects.append(RunCall(step_id, "action", step.action.epoch, step.action.attempt))
        elif step.probing:
            effects.append(_probe(step_id, step))
        elif compensation_in_flight(step):
            call = step.compensation
            effects.append(RunCall(step_id, "compensation", call.epoch, call.attempt))
        elif step.status is step_status.COMPENSATING:
            times.append(step.compensation.retry_at_utc_s)
    return effects, times


def _probe(step_id: str, step: StepState) -> RunCall:
    call = step.action
    return RunCall(step_id, "probe", call.epoch, step.probes + 1, call.retry_at_utc_s)


def payload_of(state: SagaState, step_id: str, phase: Phase) -> object:
    """What a step's next call is sent, as far as that is known: references may not be filled in yet."""
    spec, step = state.step(step_id), state.steps[step_id]
    if phase == "compensation" and step.compensation.filled:
        return step.compensation.filled[0]
    if phase == "compensation" and spec.compensation_payload is not None:
        return spec.compensation_payload
    return step.action.filled[0] if step.action.filled else spec.payload


def call_of(state: SagaState, effect: RunCall) -> Call:
    """The attempt that an effect stands for, as its service will see it."""
    spec = state.step(effect.step_id)
    call = state.steps[effect.step_id].action
    key = _key(state.id, spec.id, "action", call.epoch)
    action = Call(
        saga_id=state.id,
        saga_name=state.definition.name,
        step_id=spec.id,
        service=spec.service,
        action=spec.action,
        phase="action",
        attempt=effect.attempt,
        idempotency_key=key,
        payload=call.filled[0] if call.filled else spec.payload,
        timeout_s=spec.timeout_s,
        traceparent=state.traceparent,
        action_key=key,
        sensitive=spec.sensitive,
        run=state.retry_count,
    )
    return action if effect.phase == "action" else _about(action, state, effect)


def _about(action: Call, state: SagaState, effect: RunCall) -> Call:
    """The call that undoes an action, or asks about it."""
    spec, step = state.step(effect.step_id), state.steps[effect.step_id]
    name, payload = spec.probe, action.payload
    if effect.phase == "compensation":
        name = spec.compensation
        if step.compensation.filled:
            payload = step.compensation.filled[0]
        elif spec.compensation_payload is not None:
            payload = spec.compensation_payload
    return replace(
        action,
        action=name,
        phase=effect.phase,
        idempotency_key=idempotency_key(state.id, effect),
        payload=payload,
        result=step.result if is_done(step) else None,
        outcome=step.action.outcome or UNKNOWN,
    )


def idempotency_key(saga_id: str, effect: RunCall) -> str:
    """The call's key for life; a probe asks about the action, so it carries the action's."""
    kind = "compensation" if effect.phase == "compensation" else "action"
    return _key(saga_id, effect.step_id, kind, effect.epoch)


def _key(saga_id: str, step_id: str, kind: str, epoch: int) -> str:
    return f"{saga_id}/{step_id}/{kind}/{epoch}"
