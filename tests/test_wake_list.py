from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing
from trio.testing import MockClock

from sagakeep.runtime.wake_list import PAUSE_S, SLICE, WakeList


class Sleepers:
    """Who was woken, and when, in seconds from the beginning."""

    def __init__(self) -> None:
        self.began_s = trio.current_time()
        self.woken: list[tuple[str, float]] = []
        self.is_crowded = False

    def wake(self, name: str) -> None:
        self.woken.append((name, round(trio.current_time() - self.began_s, 6)))


@asynccontextmanager
async def running(sleepers: Sleepers) -> AsyncIterator[Callable[[str, float], None]]:
    names = WakeList(sleepers.wake, lambda: sleepers.is_crowded)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.run)
        yield lambda name, after_s: names.add(name, sleepers.began_s + after_s)
        await trio.sleep_until(sleepers.began_s + 1e6)
        assert len(names) == 0
        nursery.cancel_scope.cancel()


async def test_each_is_woken_when_its_second_begins(autojump_clock: MockClock) -> None:
    sleepers = Sleepers()
    async with running(sleepers) as add:
        for name, after_s in (("c", 30.0), ("a", 2.25), ("b", 2.75), ("d", 1e5)):
            add(name, after_s)
    assert [name for name, _ in sleepers.woken] == ["a", "b", "c", "d"]
    for (_, at_s), due_s in zip(sleepers.woken, (2.25, 2.75, 30.0, 1e5), strict=True):
        assert due_s - 1 < at_s <= due_s


async def test_who_comes_later_may_be_due_earlier(autojump_clock: MockClock) -> None:
    sleepers = Sleepers()
    async with running(sleepers) as add:
        add("late", 500.0)
        await trio.sleep(1)
        add("early", 20.0)
        await trio.sleep(100)
        assert [name for name, _ in sleepers.woken] == ["early"]


async def test_a_time_that_has_passed_is_now(autojump_clock: MockClock) -> None:
    sleepers = Sleepers()
    async with running(sleepers) as add:
        add("past", -5.0)
        await trio.testing.wait_all_tasks_blocked()
        assert sleepers.woken == [("past", 0.0)]


async def test_many_that_are_due_at_once_are_woken_in_slices(autojump_clock: MockClock) -> None:
    sleepers = Sleepers()
    seen: set[int] = set()

    async def look() -> None:
        while True:
            seen.add(len(sleepers.woken))
            await trio.lowlevel.checkpoint()

    async with running(sleepers) as add:
        for number in range(5 * SLICE):
            add(str(number), 10.0)
        await trio.sleep(9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            with trio.move_on_after(2):
                while len(sleepers.woken) < 5 * SLICE:
                    await trio.lowlevel.checkpoint()
                    trio.lowlevel.current_clock().jump(0.01)  # type: ignore[attr-defined]
            nursery.cancel_scope.cancel()
    assert len(sleepers.woken) == 5 * SLICE
    assert {SLICE, 2 * SLICE} & seen


async def test_while_it_is_crowded_they_are_woken_more_slowly(autojump_clock: MockClock) -> None:
    sleepers = Sleepers()
    sleepers.is_crowded = True
    async with running(sleepers) as add:
        for number in range(3 * SLICE):
            add(str(number), 0.0)
    times_s = sorted({at_s for _, at_s in sleepers.woken})
    assert times_s == [0.0, PAUSE_S, 2 * PAUSE_S]


async def test_few_of_each_of_many_seconds_are_woken_in_slices_too(
    autojump_clock: MockClock,
) -> None:
    sleepers = Sleepers()
    sleepers.is_crowded = True
    async with running(sleepers) as add:
        for number in range(3 * SLICE):
            add(str(number), -float(number))
    times_s = sorted({at_s for _, at_s in sleepers.woken})
    assert times_s == [0.0, PAUSE_S, 2 * PAUSE_S]
