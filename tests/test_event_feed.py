"""The feed of all sagas: whole, in order, resumable, and nothing to those that do not follow it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from keeper import LeanDisk, Ledger, begin, begin_and_wait, folded, keeping
from shop import step
from trio.testing import MockClock, wait_all_tasks_blocked

from sagakeep import limits
from sagakeep.actors import event_feed
from sagakeep.errors import JournalError, Unavailable
from sagakeep.feed import FeedBatch, FeedEvent, FeedPlace, Wanted, place_in
from sagakeep.fleet import ANY
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime.journal_files import JournalFiles
from sagakeep.state import SagaStatus

UNDONE = [step("a"), step("b", "fail")]
LONG = [step(f"s{number:02}") for number in range(20)]


class Follower:
    """Reads until it is cancelled; knows all that it was told."""

    def __init__(self) -> None:
        self.batches: list[FeedBatch] = []

    @property
    def events(self) -> list[FeedEvent]:
        return [event for batch in self.batches for event in batch.events]

    @property
    def gaps(self) -> list[str]:
        return [batch.gap for batch in self.batches if batch.gap]

    @property
    def last_id(self) -> str:
        return str(self.batches[-1].through)

    def numbers(self) -> dict[str, list[int]]:
        """The numbers of the events of each saga."""
        found: dict[str, list[int]] = {}
        for event in self.events:
            found.setdefault(event.saga_id, []).append(event.sequence)
        return found

    async def run(
        self, sagas: Orchestrator, wanted: Wanted = ANY, last_id: str | None = None
    ) -> None:
        async with sagas.fleet.follow(wanted, last_id) as batches:
            async for batch in batches:
                self.batches.append(batch)


@asynccontextmanager
async def following(
    sagas: Orchestrator, wanted: Wanted = ANY, last_id: str | None = None
) -> AsyncIterator[Follower]:
    """A follower, who has all that has happened when the block is left."""
    follower = Follower()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.run, sagas, wanted, last_id)
        await wait_all_tasks_blocked()
        yield follower
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


def places(follower: Follower) -> list[FeedPlace]:
    return [event.place for event in follower.events]


async def test_who_follows_is_told_all_of_every_saga_in_the_order_of_the_journal(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas, following(sagas) as follower:
        states = [await begin_and_wait(sagas, step("a"), step("b")) for _ in range(5)]
        states.append(await begin_and_wait(sagas, *UNDONE, name="trip"))
    assert follower.numbers() == {state.id: list(range(1, state.sequence + 1)) for state in states}
    assert places(follower) == sorted(set(places(follower)))
    assert follower.gaps == []
    last = follower.events[-1]
    assert (last.kind, last.status, last.name) == ("saga_compensated", "compensated", "trip")
    done = next(event for event in follower.events if event.kind == "step_completed")
    assert (done.step_id, done.status, done.name) == ("a", "running", "order")


async def test_what_happened_before_is_not_told_and_ready_comes_first(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        await begin_and_wait(sagas)
        async with following(sagas) as follower:
            assert follower.batches == [FeedBatch([], follower.batches[0].through, is_current=True)]
            after = await begin_and_wait(sagas)
    assert set(follower.numbers()) == {after.id}


async def test_a_filter_is_of_the_name_and_of_the_status_after(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with (
        keeping(tmp_path) as sagas,
        following(sagas, Wanted(name="trip")) as trips,
        following(sagas, Wanted(status=SagaStatus.COMPENSATED)) as undone,
        following(sagas, Wanted("trip", SagaStatus.COMPENSATED)) as both,
    ):
        order = await begin_and_wait(sagas, *UNDONE)
        trip = await begin_and_wait(sagas, name="trip")
    assert set(trips.numbers()) == {trip.id}
    assert set(undone.numbers()) == {order.id}
    assert {event.status for event in undone.events} == {"compensated"}
    assert both.events == []


async def test_nobody_who_follows_costs_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        committed = sagas._engine.committed
        assert committed.on_noted == ()
        async with following(sagas):
            async with following(sagas):
                assert sagas._engine.feed.readers == 2
            assert len(committed.on_noted) == 1
        assert committed.on_noted == ()
        assert sagas._engine.feed.readers == 0


@pytest.mark.parametrize("ticks", range(0, 90, 3))
async def test_a_place_goes_on_without_a_gap_and_without_a_double(
    tmp_path: Path, autojump_clock: MockClock, ticks: int
) -> None:
    """The one that comes back does so while frames are written and noted."""
    async with keeping(tmp_path) as sagas:
        async with following(sagas) as first:
            early = await begin_and_wait(sagas)
        ids = [await begin(sagas, *LONG) for _ in range(5)]
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        async with following(sagas, last_id=first.last_id) as second:
            ended = [await sagas.wait(saga_id, 60) for saga_id in ids]
    assert second.gaps == []
    assert second.numbers() == {one.id: list(range(1, one.sequence + 1)) for one in ended}
    assert early.id not in second.numbers()
    assert places(second) == sorted(set(places(second)))


async def test_every_place_is_one_to_go_on_from(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        async with following(sagas) as whole:
            for _ in range(3):
                await begin_and_wait(sagas, *UNDONE)
        for at, event in enumerate(whole.events):
            async with following(sagas, last_id=str(event.place)) as rest:
                pass
            assert rest.events == whole.events[at + 1 :]
            assert rest.batches[-1].is_current or not rest.batches[-1].events


async def test_a_filter_holds_for_what_is_read_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        async with following(sagas) as first:
            pass
        await begin_and_wait(sagas, *UNDONE)
        trip = await begin_and_wait(sagas, *UNDONE, name="trip")
        wanted = Wanted("trip", SagaStatus.COMPENSATED)
        async with following(sagas, wanted, first.last_id) as second:
            pass
    assert set(second.numbers()) == {trip.id}
    assert {event.status for event in second.events} == {"compensated"}


async def test_a_place_stays_good_over_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        await begin_and_wait(sagas)
        async with following(sagas) as first:
            saga_id = await begin(sagas, step("a"), step("b", "gated"))
            await trio.sleep(1)
    ledger = Ledger()
    ledger.gate.set()
    async with keeping(tmp_path, disk, services={"shop": ledger}) as sagas:
        ended = await sagas.wait(saga_id, 60)
        async with following(sagas, last_id=first.last_id) as second:
            pass
    numbers = first.numbers()[saga_id] + second.numbers()[saga_id]
    assert numbers == list(range(1, ended.sequence + 1))
    assert second.gaps == []
    assert {event.name for event in second.events} == {"order"}
    assert second.events[-1].status is folded(disk, tmp_path)[saga_id].status


async def test_a_deleted_saga_is_told_and_its_events_are_there_until_they_are_erased(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas, following(sagas) as follower:
        saga = await begin_and_wait(sagas)
        await sagas.delete(saga.id)
    assert follower.events[-1].kind == "saga_deleted"


async def test_erased_records_are_passed_over(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(
        tmp_path, LeanDisk(), segment_bytes=8 << 10, archive_behind_bytes=0, erase_after_s=0.0
    ) as sagas:
        async with following(sagas) as first:
            pass
        gone = await begin_and_wait(sagas, name="gone")
        await sagas.delete(gone.id)
        for _ in range(60):
            await begin_and_wait(sagas)
        await trio.sleep(3600)
        async with following(sagas, last_id=first.last_id) as second:
            pass
    told = [event for event in second.events if event.saga_id == gone.id]
    assert [(event.kind, event.name) for event in told] == [("saga_deleted", "")]


async def test_a_reader_that_is_too_slow_is_told_of_a_gap_and_then_goes_on(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FEED_BUFFER_EVENTS_MAX", 20)
    seen: list[FeedBatch] = []
    async with keeping(tmp_path) as sagas, sagas.fleet.follow() as batches:
        seen.append(await anext(batches))
        for _ in range(10):
            await begin_and_wait(sagas)
        gap = await anext(batches)
        assert (gap.gap, gap.events) == ("you were too slow", [])
        later = await begin_and_wait(sagas)
        batch = await anext(batches)
    assert {event.saga_id for event in batch.events} == {later.id}
    assert all(event.place > gap.through for event in batch.events)


async def test_what_waits_for_one_reader_is_bounded(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FEED_BUFFER_EVENTS_MAX", 20)
    async with keeping(tmp_path) as sagas, sagas.fleet.follow() as batches:
        await anext(batches)
        for _ in range(30):
            await begin_and_wait(sagas)
            assert len(sagas._engine.feed._readers[0]._events) <= 20


@pytest.mark.parametrize(
    ("name", "bound"),
    [("FEED_RESUME_BYTES_MAX", 100), ("FEED_RESUME_EVENTS_MAX", 3), ("FEED_RESUME_SAGAS_MAX", 0)],
)
async def test_who_was_away_for_long_is_told_of_a_gap(
    tmp_path: Path,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    bound: int,
) -> None:
    monkeypatch.setattr(limits, name, bound)
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a"), step("b", "gated"))
        await trio.sleep(1)
        async with following(sagas) as first:
            pass
        sagas._engine.gateways["shop"].caller._service.gate.set()  # type: ignore[attr-defined]
        await sagas.wait(saga_id, 60)
        for _ in range(3):
            await begin_and_wait(sagas)
        async with following(sagas, last_id=first.last_id) as second:
            later = await begin_and_wait(sagas)
    assert second.gaps == ["you were away for long"]
    assert second.batches[0].is_current
    assert set(second.numbers()) == {later.id}


@pytest.mark.parametrize(
    "last_id", ["", "x", "7", "0-0-0-ffffffff", "-1-0-0-{}", "99999999-0-0-{}"]
)
async def test_a_place_of_another_journal_is_a_gap(
    tmp_path: Path, autojump_clock: MockClock, last_id: str
) -> None:
    async with keeping(tmp_path) as sagas:
        await begin_and_wait(sagas)
        last_id = last_id.format(sagas._engine.files.uuid[:8])
        async with following(sagas, last_id=last_id) as follower:
            later = await begin_and_wait(sagas)
    assert follower.gaps == ["your place is none of this journal"]
    assert set(follower.numbers()) == {later.id}


async def test_a_journal_that_cannot_be_read_is_a_gap_and_is_told_in_the_log(
    tmp_path: Path,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def scan(files: JournalFiles, after: int = 0) -> object:
        raise JournalError("the disk is gone")

    async with keeping(tmp_path) as sagas:
        async with following(sagas) as first:
            await begin_and_wait(sagas)
        monkeypatch.setattr(JournalFiles, "scan", scan)
        async with following(sagas, last_id=first.last_id) as second:
            pass
    assert second.gaps == ["what you have missed cannot be read"]
    assert "see `sagakeep verify`" in caplog.text


async def test_one_reader_too_many_is_refused(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FEED_READERS_MAX", 1)
    async with keeping(tmp_path) as sagas, following(sagas):
        with pytest.raises(Unavailable, match="1 readers follow all sagas already"):
            await Follower().run(sagas)


async def test_nobody_follows_while_sagas_are_taken_up(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path) as sagas:
        monkeypatch.setattr(sagas._engine, "recovered", trio.Event())
        with pytest.raises(Unavailable, match="recovering"):
            await Follower().run(sagas)


async def test_quiet_is_told_with_the_place_that_the_filters_leave_out(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas, following(sagas, Wanted(name="other")) as follower:
        first = follower.batches[0].through
        await begin_and_wait(sagas)
        await trio.sleep(event_feed.QUIET_S + 1)
    assert follower.events == []
    assert follower.batches[-1].through > first
    assert follower.batches[-1].through == sagas._engine.feed.place


async def test_followers_end_when_the_process_stops(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    follower = Follower()
    async with trio.open_nursery() as nursery, keeping(tmp_path) as sagas:
        nursery.start_soon(follower.run, sagas)
        await begin(sagas, step("a", "gated"))
        await wait_all_tasks_blocked()
    assert follower.events
    late = Follower()
    await late.run(sagas)
    assert [batch.is_current for batch in late.batches] == [True]


def test_a_place_is_read_as_it_is_written() -> None:
    place = FeedPlace(4096, 118, 2, "9f0c44ab")
    assert str(place) == "4096-118-2-9f0c44ab"
    assert place_in(str(place)) == place
    for text in ("4096-118-2", "4096-118-2-9F0C44AB", " 4096-118-2-9f0c44ab", "1" * 40):
        assert place_in(text) is None
