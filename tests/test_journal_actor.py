from __future__ import annotations

import errno
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from faulty_disk import FaultyDisk
from journal_samples import DATA, open_sample, recovered
from keeper import LeanDisk
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.journal import FULL_RETRY_S, NOTES_BETWEEN_CHECKPOINTS, Journal
from sagakeep.errors import DiskFull, JournalBroken
from sagakeep.runtime.blocking import RunBlocking, in_thread, in_turn
from sagakeep.runtime.disk import Disk, LocalDisk
from sagakeep.runtime.journal_files import JournalFiles, Position

SEGMENT_BYTES = 1 << 20


class World:
    """What happened, in order: noted, told, refused, synced."""

    def __init__(self, files: JournalFiles, run_blocking: RunBlocking = in_turn) -> None:
        self.files = files
        self.happened: list[str] = []
        self.errors: list[JournalBroken] = []
        self.on_note: Callable[[], None] = lambda: None
        self.durable_when_noted: list[bool] = []
        self.journal: Journal[str] = Journal(files, self._noted, self._synced, run_blocking)

    def append(self, *names: str) -> None:
        for name in names:
            self.journal.append(name.encode(), name, Appender(self, name))

    def _noted(self, name: str, position: Position) -> None:
        self.on_note()
        body = self.files.read_record(position)
        self.durable_when_noted.append(body.startswith(name.encode()))
        self.happened.append(f"noted {name}")

    def _synced(self, through: int) -> None:
        assert through == self.files.position
        self.happened.append("synced")


class Appender:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name

    def durable(self, position: Position) -> None:
        self.world.happened.append(f"told {self.name}")

    def refused(self, error: JournalBroken) -> None:
        self.world.happened.append(f"refused {self.name}")
        self.world.errors.append(error)


@asynccontextmanager
async def running(disk: Disk, segment_bytes: int = SEGMENT_BYTES) -> AsyncIterator[World]:
    world = World(open_sample(disk, segment_bytes=segment_bytes).files)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.journal.run)
        await trio.testing.wait_all_tasks_blocked()
        yield world
        nursery.cancel_scope.cancel()
    world.files.close()


async def test_what_is_appended_at_once_is_one_frame_and_one_fdatasync() -> None:
    disk = FaultyDisk(LeanDisk())
    async with running(disk) as world:
        syncs = disk.trace.count("fdatasync 0000000000000001.seg")
        world.append(*(f"record {number};" for number in range(100)))
        await trio.testing.wait_all_tasks_blocked()
        statistics = world.files.statistics()
        assert (statistics.frames, statistics.records, statistics.fdatasyncs) == (1, 100, 1)
        assert sum(line.startswith("fdatasync") for line in disk.trace) == syncs + 1


async def test_a_record_is_durable_then_noted_then_its_appender_is_told_all_in_order() -> None:
    disk = LeanDisk()
    async with running(disk) as world:
        world.append("a", "b")
        await trio.testing.wait_all_tasks_blocked()
        world.append("c")
        await trio.testing.wait_all_tasks_blocked()
    assert world.happened == [
        *("noted a", "told a", "noted b", "told b", "synced"),
        *("noted c", "told c", "synced"),
    ]
    assert all(world.durable_when_noted)
    assert recovered(disk) == [b"ab", b"c"]


async def test_what_comes_while_a_frame_is_written_is_the_next_frame(tmp_path: Path) -> None:
    writing, go_on, second_sync = trio.Event(), threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()
    files = open_sample(LocalDisk(), str(tmp_path)).files

    async def slowly(call: Callable[..., int], *arguments: object, limiter: object = None) -> int:
        def held() -> int:
            token.run_sync_soon(writing.set)
            go_on.wait()
            return call(*arguments)

        return await trio.to_thread.run_sync(held)

    world = World(files, slowly)  # type: ignore[arg-type] # of one result type
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.journal.run)
        world.append("a")
        await writing.wait()
        world.append("b", "c")
        world.on_note = lambda: second_sync.set() if "synced" in world.happened else None
        assert world.happened == []  # not durable, so nothing is visible
        assert world.journal.writing_since_s is not None
        go_on.set()
        await second_sync.wait()
        nursery.cancel_scope.cancel()
    assert files.statistics().frames == 2
    assert world.journal.writing_since_s is None
    files.close()


async def test_a_batch_ends_at_its_target_and_what_is_left_comes_next() -> None:
    async with running(LeanDisk(), segment_bytes=8 << 20) as world:
        piece = "x" * (limits.COMMIT_BYTES_TARGET // 2)
        world.append(*(piece for _ in range(5)))
        await trio.testing.wait_all_tasks_blocked()
        assert world.files.statistics().frames == 3
        assert world.files.statistics().records == 5


async def test_there_is_room_up_to_the_bound_and_then_not() -> None:
    world = World(open_sample(LeanDisk()).files)
    world.append("x" * (limits.PENDING_BYTES_MAX - 1))
    assert world.journal.has_room
    world.append("x")
    assert not world.journal.has_room


async def test_a_long_batch_lets_others_run_between_its_notes() -> None:
    turns: list[int] = []
    async with running(LeanDisk()) as world:

        async def watch() -> None:
            while True:
                turns.append(len(world.durable_when_noted))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            world.append(*(f"{number};" for number in range(3 * NOTES_BETWEEN_CHECKPOINTS)))
            while "synced" not in world.happened:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert {NOTES_BETWEEN_CHECKPOINTS, 2 * NOTES_BETWEEN_CHECKPOINTS} & set(turns)


# Ending


async def test_cancelled_it_writes_what_is_queued_and_then_ends() -> None:
    disk = LeanDisk()
    world = World(open_sample(disk).files)
    with trio.CancelScope() as scope:
        world.append("a", "b")
        scope.cancel()
        await world.journal.run()
    assert world.happened[-1] == "synced"
    assert world.errors == []
    world.append("c")
    assert str(world.errors[0]) == "the journal is closed"
    world.files.close()
    assert recovered(disk) == [b"ab"]


async def test_a_frame_that_is_being_noted_is_noted_to_its_end() -> None:
    world = World(open_sample(LeanDisk()).files)
    with trio.CancelScope() as scope:
        world.on_note = scope.cancel
        world.append(*(f"{number};" for number in range(2 * NOTES_BETWEEN_CHECKPOINTS)))
        await world.journal.run()
    assert world.happened[-1] == "synced"
    assert world.happened.count("synced") == 1
    assert world.errors == []


# A full disk


async def test_a_full_disk_is_waited_for_and_the_records_are_written_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    inner = LeanDisk()
    disk = FaultyDisk(inner)
    with caplog.at_level(logging.WARNING):
        async with running(disk, segment_bytes=1024) as world:
            disk.fail("allocate", errno.ENOSPC, times=3)
            world.append("x" * 600, "y" * 600)
            began_s = trio.current_time()
            await trio.sleep(0.5)
            assert "no space" in world.journal.full.lower()
            assert world.happened == []
            world.append("z" * 600)
            await trio.sleep(10 * FULL_RETRY_S)
            assert world.journal.full == ""
            assert trio.current_time() - began_s >= 3 * FULL_RETRY_S
    assert [line[:8] for line in world.happened if line.startswith("told")] == [
        "told xxx",
        "told yyy",
        "told zzz",
    ]
    assert recovered(inner) == [b"x" * 600 + b"y" * 600, b"z" * 600]
    assert sum("the disk is full" in record.message for record in caplog.records) == 3


async def test_a_stop_does_not_wait_for_a_full_disk(autojump_clock: MockClock) -> None:
    inner = LeanDisk()
    disk = FaultyDisk(inner)
    async with running(disk, segment_bytes=1024) as world:
        disk.fail("allocate", errno.ENOSPC, times=0)
        world.append("x" * 2000)
        await trio.sleep(5)
        world.append("y")
    assert [line[:9] for line in world.happened] == ["refused x", "refused y"]
    disk.heal()
    assert recovered(inner) == []


# A broken disk


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
async def test_a_broken_disk_refuses_everyone_who_waits_and_ends_the_run(operation: str) -> None:
    disk = FaultyDisk(LeanDisk())
    world = World(open_sample(disk).files)
    disk.fail(operation, errno.EIO)
    world.append("a", "b")
    with pytest.raises(JournalBroken, match="in doubt"):
        await world.journal.run()
    world.append("c")
    assert world.happened == ["refused a", "refused b", "refused c"]
    assert all("in doubt" in str(error) for error in world.errors)


async def test_those_who_wait_for_the_next_frame_are_refused_too() -> None:
    disk = FaultyDisk(LeanDisk())
    world = World(open_sample(disk, segment_bytes=8 << 20).files)
    disk.fail("fdatasync", errno.EIO, after=1)
    world.append("a" * limits.COMMIT_BYTES_TARGET, "b" * limits.COMMIT_BYTES_TARGET, "c")
    with pytest.raises(JournalBroken):
        await world.journal.run()
    assert [line[:9] for line in world.happened] == [
        *("noted aaa", "told aaaa", "synced"),
        *("refused b", "refused c"),
    ]


async def test_a_bug_in_who_is_told_refuses_the_rest_and_nobody_twice() -> None:
    world = World(open_sample(LeanDisk()).files)

    def bug() -> None:
        if len(world.durable_when_noted) == 1:
            raise LookupError("a bug")

    world.on_note = bug
    world.append("a", "b", "c")
    with pytest.raises(LookupError):
        await world.journal.run()
    assert world.happened == ["noted a", "told a", "refused c"]  # b is the bug's own


async def test_the_real_thread_writes_to_a_real_disk(tmp_path: Path) -> None:
    files = open_sample(LocalDisk(), str(tmp_path)).files
    world = World(files, in_thread)
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.journal.run)
        last = Appender(world, "b")
        last.durable = lambda position: done.set()  # type: ignore[method-assign] # tells the test
        world.append("a")
        world.journal.append(b"b", "b", last)
        await done.wait()
        nursery.cancel_scope.cancel()
    files.close()
    assert world.happened == ["noted a", "told a", "noted b", "synced"]


def test_a_full_disk_is_an_error_of_its_own() -> None:
    assert not issubclass(DiskFull, JournalBroken)
    assert DATA == "data"


# Sealing


async def test_sealing_begins_a_segment_between_two_frames_and_says_what_is_durable() -> None:
    disk = LeanDisk()
    async with running(disk) as world:
        world.append("a")
        await trio.testing.wait_all_tasks_blocked()
        first = world.files.position
        await world.journal.seal(first - 1)
        assert world.files.end_of_segment(first - 1) == first
        await world.journal.seal(first - 1)
        assert world.files.statistics().segments == 2, "it is sealed already"
        world.append("b")
        await world.journal.seal(world.files.position)
        assert world.files.statistics().segments == 3
        await trio.testing.wait_all_tasks_blocked()
    assert world.happened == [
        *("noted a", "told a", "synced", "synced", "synced", "synced"),
        *("noted b", "told b", "synced"),
    ]
    assert recovered(disk) == [b"a", b"b"]


async def test_a_full_disk_seals_nothing_and_a_broken_one_ends_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = FaultyDisk(LeanDisk())
    world = World(open_sample(disk).files)
    world.append("a")

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.journal.run)
            await trio.testing.wait_all_tasks_blocked()
            disk.fail("create", errno.ENOSPC)
            await world.journal.seal(world.files.position)
            assert "no new segment is begun now" in caplog.text
            assert world.files.statistics().segments == 1
            disk.fail("create", errno.EIO)
            nursery.start_soon(world.journal.seal, world.files.position)

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(JournalBroken)
    with pytest.raises(JournalBroken):
        world.files.seal(0)
    world.append("b")
    assert world.happened[-1] == "refused b"
