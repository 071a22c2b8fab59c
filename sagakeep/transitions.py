"""The fold: one table that says which event moves a saga where, and one function that applies an event.

    evolve(state, event, at) -> state        the status from TRANSITIONS, the rest from `sagakeep.changes`

Every status has a row, the final ones too. An event that a row does not name is impossible: `decide`
never produces it (tested for every pair), so on disk it is corruption. FACTS do not move the saga and are
possible in every status. What moves a step is in STEP_TRANSITIONS, one level below.
`docs/transitions.md` is rendered from both.

Pure: no clock, no random, no logging; the same events give the same state in every version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from sagakeep import events as e
from sagakeep import saga_status
from sagakeep.changes import CHANGES
from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError
from sagakeep.state import STEP_UNTOUCHED, SagaState, SagaStatus

_S = SagaStatus

TRANSITIONS: Final[dict[SagaStatus, dict[type[e.Event], SagaStatus]]] = {
    _S.CREATED: {
        e.SagaStarted: _S.RUNNING,
        e.SagaCompensating: _S.COMPENSATING,
    },
    _S.RUNNING: {
        e.StepStarted: _S.RUNNING,
        e.StepCompleted: _S.RUNNING,
        e.StepRetry: _S.RUNNING,
        e.StepFailed: _S.RUNNING,
        e.SagaCompleted: _S.COMPLETED,
        e.SagaFailed: _S.FAILED,
        e.SagaCompensating: _S.COMPENSATING,
        e.SagaPaused: _S.RUNNING,
        e.SagaResumed: _S.RUNNING,
        e.StepSkipped: _S.RUNNING,
        e.StepEdited: _S.RUNNING,
        e.StepHurried: _S.RUNNING,
        e.SagaAbandoned: _S.ABANDONED,
    },
    _S.FAILED: {
        e.SagaRetry: _S.RETRYING,
        e.StepResolved: _S.RETRYING,
        e.SagaCompensating: _S.COMPENSATING,
        e.StepSkipped: _S.RETRYING,
        e.StepEdited: _S.RETRYING,
        e.SagaAbandoned: _S.ABANDONED,
    },
    _S.RETRYING: {
        e.SagaStarted: _S.RUNNING,
        e.SagaFailed: _S.FAILED,
        e.SagaCompensating: _S.COMPENSATING,
    },
    _S.COMPENSATING: {
        e.StepCompleted: _S.COMPENSATING,
        e.StepFailed: _S.COMPENSATING,
        e.CompensationStarted: _S.COMPENSATING,
        e.CompensationRetry: _S.COMPENSATING,
        e.StepCompensated: _S.COMPENSATING,
        e.SagaCompensated: _S.COMPENSATED,
        e.SagaStarted: _S.RUNNING,  # what was in flight was the pivot, and it is done
        e.CompensationFailed: _S.COMPENSATION_FAILED,
        e.SagaFailed: _S.FAILED,  # it was asked to be undone down to a step, and is
        e.SagaPaused: _S.COMPENSATING,
        e.SagaResumed: _S.COMPENSATING,
        e.StepEdited: _S.COMPENSATING,
        e.StepHurried: _S.COMPENSATING,
        e.SagaAbandoned: _S.ABANDONED,
    },
    _S.COMPENSATION_FAILED: {
        e.SagaRetry: _S.COMPENSATING,
        e.StepResolved: _S.COMPENSATING,
        e.StepEdited: _S.COMPENSATING,
        e.SagaAbandoned: _S.ABANDONED,
    },
    _S.COMPENSATED: {
        e.SagaRetry: _S.RETRYING,
        e.SagaRerun: _S.COMPENSATED,
    },
    _S.COMPLETED: {
        e.SagaCompensating: _S.COMPENSATING,
        e.SagaRerun: _S.COMPLETED,
    },
    _S.ABANDONED: {
        e.SagaRerun: _S.ABANDONED,
    },
}

FACTS: Final[frozenset[type[e.Event]]] = frozenset(
    {
        e.StepProbed,
        e.CompensationExhausted,
        e.LateReply,
        e.ActorRestarted,
        e.SagaDeleted,
        e.SagaErased,
    }
)


class ImpossibleEvent(SagakeepError):
    """An event that its saga's status does not allow: a bug of ours, or damage on disk."""


def birth(saga_id: str, event: e.SagaCreated, at_utc_s: float) -> SagaState:
    """Apply the first event."""
    return SagaState(
        id=saga_id,
        definition=event.definition,
        status=saga_status.CREATED,
        sequence=1,
        created_at_utc_s=at_utc_s,
        updated_at_utc_s=at_utc_s,
        steps={step.id: STEP_UNTOUCHED for step in event.definition.steps},
        by=event.by,
        idempotency_key=event.idempotency_key,
        body_digest=event.body_digest,
        traceparent=event.traceparent,
        rerun_of=event.rerun_of,
    )


def buried(record: e.Record) -> SagaState:
    """What is known before a record of a saga when an erased one was there: that it was deleted."""
    return SagaState(
        id=record.saga_id,
        definition=_FORGOTTEN,
        status=saga_status.CREATED,
        sequence=record.sequence - 1,
        created_at_utc_s=record.at_utc_s,
        updated_at_utc_s=record.at_utc_s,
        steps={},
        deleted=True,
    )


def _unearth(record: e.Record) -> SagaState:
    """What is known after an erased record, which is the first of its saga that is known."""
    first = record.events[0]
    assert isinstance(first, e.SagaErased), "the caller looked"
    return replace(
        buried(record),
        sequence=record.sequence + len(record.events) - 1,
        idempotency_key=first.idempotency_key,
    )


_FORGOTTEN: Final = SagaDefinition("", ())


def evolve(state: SagaState, event: e.Event, at_utc_s: float) -> SagaState:
    """Apply one event. Raises ImpossibleEvent for what the tables do not have."""
    kind = type(event)
    status = TRANSITIONS[state.status].get(kind)
    if status is None:
        if kind not in FACTS:
            name = e.EVENT_NAMES[kind][0]
            raise ImpossibleEvent(f"saga {state.id!r}: {name} in status {state.status}")
        status = state.status
    try:
        changes = CHANGES[kind](state, event, at_utc_s)
    except KeyError:
        raise ImpossibleEvent(_misfit(state, event)) from None
    changes["status"] = status
    changes["sequence"] = state.sequence + 1
    changes["updated_at_utc_s"] = at_utc_s
    return replace(state, **changes)


def _misfit(state: SagaState, event: e.Event) -> str:
    """Say why the step that an event names has no entry in STEP_TRANSITIONS."""
    step_id: str = event.step_id  # type: ignore[attr-defined] # only events of steps look a step up
    step = state.steps.get(step_id)
    status = "missing" if step is None else step.status
    name = e.EVENT_NAMES[type(event)][0]
    return f"saga {state.id!r}: {name} of step {step_id!r}, which is {status}"


def fold(state: SagaState | None, record: e.Record) -> SagaState:
    """Apply a record to the state before it, None for the first record of a saga. Raises ImpossibleEvent."""
    events: Iterable[e.AnyEvent] = record.events
    if not events:
        raise ImpossibleEvent(f"saga {record.saga_id!r}: a record without events")
    if state is None and record.is_erased:
        return _unearth(record)
    if state is None:
        first, *rest = record.events
        if not isinstance(first, e.SagaCreated) or record.sequence != 1:
            raise ImpossibleEvent(
                f"saga {record.saga_id!r}: history does not begin at its creation"
            )
        state, events = birth(record.saga_id, first, record.at_utc_s), rest
    elif (record.saga_id, record.sequence) != (state.id, state.sequence + 1):
        raise ImpossibleEvent(
            f"saga {record.saga_id!r}: event {record.sequence} follows event {state.sequence} of {state.id!r}"
        )
    if state.is_erased:  # what stands between its erased records says nothing any more
        return replace(
            state, sequence=state.sequence + len(record.events), updated_at_utc_s=record.at_utc_s
        )
    for event in events:
        state = evolve(state, event, record.at_utc_s)
    return state
