"""The garbage collector's pace, for a process that serves sagas.

A saga leaves no reference cycle (a test holds it), so the collector finds nothing of theirs; at its usual pace it
looks for it every few sagas, among everything that is live, which was a quarter of what a saga cost. At a slow
pace each look takes long: one among 50,000 young objects held the loop for 16 to 60 ms.

So it looks often and at few: at the youngest objects only. What outlives them is looked at when the process is
at rest, for what connections and services may have left.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

import trio

YOUNG_OBJECTS: Final = (
    5_000  # made beyond those freed, before the youngest are looked at: 1 or 2 ms
)
LOOK_EVERY_S: Final = 5.0
SHARE_MAX: Final = 0.01  # of the time, for looking at all
LOOKS_WORTH_IT: Final = 20  # at the youngest, before it is worth looking at the others
LOOKS_OVERDUE: Final = 2_000  # as often, and they are looked at in the midst of work
_NEVER: Final = 1_000_000_000


def slow_collector_down() -> None:
    """Keep what was loaded so far out of collections, and have only the youngest looked at. For the process's
    owner, who then calls for `collect_at_rest`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, _NEVER, _NEVER)


async def collect_at_rest(is_at_rest: Callable[[], bool]) -> None:
    """Look at the older objects from time to time, for ever."""
    pause_s = LOOK_EVERY_S
    while True:
        await trio.sleep(pause_s)
        looks = gc.get_count()[1]
        if looks >= LOOKS_OVERDUE or (looks >= LOOKS_WORTH_IT and is_at_rest()):
            began_s = time.perf_counter()
            gc.collect()
            pause_s = max(LOOK_EVERY_S, (time.perf_counter() - began_s) / SHARE_MAX)
