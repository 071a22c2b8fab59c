from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from sagakeep.runtime.clock import Clock

NOON = 1_700_000_000.0


async def test_utc_is_the_wall_clock_at_the_start_and_what_was_waited_since(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock = Clock(lambda: NOON)
    assert clock.now_utc_s() == pytest.approx(NOON)
    await trio.sleep(90)
    assert clock.now_utc_s() == pytest.approx(NOON + 90)


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0, -3.2e7, 3.2e7])
async def test_a_step_of_the_wall_clock_moves_no_time(
    autojump_clock: trio.testing.MockClock, step_s: float
) -> None:
    wall = [NOON]
    clock = Clock(lambda: wall[0])
    wall[0] += step_s
    await trio.sleep(1)
    assert clock.now_utc_s() == pytest.approx(NOON + 1)


async def test_time_is_never_earlier_than_what_it_was_advanced_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock = Clock(lambda: NOON)
    clock.advance_to(NOON + 3600)
    assert clock.now_utc_s() == pytest.approx(NOON + 3600)
    await trio.sleep(5)
    clock.advance_to(NOON)
    assert clock.now_utc_s() == pytest.approx(NOON + 3605)


async def test_without_another_source_it_is_the_time_of_the_machine() -> None:
    assert abs(Clock().now_utc_s() - time.time()) < 5
