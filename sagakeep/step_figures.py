"""Step figures: what of each step of a saga that stands still is counted and compared. Pure.

They are kept with the saga's row, so the fields are few and plain. A call is a step's action or its compensation.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sagakeep import step_status
from sagakeep.standing import action_was_given_up
from sagakeep.state import CALL_UNTOUCHED, CallState, SagaState, StepState

OTHER: Final = "other"  # the code of an error that no rule stands behind: a payload that could not be filled in


class StepFigures(NamedTuple):
    """One step. The times are microseconds from the first attempt to the last answer, None of what was not made
    or has not ended; `error` and `undo_error` are codes, "" where nothing was given up."""

    step_id: str
    service: str
    action: str
    attempts: int
    took_us: int | None
    error: str = ""
    undo_attempts: int = 0
    undo_took_us: int | None = None
    undo_error: str = ""


Plain = tuple[
    str, str, str, int, int
]  # the fields without a default, of a step that was simply done


def figures_of(state: SagaState) -> list[StepFigures]:
    """The figures of all steps, in the order of the definition."""
    return [StepFigures(*one) for one in compact_figures_of(state)]


def compact_figures_of(state: SagaState) -> list[StepFigures | Plain]:
    """As `figures_of`, for every end of a saga: most steps are simply done, and a plain tuple costs a fifth."""
    found: list[StepFigures | Plain] = []
    steps = state.steps
    for spec in state.definition.steps:
        step = steps[spec.id]
        call = step.action
        ended_at_utc_s = call.ended_at_utc_s
        if (
            step.status is step_status.COMPLETED
            and step.compensation is CALL_UNTOUCHED
            and ended_at_utc_s is not None
            and ended_at_utc_s >= call.started_at_utc_s > 0.0
        ):
            took_us = round((ended_at_utc_s - call.started_at_utc_s) * 1e6)
            found.append((spec.id, spec.service, spec.action, call.attempt, took_us))
        else:
            found.append(_figures(spec.id, spec.service, spec.action, step))
    return found


def _figures(step_id: str, service: str, action: str, step: StepState) -> StepFigures:
    call, undo = step.action, step.compensation
    return StepFigures(
        step_id,
        service,
        action,
        call.attempt,
        _took_us(call),
        (call.rule or OTHER) if action_was_given_up(step) else "",
        undo.attempt,
        _took_us(undo),
        (undo.rule or OTHER) if step.status is step_status.COMPENSATION_FAILED else "",
    )


def _took_us(call: CallState) -> int | None:
    if call.ended_at_utc_s is None or not call.started_at_utc_s:
        return None
    return max(0, round((call.ended_at_utc_s - call.started_at_utc_s) * 1e6))
