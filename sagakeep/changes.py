"""What each event changes in a saga, beside its status, sequence and time.

    STEP_TRANSITIONS[event][step status] -> step status     for the step that the event names

A step that an event finds in a status without an entry makes the event impossible (`transitions.evolve`
refuses it before it comes here). Every function below is the arguments of one replace. What an operator's facts
change is in sagakeep.interventions.

Pure: no clock, no random, no logging.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from sagakeep import events as e
from sagakeep import interventions
from sagakeep.interventions import HURRY_TRANSITIONS, SKIP_TRANSITIONS, Changes
from sagakeep.service import DONE, UNKNOWN, Outcome
from sagakeep.state import CallState, SagaState, StepState, StepStatus

_T = StepStatus

STEP_TRANSITIONS: Final[dict[type[e.Event], dict[StepStatus, StepStatus]]] = {
    e.StepStarted: {_T.PENDING: _T.RUNNING, _T.RETRYING: _T.RUNNING},
    e.StepCompleted: {
        _T.RUNNING: _T.COMPLETED,
        _T.FAILED: _T.COMPLETED,  # a probe found it done
    },
    e.StepRetry: {_T.RUNNING: _T.RETRYING},
    e.StepFailed: {
        _T.RUNNING: _T.FAILED,
        _T.RETRYING: _T.FAILED,  # the saga stops: the planned attempt is not made
        _T.PENDING: _T.FAILED,  # its payload could not be filled in
    },
    e.StepProbed: {_T.FAILED: _T.FAILED},
    e.CompensationStarted: {
        _T.COMPLETED: _T.COMPENSATING,
        _T.FAILED: _T.COMPENSATING,  # in doubt
        _T.PENDING: _T.COMPENSATING,  # in doubt, and to be done again after a retry
        _T.COMPENSATING: _T.COMPENSATING,
    },
    e.CompensationRetry: {_T.COMPENSATING: _T.COMPENSATING},
    e.StepCompensated: {_T.COMPENSATING: _T.COMPENSATED},
    e.CompensationExhausted: {
        _T.COMPENSATING: _T.COMPENSATION_FAILED,
        _T.COMPLETED: _T.COMPENSATION_FAILED,  # its payload could not be filled in
        _T.FAILED: _T.COMPENSATION_FAILED,
        _T.PENDING: _T.COMPENSATION_FAILED,
    },
    e.CompensationFailed: {
        _T.COMPENSATING: _T.COMPENSATION_FAILED,
        _T.COMPENSATION_FAILED: _T.COMPENSATION_FAILED,  # it was exhausted, the others have settled
        _T.FAILED: _T.COMPENSATION_FAILED,  # its doubt is held
        _T.PENDING: _T.COMPENSATION_FAILED,
    },
    e.StepSkipped: SKIP_TRANSITIONS,
    e.StepHurried: HURRY_TRANSITIONS,
}


_Failure = e.StepFailed | e.CompensationExhausted | e.CompensationFailed


def _moved(step: StepState, event: e.StepEvent) -> StepStatus:
    return STEP_TRANSITIONS[type(event)][step.status]


def known_after(call: CallState, outcome: Outcome) -> Outcome:
    """The outcome of a call once one more attempt ended so: done wins, then doubt, which never leaves."""
    if outcome is DONE or call.outcome is None:
        return outcome
    return UNKNOWN if UNKNOWN in (outcome, call.outcome) else outcome


def _unchanged(state: SagaState, event: e.Event, at_utc_s: float) -> Changes:
    return {}


def _saga_started(state: SagaState, event: e.SagaStarted, at_utc_s: float) -> Changes:
    return {
        "deadline_utc_s": event.deadline_utc_s,
        "error": "",
        "reason": "",
        "scope": "",
        "down_to": "",
        "doubt_accepted": False,
    }


def _started(
    call: CallState, event: e.StepStarted | e.CompensationStarted, at_utc_s: float
) -> CallState:
    return replace(
        call,
        attempt=event.attempt,
        retry_at_utc_s=0.0,
        started_at_utc_s=call.started_at_utc_s or at_utc_s,
        filled=event.filled or call.filled,
    )


def _step_started(state: SagaState, event: e.StepStarted, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    started = replace(
        step,
        status=_moved(step, event),
        action=_started(step.action, event, at_utc_s),
        order=step.order or state.sequence + 1,
    )
    return {"steps": {**state.steps, event.step_id: started}}


def _done(call: CallState, at_utc_s: float) -> CallState:
    return replace(
        call, outcome=DONE, error="", rule="", retry_at_utc_s=0.0, ended_at_utc_s=at_utc_s
    )


def _step_completed(state: SagaState, event: e.StepCompleted, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    completed = replace(
        step,
        status=_moved(step, event),
        action=_done(step.action, at_utc_s),
        result=event.result,
        probing=False,
    )
    return {
        "steps": {**state.steps, event.step_id: completed},
        "completed": (*state.completed, event.step_id),
    }


def _settled(call: CallState, event: _Failure, at_utc_s: float) -> CallState:
    """The call after an attempt that failed for good, or after the last one where no more are made."""
    return replace(
        call,
        outcome=known_after(call, event.outcome),
        error=event.error,
        rule=event.rule or call.rule,
        retry_at_utc_s=0.0,
        ended_at_utc_s=at_utc_s,
    )


def _waiting(call: CallState, event: e.StepRetry | e.CompensationRetry) -> CallState:
    """The call after an attempt that failed and is followed by another one."""
    return replace(
        call,
        outcome=known_after(call, event.outcome),
        error=event.error,
        rule=event.rule,
        retry_at_utc_s=event.retry_at_utc_s,
    )


def _step_retry(state: SagaState, event: e.StepRetry, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    retrying = replace(step, status=_moved(step, event), action=_waiting(step.action, event))
    return {"steps": {**state.steps, event.step_id: retrying}}


def _step_failed(state: SagaState, event: e.StepFailed, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    failed = replace(
        step,
        status=_moved(step, event),
        action=_settled(step.action, event, at_utc_s),
        probing=event.probing,
        probes_base=step.probes,
    )
    return {"steps": {**state.steps, event.step_id: failed}}


def _step_probed(state: SagaState, event: e.StepProbed, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    probed = replace(
        step,
        status=_moved(step, event),
        action=replace(step.action, outcome=event.outcome, retry_at_utc_s=event.retry_at_utc_s),
        probes=event.attempt,
        probing=event.outcome is UNKNOWN and event.retry_at_utc_s > 0,
    )
    return {"steps": {**state.steps, event.step_id: probed}}


def _saga_completed(state: SagaState, event: e.SagaCompleted, at_utc_s: float) -> Changes:
    return {"completed_at_utc_s": at_utc_s}


def _saga_failed(state: SagaState, event: e.SagaFailed, at_utc_s: float) -> Changes:
    return {"error": event.error, "paused": None}  # it stands still anyway


def _saga_compensating(state: SagaState, event: e.SagaCompensating, at_utc_s: float) -> Changes:
    return {
        "reason": event.reason,
        "scope": event.step_id,
        "down_to": event.down_to,
        "doubt_accepted": event.reason == "request",
        "paused": None,
    }


def _with_undo(state: SagaState, event: e.StepEvent, call: CallState) -> dict[str, StepState]:
    step = state.steps[event.step_id]
    undo = replace(step, status=_moved(step, event), compensation=call)
    return {**state.steps, event.step_id: undo}


def _compensation_started(
    state: SagaState, event: e.CompensationStarted, at_utc_s: float
) -> Changes:
    call = _started(state.steps[event.step_id].compensation, event, at_utc_s)
    return {"steps": _with_undo(state, event, call)}


def _compensation_retry(state: SagaState, event: e.CompensationRetry, at_utc_s: float) -> Changes:
    call = state.steps[event.step_id].compensation
    return {"steps": _with_undo(state, event, _waiting(call, event))}


def _step_compensated(state: SagaState, event: e.StepCompensated, at_utc_s: float) -> Changes:
    call = state.steps[event.step_id].compensation
    return {
        "steps": _with_undo(state, event, _done(call, at_utc_s)),
        "completed": tuple([name for name in state.completed if name != event.step_id]),
    }


def _compensation_exhausted(
    state: SagaState, event: e.CompensationExhausted, at_utc_s: float
) -> Changes:
    call = _settled(state.steps[event.step_id].compensation, event, at_utc_s)
    return {"steps": _with_undo(state, event, call)}


def _compensation_failed(state: SagaState, event: e.CompensationFailed, at_utc_s: float) -> Changes:
    if not event.step_id:
        return {"error": event.error, "paused": None}
    call = _settled(state.steps[event.step_id].compensation, event, at_utc_s)
    return {"steps": _with_undo(state, event, call), "error": event.error, "paused": None}


def _saga_deleted(state: SagaState, event: e.SagaDeleted, at_utc_s: float) -> Changes:
    return {"deleted": True}


def _saga_erased(state: SagaState, event: e.SagaErased, at_utc_s: float) -> Changes:
    """Whatever is known of it counts no more: the saga was deleted, and is being forgotten."""
    return {"deleted": True, "steps": {}, "definition": replace(state.definition, steps=())}


# What a possible event changes.
CHANGES: Final[dict[type[e.Event], Callable[[SagaState, Any, float], Changes]]] = {
    e.SagaStarted: _saga_started,
    e.StepStarted: _step_started,
    e.StepCompleted: _step_completed,
    e.StepRetry: _step_retry,
    e.StepFailed: _step_failed,
    e.StepProbed: _step_probed,
    e.SagaCompleted: _saga_completed,
    e.SagaFailed: _saga_failed,
    e.SagaCompensating: _saga_compensating,
    e.CompensationStarted: _compensation_started,
    e.CompensationRetry: _compensation_retry,
    e.StepCompensated: _step_compensated,
    e.CompensationExhausted: _compensation_exhausted,
    e.CompensationFailed: _compensation_failed,
    e.SagaCompensated: _unchanged,
    e.SagaRetry: interventions.saga_retry,
    e.LateReply: _unchanged,
    e.ActorRestarted: _unchanged,
    e.SagaDeleted: _saga_deleted,
    e.StepResolved: interventions.step_resolved,
    e.SagaPaused: interventions.saga_paused,
    e.SagaResumed: interventions.saga_resumed,
    e.StepSkipped: interventions.step_skipped,
    e.SagaAbandoned: interventions.saga_abandoned,
    e.StepEdited: interventions.step_edited,
    e.SagaRerun: interventions.saga_rerun,
    e.StepHurried: interventions.step_hurried,
    e.SagaErased: _saga_erased,
}
