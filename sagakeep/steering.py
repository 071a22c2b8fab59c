"""Steering: what an operator may wish of a saga, and which fact each wish is.

    allowed_moves(state)     the wishes that its status allows, by name
    WISHES[type](state, wish, now) -> events

A wish that may not be raises MoveRefused, which names what may be instead, and changes nothing. What then follows
is the machine's to say (sagakeep.machine), as after any news.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final

from msgspec.structs import replace

from sagakeep import events as e
from sagakeep import messages as m
from sagakeep import saga_status, step_status
from sagakeep.course import Events, doubt_of
from sagakeep.definition import SagaDefinition
from sagakeep.errors import MoveRefused, SagaMoved, UnknownStep
from sagakeep.hurry import has_failed_undo, may_hurry, planned
from sagakeep.interventions import EDIT_TRANSITIONS, RESOLVE_TRANSITIONS, SKIP_TRANSITIONS
from sagakeep.service import DONE, NOT_DONE, UNKNOWN, Phase
from sagakeep.state import (
    FINAL,
    HELD,
    MOVING,
    UNTOUCHED_BY_HAND,
    CallState,
    SagaState,
    SagaStatus,
    StepState,
    StepStatus,
    compensation_in_flight,
    pivot_is_done,
)


def allowed_moves(state: SagaState) -> tuple[str, ...]:
    """The wishes that the saga's state allows, for people."""
    return tuple([name for name, is_allowed in _ALLOWED.items() if is_allowed(state)])


_COMPENSABLE: Final = frozenset(
    {
        saga_status.CREATED,
        saga_status.RUNNING,
        saga_status.FAILED,
        saga_status.RETRYING,
        saga_status.COMPLETED,
    }
)
_RETRIABLE: Final = frozenset(
    {saga_status.FAILED, saga_status.COMPENSATION_FAILED, saga_status.COMPENSATED}
)


def _refuse(state: SagaState, move: str, why: str) -> MoveRefused:
    return MoveRefused(state.id, state.status, move, why, allowed_moves(state))


def plan_id_of(state: SagaState, wish: m.Compensate) -> str:
    """What names a plan of this undo, of the saga as it is: another one as soon as the saga has moved."""
    said = "\n".join((state.id, str(state.sequence), wish.step_id, wish.down_to))
    return f"{state.sequence}-{sha256(said.encode()).hexdigest()[:16]}"


def _compensate(state: SagaState, wish: m.Compensate, now_utc_s: float) -> Events:
    for step_id in filter(None, (wish.step_id, wish.down_to)):
        _check_step(state, step_id)
    if wish.plan_id and wish.plan_id != plan_id_of(state, wish):
        why = f"plan {wish.plan_id!r} is of another undo, or it has moved since: plan it again"
        raise _refuse(state, "compensate", why)
    is_asked_before = state.status in (saga_status.COMPENSATING, saga_status.COMPENSATED)
    if is_asked_before and not wish.down_to:
        return ()
    if pivot_is_done(state):
        raise _refuse(state, "compensate", "its pivot is done")
    if state.status not in _COMPENSABLE:
        raise _refuse(state, "compensate", f"it is {state.status}")
    if wish.down_to and state.rerun_as:
        why = f"it was run again as {state.rerun_as!r}: undo all of it"
        raise _refuse(state, "compensate", why)
    scope = "" if wish.down_to else wish.step_id
    return (e.SagaCompensating("request", scope, wish.by, wish.note, wish.down_to),)


def _check_step(state: SagaState, step_id: str) -> None:
    if step_id not in state.steps:
        raise UnknownStep(state.id, step_id, tuple(state.steps))


def _retry(state: SagaState, wish: m.Retry, now_utc_s: float) -> Events:
    hurried = planned(state, now_utc_s, wish.service)
    if hurried and not wish.now:
        raise _refuse(
            state, "retry", f"it is {state.status}, and tries again by itself; `now` does at once"
        )
    if hurried:
        if state.paused is not None:
            raise _refuse(state, "retry", "it is paused: resume it")
        return tuple([e.StepHurried(step_id, wish.by, wish.note) for step_id in hurried])
    if wish.service and not has_failed_undo(state, wish.service):
        why = f"nothing of it waits for an attempt at service {wish.service!r}, or could not be undone there"
        raise _refuse(state, "retry", why)
    if state.status not in _RETRIABLE:
        raise _refuse(state, "retry", f"it is {state.status}")
    if state.retry_count >= state.definition.retries_max:
        why = f"it was retried {state.retry_count} times, its maxRetries"
        raise _refuse(state, "retry", why)
    if state.rerun_as and state.status is saga_status.COMPENSATED:
        raise _refuse(state, "retry", f"it was run again as {state.rerun_as!r}")
    return (e.SagaRetry(wish.by, wish.note),)


def _us(at_utc_s: float) -> int:
    """In microseconds, as precise as a time is shown and kept in a row."""
    return round(at_utc_s * 1e6)


def resolutions(state: SagaState) -> list[tuple[str, e.Resolution]]:
    """What an operator may say of which step: of a doubt what became of it, of what failed that it was done by
    hand. What is known is not said again."""
    rows = RESOLVE_TRANSITIONS.get(state.status, {})
    return [
        (step_id, resolution)
        for step_id, step in state.steps.items()
        for resolution, row in rows.items()
        if step.status in row and not _is_known(state, step_id, resolution)
    ]


def _is_known(state: SagaState, step_id: str, resolution: e.Resolution) -> bool:
    outcome = state.steps[step_id].action.outcome
    if resolution == "undone":
        return False
    if resolution == "done" and _is_too_late(state, step_id):
        return True
    if state.status is saga_status.FAILED and resolution == "done":
        return outcome is DONE
    return outcome is not UNKNOWN


def _is_too_late(state: SagaState, step_id: str) -> bool:
    """Is it the pivot, from which the saga would go forward, and is something else half undone?"""
    return step_id == state.plan.pivot and any(
        step.status in (step_status.COMPENSATING, step_status.COMPENSATION_FAILED)
        for name, step in state.steps.items()
        if name != step_id
    )


def _resolve(state: SagaState, wish: m.Resolve, now_utc_s: float) -> Events:
    _check_step(state, wish.step_id)
    if (wish.step_id, wish.resolution) not in resolutions(state):
        step = state.steps[wish.step_id]
        known = (
            ""
            if step.action.outcome is None
            else f", its action is known to be {step.action.outcome}"
        )
        if wish.resolution == "done" and _is_too_late(state, wish.step_id):
            known = ", the pivot, and others are half undone"
        why = f"it is {state.status}, and step {wish.step_id!r} is {step.status}{known}"
        raise _refuse(state, "resolve", f"{why}: it cannot be said to be {wish.resolution}")
    return (e.StepResolved(wish.step_id, wish.resolution, wish.result, wish.by, wish.note),)


# Skip


def skippable(state: SagaState) -> list[str]:
    """The steps that may be counted as done: those whose turn has come, and whose action is known not to have
    happened, and is not out."""
    statuses, done = _SKIPPABLE.get(state.status, frozenset()), set(state.completed)
    return [
        step_id
        for step_id, step in state.steps.items()
        if step.status in statuses and step.action.outcome in (None, NOT_DONE)
        if done.issuperset(state.graph.dependencies[step_id])  # others may refer to their results
    ]


_SKIPPABLE: Final = {
    saga_status.RUNNING: frozenset(SKIP_TRANSITIONS),
    saga_status.FAILED: frozenset({step_status.FAILED}),
}


def _skip(state: SagaState, wish: m.Skip, now_utc_s: float) -> Events:
    _check_step(state, wish.step_id)
    if wish.step_id not in skippable(state):
        raise _refuse(state, "skip", _why_stuck(state, wish.step_id, "skipped"))
    return (e.StepSkipped(wish.step_id, wish.result, wish.by, wish.note),)


def _why_stuck(state: SagaState, step_id: str, what: str) -> str:
    """Say why a step cannot be skipped or edited."""
    step = state.steps[step_id]
    why = f"it is {state.status}, and step {step_id!r} is {step.status}"
    if UNKNOWN in (step.action.outcome, step.compensation.outcome):
        return (
            f"{why}, in doubt: what may have happened cannot be {what}, say first what became of it"
        )
    if step.status is step_status.RUNNING or compensation_in_flight(step):
        return f"{why}: what is in flight cannot be {what}, pause the saga and let it end"
    if step.status is step_status.PENDING:
        return f"{why}: what it depends on is not done, so its turn has not come"
    return f"{why}: it cannot be {what}"


# Edit


def editable(state: SagaState) -> list[tuple[str, Phase]]:
    """The steps whose next call may have another payload, and which call that is: one that is known not to have
    happened and is not out, so that it gets a new key, or was never made."""
    return [
        (step_id, phase)
        for step_id, step in state.steps.items()
        for phase, statuses in _EDITABLE.get(state.status, {}).items()
        if step.status in statuses and not compensation_in_flight(step)
        if _call_of(step, phase).outcome in (None, NOT_DONE)
    ]


_EDITABLE: Final[dict[SagaStatus, dict[Phase, frozenset[StepStatus]]]] = {
    saga_status.RUNNING: {"action": frozenset(EDIT_TRANSITIONS["action"])},
    saga_status.FAILED: {"action": frozenset({step_status.FAILED})},
    saga_status.COMPENSATING: {"compensation": frozenset({step_status.COMPENSATING})},
    saga_status.COMPENSATION_FAILED: {"compensation": frozenset({step_status.COMPENSATION_FAILED})},
}


def _call_of(step: StepState, phase: Phase) -> CallState:
    return step.compensation if phase == "compensation" else step.action


def _edit(state: SagaState, wish: m.Edit, now_utc_s: float) -> Events:
    _check_step(state, wish.step_id)
    phases = [phase for step_id, phase in editable(state) if step_id == wish.step_id]
    if not phases:
        raise _refuse(state, "edit", _why_stuck(state, wish.step_id, "edited"))
    return (e.StepEdited(wish.step_id, phases[0], wish.payload, wish.by, wish.note),)


# Pause, resume, and what ends


def _may_pause(state: SagaState) -> bool:
    return state.status in MOVING and state.paused is None


def _pause(state: SagaState, wish: m.Pause, now_utc_s: float) -> Events:
    if state.paused is not None:
        raise _refuse(state, "pause", "it is paused already")
    if not _may_pause(state):
        raise _refuse(state, "pause", f"it is {state.status}, and stands still anyway")
    return (e.SagaPaused(wish.by, wish.note),)


def _resume(state: SagaState, wish: m.Resume, now_utc_s: float) -> Events:
    if state.paused is None:
        raise _refuse(state, "resume", f"it is {state.status}, and not paused")
    return (e.SagaResumed(wish.by, wish.note),)


def _finish(state: SagaState, wish: m.Finish, now_utc_s: float) -> Events:
    if state.status in FINAL:
        raise _refuse(state, "finish", f"it is {state.status}, and has ended")
    return (*_given_up(state), e.SagaAbandoned(wish.by, wish.note))


_FORCED: Final = "its saga was ended by force"


def _given_up(state: SagaState) -> Iterator[e.AnyEvent]:
    """End every call that is out, in doubt, and every one that is planned."""
    for step_id, step in state.steps.items():
        action, undo = step.action, step.compensation
        if step.status is step_status.RUNNING:
            yield e.StepFailed(step_id, action.attempt, doubt_of(state, step_id), _FORCED)
        elif step.status is step_status.RETRYING:
            outcome = action.outcome or NOT_DONE
            yield e.StepFailed(step_id, action.attempt, outcome, action.error)
        elif compensation_in_flight(step):
            yield e.CompensationExhausted(step_id, undo.attempt, UNKNOWN, _FORCED)
        elif step.status is step_status.COMPENSATING:
            outcome = undo.outcome or UNKNOWN
            yield e.CompensationExhausted(step_id, undo.attempt, outcome, undo.error)


def definition_again(state: SagaState) -> SagaDefinition:
    """What is run again: what was defined, with the payloads that an operator gave instead."""
    steps = []
    for step in state.definition.steps:
        by_hand = state.steps[step.id].by_hand or UNTOUCHED_BY_HAND
        if by_hand.payload:
            step = replace(step, payload=by_hand.payload[0])
        if by_hand.undo_payload:
            step = replace(step, compensation_payload=by_hand.undo_payload[0])
        steps.append(step)
    return replace(state.definition, id="", steps=tuple(steps))


def _may_rerun(state: SagaState) -> bool:
    return state.status in FINAL and not state.rerun_as


def _rerun(state: SagaState, wish: m.Rerun, now_utc_s: float) -> Events:
    if state.rerun_as:
        raise _refuse(state, "rerun", f"it was run again as {state.rerun_as!r}")
    if not _may_rerun(state):
        raise _refuse(state, "rerun", f"it is {state.status}, and has not ended")
    return (e.SagaRerun(wish.rerun_as, wish.by, wish.note),)


def _delete(state: SagaState, wish: m.Delete, now_utc_s: float) -> Events:
    if state.status not in FINAL | HELD:
        raise _refuse(state, "delete", f"it is {state.status}")
    if wish.moved_at_utc_s is not None and _us(wish.moved_at_utc_s) != _us(state.updated_at_utc_s):
        raise _refuse(state, "delete", "it has moved since it was looked at")
    return (e.SagaDeleted(wish.by, wish.note),)


# The wishes

_ALLOWED: Final[dict[str, Callable[[SagaState], bool]]] = {
    "compensate": lambda state: state.status in _COMPENSABLE and not pivot_is_done(state),
    "retry": lambda state: (
        may_hurry(state)
        or (
            state.status in _RETRIABLE
            and state.retry_count < state.definition.retries_max
            and not (state.rerun_as and state.status is saga_status.COMPENSATED)
        )
    ),
    "resolve": lambda state: bool(resolutions(state)),
    "skip": lambda state: bool(skippable(state)),
    "edit": lambda state: bool(editable(state)),
    "pause": _may_pause,
    "resume": lambda state: state.paused is not None,
    "finish": lambda state: state.status not in FINAL,
    "rerun": _may_rerun,
    "delete": lambda state: state.status in FINAL | HELD,
}
_NAMES: Final[dict[type[m.Message], str]] = {
    m.Compensate: "compensate",
    m.Retry: "retry",
    m.Resolve: "resolve",
    m.Skip: "skip",
    m.Edit: "edit",
    m.Pause: "pause",
    m.Resume: "resume",
    m.Finish: "finish",
    m.Rerun: "rerun",
    m.Delete: "delete",
}


def _checked(
    react: Callable[[SagaState, Any, float], Events],
) -> Callable[[SagaState, Any, float], Events]:
    """React only to a wish that is for this version of the saga, if it is for one."""

    def checked(state: SagaState, wish: m.Wish, now_utc_s: float) -> Events:
        if wish.versions and state.sequence not in wish.versions:
            move = _NAMES[type(wish)]
            why = f"it has moved on, to version {state.sequence}"
            raise SagaMoved(state.id, state.status, move, why, allowed_moves(state))
        return react(state, wish, now_utc_s)

    return checked


WISHES: Final[dict[type[m.Message], Callable[[SagaState, Any, float], Events]]] = {
    m.Compensate: _checked(_compensate),
    m.Retry: _checked(_retry),
    m.Resolve: _checked(_resolve),
    m.Skip: _checked(_skip),
    m.Edit: _checked(_edit),
    m.Pause: _checked(_pause),
    m.Resume: _checked(_resume),
    m.Finish: _checked(_finish),
    m.Rerun: _checked(_rerun),
    m.Delete: _checked(_delete),
}
