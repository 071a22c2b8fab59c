"""The saga watch: tells which sagas are late and which are held, whatever their number.

    awake     looked at in turn:   100 sagas | rest 50 ms | 100 sagas | ... | pause | the next round
    asleep    counted where they fall asleep and wake (LiveSagas); looked for only when some are late
    held      noted when they move

A saga is late when whatever it waits for should have come long ago (sagakeep.alert.due_utc_s): it may wait in a
queue of a service that is short of room, or something is broken. One that waits for a service which an operator
has paused is not late. A round never holds the loop up and costs a hundredth of a processor while many are awake;
a million that sleep cost it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Protocol

import trio

from sagakeep import saga_status
from sagakeep.actors.committed import Committed, Note
from sagakeep.alert import SAGAS_NAMED_MAX, Severity, Trouble, count_of, due_utc_s
from sagakeep.definition import OnFailure
from sagakeep.runtime.journal_files import Position
from sagakeep.state import SagaState

AT_ONCE: Final = 100
GLANCES_AT_ONCE: Final = 500  # 5 us each
REST_S: Final = 0.05
PAUSE_S: Final = 1.0


class Holder(Protocol):
    """Who may have a reason for a saga to wait: the pauses of services, as far as this module knows them."""

    @property
    def asleep_count(self) -> int: ...

    def holds(self, state: SagaState) -> bool: ...

    def holds_asleep(self, saga_id: str) -> bool: ...


class SagaWatch:
    """Goes round; `troubles` is what the last whole round found.

    It is told of each move once recovery is over.
    """

    def __init__(
        self,
        committed: Committed,
        now_utc_s: Callable[[], float],
        stuck_after_s: float,
        holder: Holder,
    ) -> None:
        self._live = committed.live
        self._now_utc_s = now_utc_s
        self._stuck_after_s = stuck_after_s
        self._holder = holder
        self._began_utc_s = now_utc_s()  # what was late before this process is not its lateness
        self._held: dict[str, None] = {}  # in the order in which they came to be
        self.troubles: list[Trouble] = []
        self.rounds = 0

    def moved(self, note: Note, position: Position) -> None:
        """The status of a saga has changed, or it was deleted."""
        if _is_held(note.state):
            self._held[note.state.id] = None
        elif note.before is saga_status.FAILED:
            self._held.pop(note.state.id, None)

    async def run(self) -> None:
        """Go round until cancelled."""
        await self._find_held()
        while True:
            late = await self._late_awake()
            late_asleep = self._late_asleep_count()
            names = await self._late_asleep(min(late_asleep, SAGAS_NAMED_MAX))
            self.troubles = [
                *self._stuck(len(late) + late_asleep, sorted(late) + sorted(names)),
                *self._held_trouble(),
            ]
            self.rounds += 1
            await trio.sleep(PAUSE_S)

    async def _find_held(self) -> None:
        """Find those that were held before this process, or before it was told of moves."""
        for count, saga_id in enumerate(list(self._live.waiting_for_operator), start=1):
            known = self._live.get(saga_id)
            if known is not None and _is_held(known[0]):
                self._held[saga_id] = None
            if count % AT_ONCE == 0:
                await trio.sleep(REST_S)

    async def _late_awake(self) -> list[str]:
        late = []
        for count, saga_id in enumerate(self._live.awake_ids(), start=1):
            known = self._live.get(saga_id)
            if known is not None and self._is_late(known[0]):
                late.append(saga_id)
            if count % AT_ONCE == 0:
                await trio.sleep(REST_S)
        return late

    def _late_asleep_count(self) -> int:
        """At least so many; while services are paused, what waits for them is taken to be late."""
        overdue = self._live.overdue_count(self._late_before_utc_s())
        return max(0, overdue - self._holder.asleep_count) if overdue else 0

    async def _late_asleep(self, wanted: int) -> list[str]:
        """Name so many of those that should have been woken."""
        names: list[str] = []
        if not wanted:
            return names
        for count, saga_id in enumerate(self._live.asleep_ids(), start=1):
            should_utc_s = self._live.due_utc_s(saga_id)
            is_late = should_utc_s and should_utc_s < self._late_before_utc_s()
            if is_late and not self._holder.holds_asleep(saga_id):
                names.append(saga_id)
            if len(names) == wanted:
                break
            if count % GLANCES_AT_ONCE == 0:
                await trio.sleep(REST_S)
        return names

    def _is_late(self, state: SagaState) -> bool:
        if state.status not in saga_status.MOVING or state.paused is not None:
            return False
        return due_utc_s(state) < self._late_before_utc_s() and not self._holder.holds(state)

    def _late_before_utc_s(self) -> float:
        """What was due before this time is late; nothing is until the process has had its time."""
        by_utc_s = self._now_utc_s() - self._stuck_after_s
        return by_utc_s if by_utc_s > self._began_utc_s else 0.0

    def _stuck(self, count: int, names: list[str]) -> Iterator[Trouble]:
        if count:
            yield Trouble(
                "saga_stuck",
                Severity.CRITICAL,
                f"{count_of(count)} stuck: what is waited for is more than"
                f" {self._stuck_after_s:g} s late",
                "see waitingFor of one of them, and whether its service's queue moves",
                count=count,
                sagas=tuple(names[:SAGAS_NAMED_MAX]),
            )

    def _held_trouble(self) -> Iterator[Trouble]:
        if self._held:
            yield Trouble(
                "saga_held",
                Severity.WARNING,
                f"{count_of(len(self._held))} held after a failure, as onFailure says",
                "the history of each says why; retry it, or have it undone",
                count=len(self._held),
                sagas=tuple(islice(self._held, SAGAS_NAMED_MAX)),
            )


def _is_held(state: SagaState) -> bool:
    return (
        state.status is saga_status.FAILED
        and state.definition.on_failure is OnFailure.HOLD
        and not state.deleted
    )
