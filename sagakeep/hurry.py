"""Hurry: which attempts of a saga wait for their time, and may be let be made now.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from sagakeep import saga_status, step_status
from sagakeep.state import SagaState, StepState


def planned(state: SagaState, now_utc_s: float, service: str = "") -> list[str]:
    """The steps whose next attempt waits for its time: of an action, an undo or a probe; at a service, or at any.

    A probe whose time has come may be in flight: it is not meant.
    """
    if state.status not in (saga_status.RUNNING, saga_status.COMPENSATING):
        return []
    return [
        step_id
        for step_id, step in state.steps.items()
        if _next_at_utc_s(step) > now_utc_s and service in ("", state.step(step_id).service)
    ]


def _next_at_utc_s(step: StepState) -> float:
    if step.status is step_status.COMPENSATING:
        return step.compensation.retry_at_utc_s
    is_meant = step.status is step_status.RETRYING or step.probing
    return step.action.retry_at_utc_s if is_meant else 0.0


def may_hurry(state: SagaState) -> bool:
    """Could an operator have planned attempts made now, when it last moved?"""
    return state.paused is None and bool(planned(state, state.updated_at_utc_s))


def has_failed_undo(state: SagaState, service: str) -> bool:
    """Does it stand still because it could not be undone at this service?"""
    return state.status is saga_status.COMPENSATION_FAILED and any(
        step.status is step_status.COMPENSATION_FAILED and state.step(step_id).service == service
        for step_id, step in state.steps.items()
    )
