"""Steering: what an operator may wish of a saga, and which fact each wish is.

    allowed_moves(state)     the wishes that its status allows, by name
    WISHES[type](state, wish, now) -> events

A wish that may not be raises MoveRefused, which names what may be instead, and changes nothing. What then follows
is the machine's to say (sagakeep.machine), as after any news.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sagakeep import events as e
from sagakeep import messages as m
from sagakeep import saga_status
from sagakeep.changes import RESOLVE_TRANSITIONS
from sagakeep.course import Events
from sagakeep.errors import MoveRefused, UnknownStep
from sagakeep.service import DONE, UNKNOWN
from sagakeep.state import FINAL, HELD, SagaState, pivot_is_done


def allowed_moves(state: SagaState) -> tuple[str, ...]:
    """The wishes that the saga's status allows, for people."""
    moves = []
    if state.status in _COMPENSABLE and not pivot_is_done(state):
        moves.append("compensate")
    if state.status in _RETRIABLE and state.retry_count < state.definition.retries_max:
        moves.append("retry")
    if resolutions(state):
        moves.append("resolve")
    if state.status in FINAL | HELD:
        moves.append("delete")
    return tuple(moves)


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


def _compensate(state: SagaState, wish: m.Compensate, now_utc_s: float) -> Events:
    if wish.step_id and wish.step_id not in state.steps:
        raise UnknownStep(state.id, wish.step_id, tuple(state.steps))
    if state.status in (saga_status.COMPENSATING, saga_status.COMPENSATED):
        return ()
    if pivot_is_done(state):
        raise _refuse(state, "compensate", "its pivot is done")
    if state.status not in _COMPENSABLE:
        raise _refuse(state, "compensate", f"it is {state.status}")
    return (e.SagaCompensating("request", wish.step_id, wish.by, wish.note),)


def _retry(state: SagaState, wish: m.Retry, now_utc_s: float) -> Events:
    if state.status not in _RETRIABLE:
        raise _refuse(state, "retry", f"it is {state.status}")
    if state.retry_count >= state.definition.retries_max:
        why = f"it was retried {state.retry_count} times, its maxRetries"
        raise _refuse(state, "retry", why)
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
    if state.status is saga_status.FAILED and resolution == "done":
        return outcome is DONE
    return outcome is not UNKNOWN


def _resolve(state: SagaState, wish: m.Resolve, now_utc_s: float) -> Events:
    if wish.step_id not in state.steps:
        raise UnknownStep(state.id, wish.step_id, tuple(state.steps))
    if (wish.step_id, wish.resolution) not in resolutions(state):
        step = state.steps[wish.step_id]
        known = (
            ""
            if step.action.outcome is None
            else f", its action is known to be {step.action.outcome}"
        )
        why = f"it is {state.status}, and step {wish.step_id!r} is {step.status}{known}"
        raise _refuse(state, "resolve", f"{why}: it cannot be said to be {wish.resolution}")
    return (e.StepResolved(wish.step_id, wish.resolution, wish.result, wish.by, wish.note),)


def _delete(state: SagaState, wish: m.Delete, now_utc_s: float) -> Events:
    if state.status not in FINAL | HELD:
        raise _refuse(state, "delete", f"it is {state.status}")
    if wish.moved_at_utc_s is not None and _us(wish.moved_at_utc_s) != _us(state.updated_at_utc_s):
        raise _refuse(state, "delete", "it has moved since it was looked at")
    return (e.SagaDeleted(wish.by, wish.note),)


WISHES: Final[dict[type[m.Message], Callable[[SagaState, Any, float], Events]]] = {
    m.Compensate: _compensate,
    m.Retry: _retry,
    m.Resolve: _resolve,
    m.Delete: _delete,
}
