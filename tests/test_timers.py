from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from sagakeep.runtime.timers import Alarm, Timer, Timers


@asynccontextmanager
async def running(timers: Timers) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


class Bell:
    """Writes down when it rang, in seconds from its making."""

    def __init__(self) -> None:
        self.began_s = trio.current_time()
        self.rang: list[tuple[str, float]] = []

    def ring(self, name: str) -> None:
        self.rang.append((name, round(trio.current_time() - self.began_s, 6)))

    @property
    def names(self) -> str:
        return "".join(name for name, _ in self.rang)


@pytest.mark.parametrize("seed", range(10))
async def test_timers_fire_once_each_at_their_time_whatever_the_order_of_setting(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    timers, bell, random = Timers(), Bell(), Random(seed)
    delays = [random.choice((0.001, 0.5, 0.999, 1.0, 1.5, 2.0, 60.25, 3600.0)) for _ in range(50)]
    async with running(timers):
        for index, delay_s in enumerate(delays):
            timers.set_after(delay_s, lambda index=index: bell.ring(f"{index},"))
        await trio.sleep(4000)
    expected = sorted(range(len(delays)), key=lambda index: (delays[index], index))
    assert [int(name[:-1]) for name, _ in bell.rang] == expected
    assert [at for _, at in bell.rang] == [delays[index] for index in expected]
    assert len(timers) == 0


async def test_a_delay_of_nothing_or_less_fires_from_the_task_and_not_from_the_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers, bell = Timers(), Bell()
    async with running(timers):
        timers.set_after(0, lambda: bell.ring("a"))
        timers.set_after(-5, lambda: bell.ring("b"))
        assert bell.names == ""
        await trio.testing.wait_all_tasks_blocked()
        assert bell.rang == [("a", 0), ("b", 0)]


async def test_a_nearer_timer_wakes_the_task_that_sleeps_for_a_farther_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers, bell = Timers(), Bell()
    async with running(timers):
        timers.set_after(1000, lambda: bell.ring("far"))
        await trio.sleep(1)
        timers.set_after(10, lambda: bell.ring("near"))
        timers.set_after(2000, lambda: bell.ring("farther"))
        await trio.sleep(3000)
    assert bell.rang == [("near", 11), ("far", 1000), ("farther", 2001)]


@pytest.mark.parametrize("delay_s", [0.25, 100.0])
async def test_a_dropped_timer_does_not_fire_and_may_be_dropped_again(
    autojump_clock: trio.testing.MockClock, delay_s: float
) -> None:
    timers, bell = Timers(), Bell()
    async with running(timers):
        kept = timers.set_after(delay_s, lambda: bell.ring("kept"))
        dropped = timers.set_after(delay_s, lambda: bell.ring("dropped"))
        dropped.drop()
        dropped.drop()
        await trio.sleep(200)
        kept.drop()  # after it was due
    assert bell.rang == [("kept", delay_s)]
    assert len(timers) == 0


async def test_an_action_may_drop_a_timer_that_is_due_at_the_same_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers, bell = Timers(), Bell()
    second: list[Timer] = []
    async with running(timers):
        timers.set_after(5, lambda: (bell.ring("a"), second[0].drop()))
        second.append(timers.set_after(5, lambda: bell.ring("b")))
        await trio.sleep(10)
    assert bell.names == "a"


async def test_an_action_may_set_the_next_timer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers, bell = Timers(), Bell()

    def tick() -> None:
        bell.ring("t")
        if len(bell.rang) < 5:
            timers.set_after(0.75, tick)

    async with running(timers):
        timers.set_after(0.75, tick)
        await trio.sleep(60)
    assert [at for _, at in bell.rang] == [0.75, 1.5, 2.25, 3.0, 3.75]


async def test_timers_that_were_set_before_the_task_ran_fire(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers, bell = Timers(), Bell()
    timers.set_after(0.5, lambda: bell.ring("a"))
    timers.set_after(50, lambda: bell.ring("b"))
    await trio.sleep(1)
    async with running(timers):
        await trio.sleep(100)
    assert bell.rang == [("a", 1), ("b", 50)]


async def test_they_say_how_late_they_are_until_all_that_is_due_was_called(
    mock_clock: MockClock,
) -> None:
    timers, rang = Timers(), []
    for number in range(3_000):  # more than are brought near at once
        timers.set_after(10 + number % 5, lambda: rang.append(1))
    async with running(timers):
        assert timers.behind_s() == 0.0
        mock_clock.jump(3_600)
        late_s = [timers.behind_s()]
        while len(rang) < 3_000:
            await trio.lowlevel.checkpoint()
            late_s.append(timers.behind_s())
        assert late_s[0] == pytest.approx(3_590, abs=1)
        assert min(late_s[:-1]) > 3_580
        assert late_s[-1] == 0.0


async def test_a_million_timers_set_and_dropped_leave_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers = Timers()
    async with running(timers):
        for count in range(1_000_000):
            timers.set_after(2 + count % 300, math.floor).drop()
        assert len(timers) == 0
        assert len(timers._far) <= 301  # an empty entry for each second, until it has passed
        await trio.sleep(400)
        assert (timers._far, timers._seconds, timers._near) == ({}, [], [])


async def test_a_second_whose_timers_were_dropped_gives_their_room_back(
    mock_clock: MockClock,
) -> None:
    timers = Timers()
    set_ = [timers.set_at(1_000.5 + number / 1e6, math.floor) for number in range(10_000)]
    for number, timer in enumerate(set_):
        if number % 1_000:
            timer.drop()
    assert [timer for second in timers._far.values() for timer in second] == set_[::1_000]
    assert sum(map(sys.getsizeof, timers._far.values())) < 16_000  # 295,000 without


async def test_near_timers_that_were_dropped_are_gone_when_they_would_have_been_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers = Timers()
    async with running(timers):
        for _ in range(1_000):
            timers.set_after(0.1, math.floor).drop()
        await trio.sleep(1)
        assert len(timers) == 0


class Ringing:
    """Notes when its alarm rang, on trio's clock."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.rang_s: list[float] = []
        self.alarm = Alarm(self.timers, lambda: self.rang_s.append(trio.current_time()))


@asynccontextmanager
async def ringing() -> AsyncIterator[Ringing]:
    one = Ringing()
    async with running(one.timers):
        yield one


@pytest.mark.parametrize(
    ("times_s", "rings_s"), [([5], 5), ([5, 9], 9), ([9, 5], 5), ([5, 9, 7], 7), ([9, 5, 12], 12)]
)
async def test_an_alarm_rings_once_at_the_time_that_was_set_last(
    times_s: list[float], rings_s: float, autojump_clock: MockClock
) -> None:
    async with ringing() as one:
        began_s = trio.current_time()
        for time_s in times_s:
            one.alarm.set_at(began_s + time_s)
        assert len(one.timers) == 1
        await trio.sleep(60)
        assert one.rang_s == [began_s + rings_s]
        assert len(one.timers) == 0


async def test_an_alarm_that_was_cleared_is_silent_and_can_be_set_again(
    autojump_clock: MockClock,
) -> None:
    async with ringing() as one:
        began_s = trio.current_time()
        one.alarm.set_at(began_s + 5)
        one.alarm.clear()
        await trio.sleep(10)
        assert one.rang_s == []
        one.alarm.set_at(began_s + 15)
        await trio.sleep(10)
        assert one.rang_s == [began_s + 15]


async def test_an_alarm_that_is_set_later_costs_one_timer_however_often(
    autojump_clock: MockClock,
) -> None:
    async with ringing() as one:
        began_s = trio.current_time()
        for count in range(100):
            one.alarm.set_at(began_s + 5 + count)
        assert len(one.timers) == 1
        one.alarm.drop()
        one.alarm.drop()
        assert len(one.timers) == 0
        await trio.sleep(200)
        assert one.rang_s == []
