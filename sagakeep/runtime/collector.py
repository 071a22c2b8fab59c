"""The garbage collector's pace, for a process that serves sagas.

A saga leaves no reference cycle, and a request none (a test holds that of sagas), so the collector finds nothing
of theirs; left alone it looks for it every few sagas, which was a quarter of what a saga cost. It cannot look at
few: a look at "the youngest" goes through all that was made since the last one and still lives, that is through
the whole population of sagas in flight, and holds the loop for 10 to 60 ms with a thousand of them.

So it is off, and called for when the process is at rest: for what closed connections (thirty objects each) and
services may have left. It then looks at what was made since the last time. What has outlived a look, and what a
long wave of work makes, is set aside, which costs nothing however much there is (a hundred thousand sagas that
wake at once took it 330 ms), and looked at after an hour.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import Final

import trio

LOOK_EVERY_S: Final = 5.0
SHARE_MAX: Final = 0.01  # of the time, for collections
WORTH_IT: Final = 10_000  # container objects made beyond those freed, since the last collection
FEW: Final = 20_000  # no more, and it takes 20 ms at most: else what is made may still go, as rows are written
OVERDUE: Final = 50_000  # as many, and they are set aside: a million took a look of 1.2 s
ASIDE_S: Final = (
    3_600.0  # until they are looked at, with all that was loaded: 100 ms, once there is rest
)
OVERDUE_S: Final = 600.0  # without rest, and it is done in the midst of work


def turn_collector_off() -> None:
    """Keep what was loaded so far out of collections, and have none by themselves. For the process's owner, who
    then calls for `collect_at_rest`."""
    gc.collect()
    gc.freeze()
    gc.disable()


async def collect_at_rest(is_at_rest: Callable[[], bool]) -> None:
    """Collect from time to time when there is little to do, for ever."""
    pause_s, last_s, aside_s = LOOK_EVERY_S, trio.current_time(), math.inf
    while True:
        await trio.sleep(pause_s)
        pause_s, now_s, made = LOOK_EVERY_S, trio.current_time(), gc.get_count()[0]
        if now_s - aside_s >= ASIDE_S and is_at_rest():
            gc.unfreeze()  # what was loaded at the beginning is among it
            pause_s, last_s, aside_s = _collect(), now_s, math.inf
            gc.freeze()
        elif made >= WORTH_IT and ((made <= FEW and is_at_rest()) or now_s - last_s >= OVERDUE_S):
            pause_s, last_s, aside_s = _collect(), now_s, min(aside_s, now_s)
            gc.freeze()
        elif made >= OVERDUE:
            gc.freeze()
            aside_s = min(aside_s, now_s)


def _collect() -> float:
    """Collect; return after how many seconds to look again."""
    began_s = time.perf_counter()
    gc.collect()
    return max(LOOK_EVERY_S, (time.perf_counter() - began_s) / SHARE_MAX)
