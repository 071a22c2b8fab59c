"""Interventions: what an operator's facts change in a saga, as `sagakeep.changes` says it of the others.

    RETRY_TRANSITIONS[saga status][step status]                  what a retry makes of each step
    RESOLVE_TRANSITIONS[saga status][resolution][step status]    what a word makes of one step
    EDIT_TRANSITIONS[phase][step status]                         what another payload makes of it
    SKIP_TRANSITIONS[step status]                                what a skip makes of it
    HURRY_TRANSITIONS[step status]                               what letting its next attempt be made now does

What is not named cannot happen. A payload that an operator gave is kept beside the calls (`ByHand`), for each
new call of the step is made with it.

Pure: no clock, no random, no logging.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from sagakeep import events as e
from sagakeep import saga_status, step_status
from sagakeep.service import DONE, NOT_DONE, Phase
from sagakeep.state import (
    UNTOUCHED_BY_HAND,
    ByHand,
    CallState,
    Pause,
    SagaState,
    SagaStatus,
    StepState,
    StepStatus,
)

_T = StepStatus

# What an operator's retry makes of a step, by the status of the saga; a step that is not named stays as it is.
RETRY_TRANSITIONS: Final[dict[SagaStatus, dict[StepStatus, tuple[StepStatus, ...]]]] = {
    SagaStatus.FAILED: {_T.FAILED: (_T.RETRYING,), _T.COMPENSATED: (_T.PENDING,)},
    SagaStatus.COMPENSATED: {_T.COMPENSATED: (_T.PENDING,), _T.FAILED: (_T.PENDING,)},
    SagaStatus.COMPENSATION_FAILED: {_T.COMPENSATION_FAILED: (_T.COMPLETED, _T.FAILED)},
}

# What another payload makes of a step: it is called anew with it. An undo is of a step that is done or in doubt.
EDIT_TRANSITIONS: Final[dict[Phase, dict[StepStatus, tuple[StepStatus, ...]]]] = {
    "action": {
        _T.PENDING: (_T.PENDING,),
        _T.RETRYING: (_T.RETRYING,),
        _T.FAILED: (_T.RETRYING,),
    },
    "compensation": {
        _T.COMPENSATING: (_T.COMPLETED, _T.FAILED),
        _T.COMPENSATION_FAILED: (_T.COMPLETED, _T.FAILED),
    },
}

# What an operator's word makes of a step, by the status of the saga; what is not named cannot be resolved.
RESOLVE_TRANSITIONS: Final[dict[SagaStatus, dict[e.Resolution, dict[StepStatus, StepStatus]]]] = {
    SagaStatus.FAILED: {
        "done": {_T.FAILED: _T.COMPLETED},
        "not_done": {_T.FAILED: _T.FAILED},
    },
    SagaStatus.COMPENSATION_FAILED: {
        "done": {_T.FAILED: _T.COMPLETED, _T.COMPENSATION_FAILED: _T.COMPLETED},
        "not_done": {_T.FAILED: _T.FAILED, _T.COMPENSATION_FAILED: _T.FAILED},
        "undone": {_T.COMPENSATION_FAILED: _T.COMPENSATED},
    },
}

# What may be counted as done, if its action is known not to have happened.
SKIP_TRANSITIONS: Final[dict[StepStatus, StepStatus]] = {
    _T.PENDING: _T.COMPLETED,
    _T.RETRYING: _T.COMPLETED,
    _T.FAILED: _T.COMPLETED,
}

# What a next attempt may be hurried of.
HURRY_TRANSITIONS: Final[dict[StepStatus, StepStatus]] = {
    _T.RETRYING: _T.RETRYING,
    _T.COMPENSATING: _T.COMPENSATING,
    _T.FAILED: _T.FAILED,  # its doubt is probed
}

Changes = dict[str, Any]  # keyword arguments of one replace; mypy checks the leaves, not the bag


def saga_retry(state: SagaState, event: e.SagaRetry, at_utc_s: float) -> Changes:
    changes: Changes = {"retry_count": state.retry_count + 1, "error": ""}
    if state.status is saga_status.COMPENSATION_FAILED:
        again, changes["doubt_accepted"] = _undo_again, True
    else:
        again = _do_again if state.status is saga_status.FAILED else _do_undone_again
    changes["steps"] = {step_id: again(step) for step_id, step in state.steps.items()}
    return changes


def renewed(call: CallState, by_hand: tuple[object, ...] = ()) -> CallState:
    """The call with a new budget; a new effect, so a new epoch, only where the old one is known not to be.
    `by_hand` is the payload that an operator gave it, if one did."""
    if call.attempt == 0:
        return replace(call, outcome=None, error="")
    if call.outcome is NOT_DONE:
        return CallState(epoch=call.epoch + 1, filled=by_hand)
    return replace(
        call,
        attempts_base=call.attempt,
        retry_at_utc_s=0.0,
        started_at_utc_s=0.0,
        ended_at_utc_s=None,
    )


def _do_again(step: StepState) -> StepState:
    if step.status is step_status.FAILED:
        again = _action_again(step)
        return replace(step, status=step_status.RETRYING, action=again, probing=False)
    if step.status is step_status.COMPENSATED:  # it was undone down to a step
        return _do_undone_again(step)
    return step


def _do_undone_again(step: StepState) -> StepState:
    if step.status is step_status.COMPENSATED:
        again = StepState(
            action=CallState(epoch=step.action.epoch + 1),
            compensation=CallState(epoch=step.compensation.epoch + 1),
        )
        return again if step.by_hand is None else _as_by_hand(again, step.by_hand)
    if step.status is step_status.FAILED:
        again = replace(step, status=step_status.PENDING, probing=False)
        return replace(again, action=_action_again(step))
    return step


def _with_one(state: SagaState, step_id: str, moved: StepState) -> dict[str, StepState]:
    """The steps, of which one was moved by hand. If that lets a saga go forward that has undone steps, because it
    was undone down to one or its pivot was done after all, those are done again."""
    is_pivot = step_id == state.plan.pivot and moved.status is step_status.COMPLETED
    steps = {**state.steps, step_id: moved}
    if not (is_pivot or state.status is saga_status.FAILED):
        return steps
    return {
        name: _do_undone_again(step) if step.status is step_status.COMPENSATED else step
        for name, step in steps.items()
    }


def _action_again(step: StepState) -> CallState:
    return renewed(step.action, step.by_hand.payload if step.by_hand else ())


def _undo_call_again(step: StepState) -> CallState:
    return renewed(step.compensation, step.by_hand.undo_payload if step.by_hand else ())


def _as_by_hand(step: StepState, by_hand: ByHand) -> StepState:
    return replace(
        step,
        action=replace(step.action, filled=by_hand.payload),
        compensation=replace(step.compensation, filled=by_hand.undo_payload),
        by_hand=by_hand,
    )


def _undo_again(step: StepState) -> StepState:
    if step.status is not step_status.COMPENSATION_FAILED:
        return step
    done = step.action.outcome is DONE
    return replace(
        step,
        status=step_status.COMPLETED if done else step_status.FAILED,
        compensation=_undo_call_again(step),
    )


def step_resolved(state: SagaState, event: e.StepResolved, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    status = RESOLVE_TRANSITIONS[state.status][event.resolution][step.status]
    others = tuple(name for name in state.completed if name != event.step_id)
    changes: Changes = {"error": "", "completed": others}
    if event.resolution == "undone":
        resolved = replace(
            step, status=status, compensation=replace(step.compensation, outcome=DONE, error="")
        )
    else:
        is_done = event.resolution == "done"
        outcome = DONE if is_done else NOT_DONE
        resolved = replace(
            step,
            status=status,
            action=replace(step.action, outcome=outcome, retry_at_utc_s=0.0),
            compensation=_undo_call_again(step),
            result=event.result if is_done else None,
            probing=False,
        )
        if is_done:
            changes["completed"] = (*others, event.step_id)
    return {**changes, "steps": _with_one(state, event.step_id, resolved)}


def saga_paused(state: SagaState, event: e.SagaPaused, at_utc_s: float) -> Changes:
    return {"paused": Pause(at_utc_s, event.by, event.note)}


def saga_resumed(state: SagaState, event: e.SagaResumed, at_utc_s: float) -> Changes:
    return {"paused": None}


def step_skipped(state: SagaState, event: e.StepSkipped, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    skipped = replace(
        step,
        status=SKIP_TRANSITIONS[step.status],
        action=replace(step.action, error="", retry_at_utc_s=0.0),
        result=event.result,
        by_hand=replace(step.by_hand or UNTOUCHED_BY_HAND, skipped=True),
    )
    return {
        "steps": _with_one(state, event.step_id, skipped),
        "completed": (*state.completed, event.step_id),
        "error": "",
    }


def step_edited(state: SagaState, event: e.StepEdited, at_utc_s: float) -> Changes:
    step, payload = state.steps[event.step_id], (event.payload,)
    first, *other = EDIT_TRANSITIONS[event.phase][step.status]
    by_hand = step.by_hand or UNTOUCHED_BY_HAND
    if event.phase == "action":
        action = replace(renewed(step.action), filled=payload)
        by_hand = replace(by_hand, payload=payload)
        edited = replace(step, status=first, action=action, by_hand=by_hand)
    else:
        status = first if step.action.outcome is DONE else other[0]
        undo = replace(renewed(step.compensation), filled=payload)
        by_hand = replace(by_hand, undo_payload=payload)
        edited = replace(step, status=status, compensation=undo, by_hand=by_hand)
    return {"steps": _with_one(state, event.step_id, edited), "error": ""}


def saga_abandoned(state: SagaState, event: e.SagaAbandoned, at_utc_s: float) -> Changes:
    steps = {
        step_id: replace(step, probing=False) if step.probing else step
        for step_id, step in state.steps.items()
    }
    return {"steps": steps, "paused": None}


def saga_rerun(state: SagaState, event: e.SagaRerun, at_utc_s: float) -> Changes:
    return {"rerun_as": event.rerun_as}


def step_hurried(state: SagaState, event: e.StepHurried, at_utc_s: float) -> Changes:
    step = state.steps[event.step_id]
    status = HURRY_TRANSITIONS[step.status]
    if status is step_status.COMPENSATING:
        undo = replace(step.compensation, retry_at_utc_s=at_utc_s)
        hurried = replace(step, status=status, compensation=undo)
    else:
        action = replace(step.action, retry_at_utc_s=at_utc_s)
        hurried = replace(step, status=status, action=action)
    return {"steps": {**state.steps, event.step_id: hurried}}
