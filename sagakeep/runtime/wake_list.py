"""The wake list: names that are to be called at a time; a million of them at ten bytes each.

    {second: [name, ...]}     and a heap of the seconds

Each is called when the second begins in which it is due; who needs it to the millisecond sets a timer then.
Nothing is taken off: who was woken by something else in the meantime is called once more for nothing, so `wake`
has to look. What is due is called in slices, slower while there is much to do: a million names that fall due at
once do not wake all at once.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Final

import trio

SLICE: Final = 32  # a wake takes up to 100 us; the loop is held for 10 ms at most
LOOKED_UP_MAX: Final = (
    20_000  # names of one second: 1 ms to look one up, and the next costs nothing
)
PAUSE_S: Final = 0.005  # after a slice while it is crowded: 6,400 names a second


class WakeList:
    """`wake` is called with each name that is due, from the task that `run` is; it must not raise.

    `is_crowded` says whether those that were woken have yet to get through. Times are of trio's clock, seconds.
    """

    def __init__(self, wake: Callable[[str], object], is_crowded: Callable[[], bool]) -> None:
        self._wake = wake
        self._is_crowded = is_crowded
        self._now_s: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self._due: dict[int, list[str]] = {}
        self._seconds: list[int] = []  # heap of the keys of _due
        self._changed = trio.Event()
        self._is_calling = False
        self._looked_up: tuple[int, int, frozenset[str]] = (0, 0, frozenset())

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def add(self, name: str, due_s: float) -> None:
        """Call it when the second of this time begins."""
        second = math.floor(due_s)
        names = self._due.get(second)
        if names is not None:
            names.append(name)
            return
        self._due[second] = [name]
        heapq.heappush(self._seconds, second)
        if self._seconds[0] == second:
            self._changed.set()

    def has(self, name: str, due_s: float) -> bool:
        """Will it be called then? Of a second that is being called, or has too many, yes is said unseen."""
        second = math.floor(due_s)
        names = self._due.get(second, [])
        if len(names) > LOOKED_UP_MAX or (self._is_calling and second <= self._now_s()):
            return True
        if self._looked_up[:2] != (second, len(names)):
            self._looked_up = (second, len(names), frozenset(names))
        return name in self._looked_up[2]

    async def run(self) -> None:
        """Call what is due, for ever."""
        while True:
            due_s = self._seconds[0] if self._seconds else math.inf
            with trio.CancelScope(deadline=due_s):
                await self._changed.wait()
            self._changed = trio.Event()
            self._is_calling = True
            for count, name in enumerate(self._take_due(), start=1):
                self._wake(name)
                if count % SLICE == 0:
                    await trio.sleep(PAUSE_S if self._is_crowded() else 0)
            self._is_calling = False

    def _take_due(self) -> Iterator[str]:
        while self._seconds and self._seconds[0] <= self._now_s():
            yield from self._due.pop(heapq.heappop(self._seconds))
