"""Virtual time: one run of trio whose tasks go in an order that a seed decides, and whose clock jumps.

    run_in_virtual_time(main, seed=7)     twice the same seed, twice the same order of tasks

Trio picks the order of the tasks that are ready by chance, so that nobody comes to rely on it. Its own tests and
hypothesis make that chance repeatable by two private names, as is done here; `test_schedule` fails loudly on a
trio that has them no more. Threads and sockets would bring back real time: there may be none in such a run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

import trio
from trio.testing import MockClock

T = TypeVar("T")
A = TypeVarTuple("A")


def run_in_virtual_time(
    main: Callable[[*A], Awaitable[T]], *arguments: *A, seed: int, instruments: Any = ()
) -> T:
    """Run `main` as `trio.run` does; when every task waits the clock jumps to the next deadline."""
    core: Any = trio._core._run
    was = core._ALLOW_DETERMINISTIC_SCHEDULING
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    core._r.seed(seed)
    try:
        return trio.run(
            main, *arguments, clock=MockClock(autojump_threshold=0), instruments=instruments
        )
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = was
