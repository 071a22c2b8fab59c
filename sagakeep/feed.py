"""The feed: what happens to all sagas, in the order of the journal, as whoever follows it is told.

An event of it says which saga, what kind and where the saga stands then; what was paid or said is in the saga's
own history. A place says how far somebody has read; it stays valid over restarts, because it is a place of the
journal.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from sagakeep.events import EVENT_NAMES, Event, Record
from sagakeep.state import SagaStatus
from sagakeep.transitions import TRANSITIONS

_PLACE: Final = re.compile(r"(\d{1,18})-(\d{1,10})-(\d{1,10})-([0-9a-f]{8})", re.ASCII)


class FeedPlace(NamedTuple):
    """Behind so many events of the record at `offset` of the frame at `frame`; `journal` begins its uuid.

    Places of one journal are in order.
    """

    frame: int
    offset: int
    events: int
    journal: str

    def __str__(self) -> str:
        return f"{self.frame}-{self.offset}-{self.events}-{self.journal}"


def place_in(text: str) -> FeedPlace | None:
    """The place that `str` gave; None for any other text."""
    match = _PLACE.fullmatch(text)
    return match and FeedPlace(int(match[1]), int(match[2]), int(match[3]), match[4])


class FeedEvent(msgspec.Struct, frozen=True, gc=False):
    """One durable fact. `status` is that of the saga once all of the fact's record is durable, `place` that of
    who has seen it, `name` empty if the saga was erased, `step_id` if it is about no step."""

    place: FeedPlace
    saga_id: str
    name: str
    sequence: int
    at_utc_s: float
    kind: str
    status: SagaStatus
    step_id: str


class Wanted(NamedTuple):
    """Which events: all filters must be met; None is any."""

    name: str | None = None
    status: SagaStatus | None = None

    def lets_through(self, name: str, status: SagaStatus) -> bool:
        """Are the events wanted of a saga of this name, which stands in this status after them?"""
        return self.name in (None, name) and self.status in (None, status)


class FeedBatch(NamedTuple):
    """Some events, or none; who has them is at `through`. `gap` says why others before them are lost to this
    reader, "" when none are. `is_current`: what comes from now on comes as it becomes durable."""

    events: list[FeedEvent]
    through: FeedPlace
    gap: str = ""
    is_current: bool = False


def feed_events(
    record: Record, name: str, status: SagaStatus, frame: int, offset: int, journal: str
) -> list[FeedEvent]:
    """The events of a record that stands there."""
    return [
        FeedEvent(
            FeedPlace(frame, offset, count, journal),
            record.saga_id,
            name,
            record.sequence + count - 1,
            record.at_utc_s,
            EVENT_NAMES[type(event)][0],
            status,
            getattr(event, "step_id", ""),
        )
        for count, event in enumerate(record.events, start=1)
    ]


def status_after(status: SagaStatus, events: Iterable[Event]) -> SagaStatus:
    """Where a saga in a status stands after these events, by the table alone."""
    for event in events:
        status = TRANSITIONS[status].get(type(event), status)
    return status
