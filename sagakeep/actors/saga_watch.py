"""The saga watch: looks at every live saga in turn, a few at a time, and tells which are late.

    round:  100 sagas | rest 50 ms | 100 sagas | ... | pause | the next round

A saga is late when whatever it waits for should have come long ago (sagakeep.alert.due_utc_s): it may wait in a
queue of a service that is short of room, or something is broken. One round over a million sagas takes
minutes, over ten thousand seconds; it never holds the loop up, and costs a hundredth of a processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import trio

from sagakeep import saga_status
from sagakeep.actors.committed import Committed
from sagakeep.alert import SAGAS_NAMED_MAX, Severity, Trouble, count_of, due_utc_s
from sagakeep.state import SagaState

AT_ONCE: Final = 100
REST_S: Final = 0.05
PAUSE_S: Final = 1.0


class SagaWatch:
    """Goes round; `troubles` is what the last whole round found."""

    def __init__(
        self, committed: Committed, now_utc_s: Callable[[], float], stuck_after_s: float
    ) -> None:
        self._committed = committed
        self._now_utc_s = now_utc_s
        self._stuck_after_s = stuck_after_s
        self._began_utc_s = now_utc_s()  # what was late before this process is not its lateness
        self.troubles: list[Trouble] = []
        self.rounds = 0

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            late, held = await self._round()
            self.troubles = [*self._stuck(late), *_held(held)]
            self.rounds += 1
            await trio.sleep(PAUSE_S)

    async def _round(self) -> tuple[list[str], list[str]]:
        late, held = [], []
        live = self._committed.live
        for count, saga_id in enumerate(live.ids(), start=1):
            wakes_at_utc_s = live.wakes_at_utc_s(saga_id)
            known = None if wakes_at_utc_s else live.get(saga_id)
            if wakes_at_utc_s:
                late += [saga_id] if self._is_late(wakes_at_utc_s) else []
            elif known is not None and known[0].status in saga_status.MOVING:
                late += [saga_id] if self._is_late(due_utc_s(known[0])) else []
            elif known is not None and _is_held(known[0]):
                held.append(saga_id)
            if count % AT_ONCE == 0:
                await trio.sleep(REST_S)
        return late, held

    def _is_late(self, due_utc_s: float) -> bool:
        by_utc_s = max(due_utc_s, self._began_utc_s) + self._stuck_after_s
        return self._now_utc_s() > by_utc_s

    def _stuck(self, late: list[str]) -> Iterator[Trouble]:
        if late:
            yield Trouble(
                "saga_stuck",
                Severity.CRITICAL,
                f"{count_of(len(late))} stuck: what is waited for is more than"
                f" {self._stuck_after_s:g} s late",
                "see waitingFor of one of them, and whether its service's queue moves",
                count=len(late),
                sagas=tuple(sorted(late)[:SAGAS_NAMED_MAX]),
            )


def _is_held(state: SagaState) -> bool:
    return state.status is saga_status.FAILED and state.definition.on_failure == "hold"


def _held(held: list[str]) -> Iterator[Trouble]:
    if held:
        yield Trouble(
            "saga_held",
            Severity.WARNING,
            f"{count_of(len(held))} held after a failure, as onFailure says",
            "the history of each says why; retry it, or have it undone",
            count=len(held),
            sagas=tuple(sorted(held)[:SAGAS_NAMED_MAX]),
        )
