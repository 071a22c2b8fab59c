"""A moment of a saga's life, by an event's number or a time, and the saga as it was. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sagakeep.errors import SagaNotThen
from sagakeep.events import Record, SagaCreated
from sagakeep.state import SagaState
from sagakeep.transitions import birth, evolve


class AfterEvent(msgspec.Struct, frozen=True):
    """Just after the event of this number, which counts from 1."""

    sequence: int


class AtTime(msgspec.Struct, frozen=True):
    """At a time, what was decided in that instant included."""

    at_utc_s: float


Moment = AfterEvent | AtTime


def state_at(saga_id: str, records: Iterable[Record], moment: Moment) -> SagaState:
    """Fold a whole history up to a moment. Raises SagaNotThen before it, and beyond its last event."""
    state: SagaState | None = None
    for record in records:
        for at, event in enumerate(record.events):
            if _is_later(record.sequence + at, record.at_utc_s, moment):
                return _there(saga_id, state, moment)
            if isinstance(event, SagaCreated):
                state = birth(saga_id, event, record.at_utc_s)
            else:
                assert state is not None, "a history begins with a creation"
                state = evolve(state, event, record.at_utc_s)
    return _there(saga_id, state, moment)


def _is_later(sequence: int, at_utc_s: float, moment: Moment) -> bool:
    if isinstance(moment, AfterEvent):
        return sequence > moment.sequence
    return round(at_utc_s * 1e6) > round(moment.at_utc_s * 1e6)  # as precise as a time is shown


def _there(saga_id: str, state: SagaState | None, moment: Moment) -> SagaState:
    if state is None:
        raise SagaNotThen(f"there was no saga {saga_id!r} yet")
    if isinstance(moment, AfterEvent) and moment.sequence > state.sequence:
        detail = (
            f"saga {saga_id!r} has no event {moment.sequence} yet; its last is {state.sequence}"
        )
        raise SagaNotThen(detail)
    return state
