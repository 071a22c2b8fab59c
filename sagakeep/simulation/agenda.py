"""The agenda: what will happen outside of the product, at times of the world, whoever is alive then.

A request that is on its way arrives though its sender is no more.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import trio


class Agenda:
    """Deeds by time, those of the same time in the order in which they were set."""

    def __init__(self) -> None:
        self._deeds: list[tuple[float, int, Callable[[], object]]] = []
        self._ties = count()
        self._changed: trio.Event | None = None

    def __len__(self) -> int:
        return len(self._deeds)

    def set_at(self, at_s: float, deed: Callable[[], object]) -> None:
        heapq.heappush(self._deeds, (at_s, next(self._ties), deed))
        if self._changed is not None:
            self._changed.set()

    async def run(self, now_s: Callable[[], float]) -> None:
        """Do what is due, for ever."""
        while True:
            self.do_until(now_s())
            self._changed = trio.Event()
            wait_s = self._deeds[0][0] - now_s() if self._deeds else float("inf")
            with trio.move_on_after(max(0.0, wait_s)):
                await self._changed.wait()

    def do_until(self, at_s: float) -> None:
        """Do all that is due then."""
        while self._deeds and self._deeds[0][0] <= at_s:
            heapq.heappop(self._deeds)[2]()
