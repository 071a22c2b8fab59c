from __future__ import annotations

import threading

import pytest
import trio

from sagakeep.runtime.blocking import RunBlocking, in_thread, in_turn


@pytest.mark.parametrize("run_blocking", [in_thread, in_turn])
async def test_a_call_gives_what_it_returns_or_raises(run_blocking: RunBlocking) -> None:
    limiter = trio.CapacityLimiter(1)
    assert await run_blocking(divmod, 7, 2, limiter=limiter) == (3, 1)
    assert await run_blocking(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await run_blocking(divmod, 7, 0)


@pytest.mark.parametrize("run_blocking", [in_thread, in_turn])
async def test_a_call_that_was_cancelled_before_it_began_is_not_made(
    run_blocking: RunBlocking,
) -> None:
    made: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await run_blocking(made.append, 1)
    assert scope.cancelled_caught
    assert made == []


async def test_a_thread_is_another_one_and_a_turn_is_ours() -> None:
    assert await in_thread(threading.current_thread) is not threading.current_thread()
    assert await in_turn(threading.current_thread) is threading.current_thread()
