from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import trio
from keeper import Ledger, begin, begin_and_wait, keeping
from shop import step
from trio.testing import MockClock

from sagakeep.actors.job import Job
from sagakeep.actors.saga import SagaActor
from sagakeep.runtime import collector
from sagakeep.runtime.collector import LOOK_EVERY_S, collect_at_rest, turn_collector_off
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


def test_nothing_is_collected_by_itself() -> None:
    turn_collector_off()
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0


class Counted:
    """Stands between the collector and its counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        self.made = 0
        self.collected_at_s: list[float] = []
        clock = count(0, seconds)
        monkeypatch.setattr(gc, "get_count", lambda: (self.made, 0, 0))
        monkeypatch.setattr(gc, "collect", self.collect)
        monkeypatch.setattr(collector.time, "perf_counter", lambda: next(clock))

    def collect(self) -> None:
        self.collected_at_s.append(trio.current_time())


@pytest.mark.parametrize(
    ("made", "is_at_rest", "at_s"),
    [
        (collector.WORTH_IT - 1, True, None),
        (collector.WORTH_IT, True, LOOK_EVERY_S),
        (collector.FEW, True, LOOK_EVERY_S),
        (collector.FEW + 1, True, collector.OVERDUE_S),
        (collector.WORTH_IT, False, collector.OVERDUE_S),
        (collector.OVERDUE - 1, False, collector.OVERDUE_S),
        (collector.OVERDUE, False, collector.OVERDUE_S),
    ],
)
async def test_it_is_collected_at_rest_or_when_it_is_overdue(
    made: int,
    is_at_rest: bool,
    at_s: float | None,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = Counted(monkeypatch)
    counted.made = made
    began_s = trio.current_time()
    with trio.move_on_after(collector.OVERDUE_S + 1):
        await collect_at_rest(lambda: is_at_rest)
    first = next((at - began_s for at in counted.collected_at_s), None)
    assert first == pytest.approx(at_s) if at_s else first is None


async def test_what_a_wave_of_work_made_is_set_aside_and_looked_at_when_there_is_rest(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    is_at_rest = False
    turn_collector_off()
    loaded = gc.get_freeze_count()
    knot = Knot()
    gone = weakref.ref(knot)
    del knot
    monkeypatch.setattr(collector, "OVERDUE", 1)
    monkeypatch.setattr(collector, "WORTH_IT", 1_000_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect_at_rest, lambda: is_at_rest)
        await trio.sleep(collector.ASIDE_S + LOOK_EVERY_S * 3)
        assert gone() is not None  # set aside, and nobody looked at it
        is_at_rest = True
        await trio.sleep(LOOK_EVERY_S * 3)
        assert gone() is None
        assert gc.get_freeze_count() >= loaded // 2  # what was loaded is out of it again
        nursery.cancel_scope.cancel()


async def test_what_has_outlived_a_look_is_not_looked_at_by_the_next(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_collector_off()
    loaded = gc.get_freeze_count()
    kept = [[number] for number in range(5_000)]
    monkeypatch.setattr(collector, "WORTH_IT", 1)
    with trio.move_on_after(LOOK_EVERY_S * 1.5):
        await collect_at_rest(lambda: True)
    assert gc.get_freeze_count() >= loaded + len(kept)


async def test_a_long_collection_is_followed_by_a_long_pause(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch, seconds=1.0)  # each takes a second
    counted.made = collector.FEW
    with trio.move_on_after(300):
        await collect_at_rest(lambda: True)
    first, second, *_ = counted.collected_at_s
    assert second - first == pytest.approx(1.0 / collector.SHARE_MAX)
