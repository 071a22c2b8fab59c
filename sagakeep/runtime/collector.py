"""The garbage collector's pace, for a process that serves sagas.

A finished saga leaves no reference cycle (a test holds it), so the collector finds nothing; at its usual pace it
looks for it every few sagas, among everything that is live, which was a quarter of what a saga cost.
"""

from __future__ import annotations

import gc
from typing import Final

ALLOCATIONS_MIN: Final = (
    50_000  # container objects made beyond those freed, before it looks at the youngest
)
GENERATIONS_MIN: Final = 20


def slow_collector_down() -> None:
    """Keep what was loaded so far out of collections, and collect more rarely. For the process's owner."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_MIN, GENERATIONS_MIN, GENERATIONS_MIN)
