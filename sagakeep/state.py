"""The state of a saga: a frozen value that the fold of its events builds, and questions about it.

    SagaState --- steps: {id: StepState} --- action: CallState        one intended effect and its epoch
                                        `--- compensation: CallState  the effect that undoes it

Pure: no clock, no I/O. Values are never changed, only replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from sagakeep import step_status
from sagakeep.definition import InDoubt, SagaDefinition, Step, StepKind
from sagakeep.graph import Graph
from sagakeep.plan import Plan, plan_of
from sagakeep.saga_status import FINAL as FINAL
from sagakeep.saga_status import HELD as HELD
from sagakeep.saga_status import MOVING as MOVING
from sagakeep.saga_status import SagaStatus as SagaStatus
from sagakeep.service import DONE, NOT_DONE, UNKNOWN, Outcome
from sagakeep.step_status import StepStatus as StepStatus


class CallState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is known of one call (a step's action or compensation in its current epoch).

    `attempt` is the number of the last attempt that was started in this epoch, 0 for none; `attempts_base`
    what it was when an operator last granted a new budget; `outcome` is None until an attempt has settled;
    `retry_at_utc_s` is 0 unless the next attempt is waited for; `filled` holds the one payload whose
    references were filled in when the call was first made, and is empty when it had none; `rule` names why
    the last attempt that failed counted so; `ended_at_utc_s` is None until nothing more is tried.
    """

    epoch: int = 1
    attempt: int = 0
    attempts_base: int = 0
    outcome: Outcome | None = None
    retry_at_utc_s: float = 0.0
    started_at_utc_s: float = 0.0
    filled: tuple[object, ...] = ()
    error: str = ""
    rule: str = ""
    ended_at_utc_s: float | None = None


CALL_UNTOUCHED: Final = CallState()


class ByHand(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What an operator did to a step: it was `skipped`, so that it counts as done; `payload` and `undo_payload`
    hold the one payload that is sent instead of the defined one, and are empty when there is none."""

    skipped: bool = False
    payload: tuple[object, ...] = ()
    undo_payload: tuple[object, ...] = ()


UNTOUCHED_BY_HAND: Final = ByHand()


class StepState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One step.

    `order` is the event number of its first start, which gives the order of the undo; `probing` says that a
    probe will settle what the outcome of the action is; `probes` is how many were made in this epoch,
    `probes_base` how many before the action last failed; `by_hand` is None for nearly all.
    """

    status: StepStatus = step_status.PENDING
    action: CallState = CALL_UNTOUCHED
    compensation: CallState = CALL_UNTOUCHED
    result: object = None
    order: int = 0
    probes: int = 0
    probes_base: int = 0
    probing: bool = False
    by_hand: ByHand | None = None


STEP_UNTOUCHED: Final = StepState()


class Pause(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An operator holds the saga since a time: nothing new is begun."""

    since_utc_s: float
    by: str = ""
    note: str = ""


class SagaState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The fold of a saga's events. `sequence` is the number of the last one; times are UTC seconds.

    `completed` lists done steps in the order of their completion; `scope` is the step that a partial
    compensation starts from, "" for all; `down_to` the step above which all is undone, "" for none;
    `doubt_accepted` that an operator allowed to undo steps that are held in doubt. `paused` is only of a saga
    that runs or is undone. `rerun_of` and `rerun_as` are the sagas before and after it, "" for none.
    """

    id: str
    definition: SagaDefinition
    status: SagaStatus
    sequence: int
    created_at_utc_s: float
    updated_at_utc_s: float
    steps: dict[str, StepState]
    deadline_utc_s: float = 0.0
    retry_count: int = 0
    completed: tuple[str, ...] = ()
    reason: str = ""
    scope: str = ""
    doubt_accepted: bool = False
    error: str = ""
    by: str = ""
    idempotency_key: str = ""
    body_digest: bytes = b""
    traceparent: str = ""
    completed_at_utc_s: float = 0.0
    deleted: bool = False
    paused: Pause | None = None
    down_to: str = ""
    rerun_of: str = ""
    rerun_as: str = ""

    @property
    def is_erased(self) -> bool:
        """Was it deleted, and are its records erased, or some of them?"""
        return self.deleted and not self.definition.steps

    @property
    def plan(self) -> Plan:
        return plan_of(self.definition)

    @property
    def graph(self) -> Graph:
        return plan_of(self.definition).graph

    def step(self, step_id: str) -> Step:
        """The step as it was defined."""
        return plan_of(self.definition).steps[step_id]


def waits_for_operator(state: SagaState) -> bool:
    """Does nothing but an operator's word let it go on, once what is in flight has ended?"""
    return state.status in HELD or state.paused is not None


def in_flight(step: StepState) -> bool:
    """Is an attempt of the action out, so that it must settle before an undo?"""
    return step.status is step_status.RUNNING


def compensation_in_flight(step: StepState) -> bool:
    """Is an attempt of the compensation out?"""
    return step.status is step_status.COMPENSATING and not step.compensation.retry_at_utc_s


def some_failed(state: SagaState) -> bool:
    """Did an action fail for good, with nothing left to ask about it?"""
    for step in state.steps.values():  # noqa: SIM110 # asked at every decision; any() costs twice
        if step.status is step_status.FAILED and not step.probing:
            return True
    return False


def unsettled(state: SagaState) -> bool:
    """Is an action or a probe out, so that nothing may be undone yet?"""
    for step in state.steps.values():  # noqa: SIM110 # as above
        if step.status is step_status.RUNNING or step.probing:
            return True
    return False


def pivot_is_done(state: SagaState) -> bool:
    """Is the saga past its point of no return?"""
    pivot = plan_of(state.definition).pivot
    return pivot is not None and state.steps[pivot].status is step_status.COMPLETED


def may_have_happened(state: SagaState, step_id: str) -> bool:
    """Is the effect of the step's action there, or may it be there, not undone?"""
    step = state.steps[step_id]
    if step.status is step_status.COMPENSATED:
        return False
    return step.action.outcome is not None and step.action.outcome is not NOT_DONE


def is_done(step: StepState) -> bool:
    return step.action.outcome is DONE and step.status is not step_status.COMPENSATED


def is_held_in_doubt(state: SagaState, step_id: str) -> bool:
    """Does the step's doubt wait for an operator's word?"""
    step = state.steps[step_id]
    return (
        step.action.outcome is UNKNOWN
        and step.status in (step_status.FAILED, step_status.PENDING)
        and not state.doubt_accepted
        and state.step(step_id).in_doubt is InDoubt.HOLD
    )


def scope_of(state: SagaState) -> frozenset[str]:
    """The steps that the current compensation is about."""
    if state.down_to:
        return state.graph.dependents(state.down_to)
    if not state.scope:
        return frozenset(state.steps)
    return state.graph.dependents(state.scope) | {state.scope}


def to_undo(state: SagaState) -> list[str]:
    """The steps whose compensation has still to be done, latest start first."""
    scope = scope_of(state)
    left = [
        spec.id
        for spec in state.definition.steps
        if spec.compensation
        and spec.kind is not StepKind.READ_ONLY
        and spec.id in scope
        and may_have_happened(state, spec.id)
        and state.steps[spec.id].status not in (step_status.RUNNING, step_status.RETRYING)
    ]
    left.sort(key=lambda step_id: -state.steps[step_id].order)
    return left


def waited_for(state: SagaState, left: Iterable[str]) -> set[str]:
    """The steps that some of `left` depend on, so that they are undone later."""
    dependencies = state.graph.dependencies
    found: set[str] = set()
    todo = [name for step_id in left for name in dependencies[step_id]]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += dependencies[name]
    return found
