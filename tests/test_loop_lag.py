from __future__ import annotations

import time

import trio
import trio.testing
from trio.testing import MockClock

from sagakeep.runtime.loop_lag import LOOKS_BACK, LoopLag


async def test_a_step_that_holds_the_loop_up_is_seen() -> None:
    lag = LoopLag(0.02)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await trio.testing.wait_all_tasks_blocked()
        time.sleep(0.1)  # noqa: ASYNC251  # this is what holds a loop up
        await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert 0.05 < lag.longest_s < 5


async def test_virtual_time_has_no_lag_and_every_beat_counts(autojump_clock: MockClock) -> None:
    lag = LoopLag(0.1)
    with trio.move_on_after(1.05):
        await lag.run()
    assert lag.seconds.count == 10
    assert lag.longest_s < 1e-6


async def test_without_a_beat_it_ends_at_once(autojump_clock: MockClock) -> None:
    lag = LoopLag(0.0)
    await lag.run()
    assert (lag.seconds.count, lag.longest_s, trio.current_time()) == (0, 0.0, 0.0)


def test_the_longest_lag_is_forgotten_after_a_while():
    lag = LoopLag(0.1)
    for now_s, late_s in ((0.0, 0.2), (1.0, 3.0), (12.0, 0.1)):
        lag.note(late_s, now_s)
    assert lag.longest_s == 3.0
    for beat in range(7):
        lag.note(0.01, LOOKS_BACK + beat * LOOKS_BACK / 6)
    assert lag.longest_s == 0.01
