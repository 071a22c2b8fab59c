"""Remains: the effects that are there, or may be, when nothing more is undone, each with the reason. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sagakeep.definition import Step, StepKind
from sagakeep.saga_status import ABANDONED, COMPENSATED, FAILED
from sagakeep.state import SagaState, may_have_happened, pivot_is_done


class Remains(msgspec.Struct, frozen=True):
    """A step whose effect is there, or may be there, and that is left as it is."""

    step_id: str
    why: str


def remaining(state: SagaState) -> Iterator[Remains]:
    """The effects that may be there still, each with what keeps it from being undone."""
    for spec in state.definition.steps:
        if may_have_happened(state, spec.id):
            yield Remains(spec.id, _why_not(state, spec))


def _why_not(state: SagaState, spec: Step) -> str:
    call = state.steps[spec.id].compensation
    if spec.kind is StepKind.READ_ONLY:
        return "it only reads: there is nothing to undo"
    if state.status is ABANDONED:
        return "the saga was ended by force before it was undone"
    if pivot_is_done(state):
        return "the saga is past its pivot: it can only go forward"
    if not spec.compensation:
        return "it has no compensation"
    if call.error:
        return f"its compensation failed: {call.error}"
    if state.scope and state.status is COMPENSATED:
        return f"only {state.scope!r} and what depends on it is undone"
    if state.down_to and state.status is FAILED:
        return f"only what depends on {state.down_to!r} is undone"
    return "a step that is undone before it cannot be undone"
