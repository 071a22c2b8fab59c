"""The saga watch: who is late, who is held, and that who sleeps is not looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from msgspec.structs import replace
from shop import saga, step
from trio.testing import MockClock

from sagakeep import saga_status
from sagakeep.actors import live_sagas
from sagakeep.actors.committed import Committed, Note
from sagakeep.actors.saga_watch import AT_ONCE, GLANCES_AT_ONCE, PAUSE_S, SagaWatch
from sagakeep.alert import SAGAS_NAMED_MAX, Trouble
from sagakeep.events import Record
from sagakeep.machine import create
from sagakeep.messages import Create
from sagakeep.runtime.journal_files import Position
from sagakeep.state import SagaState, SagaStatus
from sagakeep.validation import parse_definition

NOON = 1_000_000.0
BORN = create(Create("s", parse_definition(saga(step("a")), None)), NOON).state
HOLDING = create(Create("s", parse_definition(saga(step("a"), onFailure="hold"), None)), NOON).state
STUCK_AFTER_S = 100.0
PLACE = Position(8, 0)


class Feed:
    def note(self, state: SagaState, position: tuple[int, int]) -> None: ...

    def mark(self, through: int) -> None: ...


@asynccontextmanager
async def going_round(watch: SagaWatch) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        yield
        nursery.cancel_scope.cancel()


class Holding:
    """Holds the sagas that a test says."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.asleep_count = 0

    def holds(self, state: SagaState) -> bool:
        return state.id in self.ids

    def holds_asleep(self, saga_id: str) -> bool:
        return saga_id in self.ids


class Watched:
    """A watch over a table, on a clock that runs with trio's."""

    def __init__(self, clock: MockClock) -> None:
        clock.autojump_threshold = 0.0  # many rounds, and nothing in them that takes its time
        self.committed = Committed(Feed())
        self.live = self.committed.live
        began_s = trio.current_time()
        self.holder = Holding()
        self.watch = SagaWatch(
            self.committed,
            lambda: NOON + trio.current_time() - began_s,
            STUCK_AFTER_S,
            self.holder,
        )
        self.committed.on_moved = (self.watch.moved,)

    def lull(self, saga_id: str, wakes_at_utc_s: float, state: SagaState = BORN) -> None:
        self.live.note(replace(state, id=saga_id), PLACE)
        self.live.lull(saga_id, wakes_at_utc_s)

    def move(self, saga_id: str, before: SagaStatus, state: SagaState) -> None:
        named = replace(state, id=saga_id)
        record = Record(saga_id, named.sequence, NOON, None, ())
        self.committed.note(Note(before, named, record), PLACE)

    def trouble(self, rule: str) -> Trouble | None:
        return next((one for one in self.watch.troubles if one.rule == rule), None)


async def test_who_sleeps_in_time_is_not_looked_at(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(autojump_clock)
    for number in range(2 * GLANCES_AT_ONCE):
        watched.lull(f"s{number}", NOON + 10_000.0)
    monkeypatch.setattr(live_sagas, "glance_at_state", None)  # whoever looks fails
    monkeypatch.setattr(live_sagas, "decode_state", None)
    async with going_round(watched.watch):
        await trio.sleep(2 * STUCK_AFTER_S)
        assert watched.watch.rounds >= 2 * STUCK_AFTER_S / PAUSE_S - 1
        assert watched.watch.troubles == []


async def test_who_should_have_been_woken_long_ago_is_counted_and_some_are_named(
    autojump_clock: MockClock,
) -> None:
    watched = Watched(autojump_clock)
    late = [f"late{number}" for number in range(SAGAS_NAMED_MAX + 5)]
    for number in range(GLANCES_AT_ONCE):
        watched.lull(f"s{number}", NOON + 10_000.0)
    for name in late:
        watched.lull(name, NOON + 50.0)
    async with going_round(watched.watch):
        await trio.sleep(50.0 + STUCK_AFTER_S - 1.0)
        assert watched.trouble("saga_stuck") is None
        await trio.sleep(15.0)
        trouble = watched.trouble("saga_stuck")
        assert trouble is not None
        assert trouble.count == len(late)
        assert len(trouble.sagas) == SAGAS_NAMED_MAX
        assert set(trouble.sagas) <= set(late)
        for name in late:
            watched.live.wake(name)
            watched.live.lull(name, NOON + 10_000.0)
        await trio.sleep(5.0)
        assert watched.trouble("saga_stuck") is None


async def test_one_of_many_is_named(autojump_clock: MockClock) -> None:
    watched = Watched(autojump_clock)
    for number in range(2 * GLANCES_AT_ONCE):
        watched.lull(f"s{number}", NOON + 10_000.0)
    watched.lull("late", NOON)
    async with going_round(watched.watch):
        await trio.sleep(STUCK_AFTER_S + 15.0)
        trouble = watched.trouble("saga_stuck")
        assert trouble is not None
        assert (trouble.count, trouble.sagas) == (1, ("late",))


async def test_who_is_awake_and_late_is_named(autojump_clock: MockClock) -> None:
    watched = Watched(autojump_clock)
    for number in range(AT_ONCE + 1):
        watched.live.note(replace(BORN, id=f"s{number}"), PLACE)
    async with going_round(watched.watch):
        deadline_s = BORN.deadline_utc_s - NOON
        await trio.sleep(deadline_s + STUCK_AFTER_S - 1.0)
        assert watched.trouble("saga_stuck") is None
        await trio.sleep(5.0)
        trouble = watched.trouble("saga_stuck")
        assert trouble is not None
        assert trouble.count == AT_ONCE + 1


async def test_who_is_held_is_known_from_its_moves(autojump_clock: MockClock) -> None:
    watched = Watched(autojump_clock)
    failed = replace(HOLDING, status=saga_status.FAILED)
    async with going_round(watched.watch):
        for name in ("s1", "s2", "s3"):
            watched.move(name, saga_status.RUNNING, failed)
        watched.move("other", saga_status.RUNNING, replace(BORN, status=saga_status.FAILED))
        await trio.sleep(2 * PAUSE_S)
        assert names_of(watched.trouble("saga_held")) == ("s1", "s2", "s3")
        watched.move("s1", saga_status.FAILED, replace(HOLDING, status=saga_status.RETRYING))
        watched.move("s2", saga_status.FAILED, replace(failed, deleted=True))
        await trio.sleep(2 * PAUSE_S)
        assert names_of(watched.trouble("saga_held")) == ("s3",)


async def test_who_was_held_before_a_start_is_found(autojump_clock: MockClock) -> None:
    watched = Watched(autojump_clock)
    failed = replace(HOLDING, status=saga_status.FAILED)
    for number in range(AT_ONCE + 1):
        watched.lull(f"s{number}", 0.0, failed)
    watched.lull("undo", 0.0, replace(BORN, status=saga_status.COMPENSATION_FAILED))
    async with going_round(watched.watch):
        await trio.sleep(5.0)
        trouble = watched.trouble("saga_held")
        assert trouble is not None
        assert trouble.count == AT_ONCE + 1
        assert "undo" not in trouble.sagas


def names_of(trouble: Trouble | None) -> tuple[str, ...]:
    assert trouble is not None
    return trouble.sagas


async def test_who_waits_for_a_paused_service_is_not_late(autojump_clock: MockClock) -> None:
    watched = Watched(autojump_clock)
    watched.lull("sleeps", NOON + 1)
    watched.lull("is-late", NOON + 1)
    watched.live.note(replace(BORN, id="wakes", status=saga_status.RUNNING), PLACE)
    watched.holder.ids = {"sleeps", "wakes"}
    watched.holder.asleep_count = 1
    async with going_round(watched.watch):
        await trio.sleep(STUCK_AFTER_S + 1000)
        stuck = watched.trouble("saga_stuck")
        assert stuck is not None
        assert (stuck.count, stuck.sagas) == (1, ("is-late",))
        watched.holder.asleep_count = 2
        await trio.sleep(1000)
        assert watched.trouble("saga_stuck") is None
