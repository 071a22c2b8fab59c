from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from keeper import Ledger, begin, begin_and_wait, keeping
from shop import step
from trio.testing import MockClock

from sagakeep.actors.job import Job
from sagakeep.actors.saga import SagaActor
from sagakeep.runtime import collector
from sagakeep.runtime.collector import LOOK_EVERY_S, collect_at_rest, slow_collector_down
from sagakeep.runtime.mailbox import Envelope, Mailbox, Reply
from sagakeep.runtime.timers import Timer
from sagakeep.state import SagaState


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*threshold)
    gc.unfreeze()


async def test_no_saga_leaves_a_cycle_of_references(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        await begin_and_wait(sagas, step("a"), step("b"))  # what is made once is made
        gc.collect()
        gc.disable()
        for _ in range(10):
            await begin_and_wait(sagas, step("a"), step("b"))
            await begin_and_wait(sagas, step("a"), step("b", "fail"))
            await begin_and_wait(sagas, step("a", "flaky"), step("b", "slow"))
            away = await begin(sagas, step("a"), step("b", "down"))
            await sagas.compensate(away)
            await sagas.wait(away, timeout_s=60)
        await trio.sleep(3)  # what was asked for is over, and rows are written
        assert live_of_ours() == set()


def live_of_ours() -> set[str]:
    """The kinds of our objects of which there is one for each of many sagas."""
    of_sagas = (SagaActor, Mailbox, Envelope, Reply, Job, Timer, SagaState)
    counts = Counter(type(thing) for thing in gc.get_objects() if isinstance(thing, of_sagas))
    return {kind.__name__ for kind, count in counts.items() if count >= 20}


def test_only_the_youngest_are_looked_at_while_there_is_work() -> None:
    slow_collector_down()
    young, middle, old = gc.get_threshold()
    assert young == collector.YOUNG_OBJECTS
    assert min(middle, old) > 10**6
    assert gc.get_freeze_count() > 0


class Counted:
    """Stands between the collector and its counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = 0
        self.collections = 0
        monkeypatch.setattr(gc, "get_count", lambda: (0, self.looks, 0))
        monkeypatch.setattr(gc, "collect", self.collect)

    def collect(self) -> int:
        self.collections += 1
        self.looks = 0
        return 0


async def collections_of(
    counted: Counted, looks: int, is_at_rest: Callable[[], bool], seconds: float
) -> int:
    counted.looks = looks
    with trio.move_on_after(seconds):
        await collect_at_rest(is_at_rest)
    return counted.collections


async def test_the_older_ones_are_looked_at_when_the_process_rests(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    for looks, is_at_rest, expected in (
        (collector.LOOKS_WORTH_IT - 1, True, 0),
        (collector.LOOKS_WORTH_IT, False, 0),
        (collector.LOOKS_WORTH_IT, True, 1),
        (collector.LOOKS_OVERDUE - 1, False, 1),
        (collector.LOOKS_OVERDUE, False, 2),
    ):
        found = await collections_of(
            counted, looks, (lambda rests: lambda: rests)(is_at_rest), LOOK_EVERY_S * 1.5
        )
        assert found == expected, (looks, is_at_rest)


async def test_a_long_look_is_followed_by_a_long_pause(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    seconds = iter([0.0, 1.0])  # the first look takes a second
    monkeypatch.setattr(collector.time, "perf_counter", lambda: next(seconds))
    counted.looks = collector.LOOKS_WORTH_IT
    with trio.move_on_after(LOOK_EVERY_S + 1.0 / collector.SHARE_MAX - 1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect_at_rest, lambda: True)
            await trio.sleep(LOOK_EVERY_S * 1.5)
            counted.looks = collector.LOOKS_WORTH_IT
    assert counted.collections == 1
