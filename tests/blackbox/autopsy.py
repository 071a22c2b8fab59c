"""Look at a dead directory before anything is put in order: is what was told or done in its journal?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blackbox.deeds import Deed
from blackbox.wishes import Wish, is_told
from sagakeep.errors import JournalError
from sagakeep.events import ActorRestarted, AnyEvent, CompensationStarted, StepStarted
from sagakeep.offline.audit import Audit
from sagakeep.runtime.disk import LocalDisk


class Body:
    """What the journal of a dead process holds."""

    def __init__(self, directory: str) -> None:
        self.sagas: set[str] = set()
        self.keys: set[str] = set()  # of every call that was about to be made
        self.faults: list[str] = []
        try:
            self._read(directory)
        except JournalError as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def _read(self, directory: str) -> None:
        for record, _ in Audit(LocalDisk(), directory):
            self.sagas.add(record.saga_id)
            for event in record.events:
                self._note(record.saga_id, event)

    def _note(self, saga_id: str, event: AnyEvent) -> None:
        match event:
            case StepStarted():
                self.keys.add(f"{saga_id}/{event.step_id}/action/{event.epoch}")
            case CompensationStarted():
                self.keys.add(f"{saga_id}/{event.step_id}/compensation/{event.epoch}")
            case ActorRestarted():
                self.faults.append(f"{saga_id}: its actor died: {event.error}")


def examine(directory: str, wishes: Mapping[int, Wish], deeds: Sequence[Deed]) -> list[str]:
    """Return every acknowledged saga and every call that the journal does not know of, and every damage."""
    body = Body(directory)
    return [*body.faults, *_missing(body, wishes, deeds)]


def _missing(body: Body, wishes: Mapping[int, Wish], deeds: Sequence[Deed]) -> Iterator[str]:
    for wish in wishes.values():
        if is_told(wish) and wish.saga not in body.sagas:
            yield f"{wish.saga} ({wish.order}): acknowledged and not in the journal"
    for deed in deeds:
        if deed.key not in body.keys:
            yield f"{deed.key}: called and not in the journal"
