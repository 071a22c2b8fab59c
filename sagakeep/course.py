"""The course of a saga: which facts follow from its state and the time, with no message at all.

    follow(state, now) -> events           () when the saga can only wait

Forward: start what is ready or due, complete, or stop. Backward: settle first, then undo. `decide` calls
this after every message until nothing follows, so that each message only records its own news.

Settle before undo: while an attempt of an action is out, or a probe is, no compensation starts. An undo that
overtakes its action is the classic way to lose money. When what settles is the pivot, and it is done, nothing
may be undone any more: the saga goes forward again.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sagakeep import events as e
from sagakeep import saga_status, step_status
from sagakeep.definition import OnFailure, StepKind
from sagakeep.mapping import MappingError, fill
from sagakeep.plan import Plan, plan_of
from sagakeep.service import NOT_DONE, UNKNOWN, Outcome
from sagakeep.state import (
    SagaState,
    StepState,
    compensation_in_flight,
    in_flight,
    is_held_in_doubt,
    may_have_happened,
    pivot_is_done,
    scope_of,
    some_failed,
    to_undo,
    unsettled,
    waited_for,
)

Events = Sequence[e.AnyEvent]


def follow(state: SagaState, now_utc_s: float) -> Events:
    """The facts that follow now; apply them and ask again. Of a saga that is paused none does."""
    if state.paused is not None:
        return ()
    if state.status is saga_status.RUNNING:
        return _forward(state, now_utc_s)
    if state.status is saga_status.COMPENSATING:
        return _backward(state, now_utc_s)
    if state.status in (saga_status.CREATED, saga_status.RETRYING):
        return (e.SagaStarted(now_utc_s + state.definition.timeout_s),)
    return ()


def must_stop(state: SagaState, now_utc_s: float) -> bool:
    """May no new attempt of an action be started or planned?"""
    return (
        state.status is not saga_status.RUNNING
        or (state.deadline_utc_s <= now_utc_s and _is_expired(state, now_utc_s))
        or some_failed(state)
    )


def settle_waiting(state: SagaState) -> list[e.StepFailed]:
    """End the calls whose next attempt was planned: it will not be made."""
    return [
        give_up(state, step_id, step.action.outcome or NOT_DONE, step.action.error)
        for step_id, step in state.steps.items()
        if step.status is step_status.RETRYING
    ]


def give_up(
    state: SagaState,
    step_id: str,
    outcome: Outcome,
    error: str,
    latency_s: float = 0.0,
    rule: str = "",
) -> e.StepFailed:
    """The action failed for good; where its doubt can be probed, that is next."""
    probing = outcome is UNKNOWN and state.step(step_id).in_doubt == "probe"
    attempt = state.steps[step_id].action.attempt
    return e.StepFailed(step_id, attempt, outcome, error, latency_s, probing, rule)


def doubt_of(state: SagaState, step_id: str) -> Outcome:
    """What is known of an attempt that nobody heard of again."""
    is_harmless = state.step(step_id).kind is StepKind.READ_ONLY
    return NOT_DONE if is_harmless else UNKNOWN


# Forward


def _forward(state: SagaState, now_utc_s: float) -> Events:
    if len(state.completed) == len(state.steps):
        return (e.SagaCompleted(),)
    if must_stop(state, now_utc_s):
        return _stop(state, now_utc_s)
    plan = plan_of(state.definition)
    due = _due(plan, state, now_utc_s)
    if plan.refers.isdisjoint(due):
        return [_start(state, step_id) for step_id in due]
    starts = [_fill_and_start(state, step_id) for step_id in due]
    return [event for event in starts if isinstance(event, e.StepFailed)] or starts


def _due(plan: Plan, state: SagaState, now_utc_s: float) -> list[str]:
    """The steps whose next attempt may be made now."""
    due: list[str] = []
    dependencies, done = plan.graph.dependencies, set(state.completed)
    for step_id, step in state.steps.items():
        if step.status is step_status.PENDING:
            if done.issuperset(dependencies[step_id]):
                due.append(step_id)
        elif step.status is step_status.RETRYING and step.action.retry_at_utc_s <= now_utc_s:
            due.append(step_id)
    return due


def _is_expired(state: SagaState, now_utc_s: float) -> bool:
    return state.deadline_utc_s <= now_utc_s and not pivot_is_done(state)


def _stop(state: SagaState, now_utc_s: float) -> Events:
    failed = [
        step_id
        for step_id, step in state.steps.items()
        if step.status is step_status.FAILED and not step.probing
    ]
    expired = _is_expired(state, now_utc_s)
    if not _is_to_be_held(state, failed) and (expired or _is_there_to_undo(state)):
        return (e.SagaCompensating("timeout" if expired else "failure"),)
    if waiting := settle_waiting(state):
        return waiting
    if unsettled(state):
        return ()
    if not failed:
        return (e.SagaFailed("the saga's timeout passed"),)
    error = state.steps[failed[0]].action.error
    return (e.SagaFailed(f"step {failed[0]!r} failed: {error}"),)


def _is_to_be_held(state: SagaState, failed: Iterable[str]) -> bool:
    return (
        state.definition.on_failure is OnFailure.HOLD
        or pivot_is_done(state)
        or any(is_held_in_doubt(state, step_id) for step_id in failed)
    )


def _is_there_to_undo(state: SagaState) -> bool:
    return any(
        in_flight(step) or may_have_happened(state, step_id)
        for step_id, step in state.steps.items()
    )


def _start(state: SagaState, step_id: str) -> e.StepStarted:
    call = state.steps[step_id].action
    return e.StepStarted(step_id, call.attempt + 1, call.epoch)


def _fill_and_start(state: SagaState, step_id: str) -> e.StepStarted | e.StepFailed:
    call = state.steps[step_id].action
    if call.filled or step_id not in state.plan.refers:
        return _start(state, step_id)
    try:
        filled = _filled(state, state.step(step_id).payload)
    except MappingError as error:
        return e.StepFailed(step_id, call.attempt, NOT_DONE, str(error))
    return e.StepStarted(step_id, call.attempt + 1, call.epoch, filled)


def _filled(state: SagaState, payload: object) -> tuple[object, ...]:
    context = {
        "saga": {"id": state.id, "name": state.definition.name, "tags": state.definition.tags},
        "steps": {
            step_id: {
                "result": step.result,
                "outcome": None if step.action.outcome is None else str(step.action.outcome),
            }
            for step_id, step in state.steps.items()
        },
    }
    return (fill(payload, context),)


# Backward


def _backward(state: SagaState, now_utc_s: float) -> Events:
    if waiting := settle_waiting(state):
        return waiting
    if unsettled(state):
        return ()
    if pivot_is_done(state):
        return (e.SagaStarted(state.deadline_utc_s),)
    if stuck := _stuck(state):
        if any(map(compensation_in_flight, state.steps.values())):
            return ()
        return (stuck,)
    left = to_undo(state)
    if not left and state.down_to:
        return (e.SagaFailed(f"it was undone down to step {state.down_to!r}, as it was asked"),)
    if not left:
        return (e.SagaCompensated(),)
    later = waited_for(state, left)
    starts = [
        _start_undo(state, step_id)
        for step_id in left
        if step_id not in later and _is_undo_due(state.steps[step_id], now_utc_s)
    ]
    return [event for event in starts if isinstance(event, e.CompensationExhausted)] or starts


def _stuck(state: SagaState) -> e.CompensationFailed | None:
    """The fact that stops the undo, when a compensation failed for good or a doubt is an operator's."""
    scope = scope_of(state)
    for step_id, step in state.steps.items():
        if step_id not in scope:
            continue
        call = step.compensation
        if step.status is step_status.COMPENSATION_FAILED:
            outcome = call.outcome or NOT_DONE
            return e.CompensationFailed(step_id, call.attempt, outcome, call.error)
        if is_held_in_doubt(state, step_id):
            return e.CompensationFailed(step_id, call.attempt, NOT_DONE, _DOUBT_IS_HELD)
    return None


_DOUBT_IS_HELD: Final = "the step is in doubt and its inDoubt is hold: retry to undo it"


def _is_undo_due(step: StepState, now_utc_s: float) -> bool:
    if step.status is step_status.COMPENSATING:
        return 0 < step.compensation.retry_at_utc_s <= now_utc_s
    return True


def _start_undo(state: SagaState, step_id: str) -> e.CompensationStarted | e.CompensationExhausted:
    call = state.steps[step_id].compensation
    if call.filled or step_id not in state.plan.undo_refers:
        return e.CompensationStarted(step_id, call.attempt + 1, call.epoch)
    try:
        filled = _filled(state, state.step(step_id).compensation_payload)
    except MappingError as error:
        return e.CompensationExhausted(step_id, call.attempt, NOT_DONE, str(error))
    return e.CompensationStarted(step_id, call.attempt + 1, call.epoch, filled)
