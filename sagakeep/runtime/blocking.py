"""The port to calls that block: what they wait for, a disk or SQLite, takes its time beside the loop.

`in_thread` is for a process, `in_turn` for a simulation: it lets the other tasks go first and then makes the
call on the loop, so that the same calls come in the same order under a virtual clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
A = TypeVarTuple("A")


class RunBlocking(Protocol):
    """Makes a call and returns what it returns. Can be cancelled before the call has begun, not later."""

    async def __call__(
        self,
        call: Callable[[*A], T],
        /,
        *arguments: *A,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T: ...


in_thread: Final[RunBlocking] = trio.to_thread.run_sync


async def in_turn(
    call: Callable[[*A], T], /, *arguments: *A, limiter: trio.CapacityLimiter | None = None
) -> T:
    """Make the call on the loop; calls are then made one at a time, whatever the limiter."""
    await trio.lowlevel.checkpoint()
    return call(*arguments)
