from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from test_rows import NOON, ids, saga

from sagakeep.actors.read_model import BadCursor, ReadModel, SagaQuery
from sagakeep.actors.row_file import RowFile
from sagakeep.actors.rows import Rows, row_of
from sagakeep.errors import Unavailable
from sagakeep.state import SagaState, SagaStatus

ALL = SagaQuery()
NEVER_S = 3600.0  # a flush happens only when it is asked for


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sagas.sqlite")


@asynccontextmanager
async def running(path: str, **settings: float) -> AsyncIterator[ReadModel]:
    model = ReadModel(path, **{"flush_interval_s": NEVER_S, **settings})
    model.open()
    async with trio.open_nursery() as nursery:
        await nursery.start(model.run)
        yield model
        nursery.cancel_scope.cancel()


async def listed(model: ReadModel, query: SagaQuery = ALL) -> list[str]:
    return ids((await model.list(query)).rows)


def ended(state: SagaState) -> SagaState:
    return msgspec.structs.replace(state, status=SagaStatus.COMPLETED)


@asynccontextmanager
async def unwritable(path: str) -> AsyncIterator[None]:
    """A file that takes no rows for a while, as on a full disk."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TRIGGER no BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'full'); END")
    try:
        yield
    finally:
        other.execute("DROP TRIGGER no")
        other.close()


# What is noted is found


async def test_a_noted_saga_is_found_before_during_and_after_its_flush(path: str) -> None:
    state = saga("a", idempotency_key="key")
    row = row_of(state, (7, 8))
    async with running(path) as model:
        model.note(state, (7, 8))
        held = hold_writes(path)
        for _ in range(2):
            assert await model.find("a") == await model.find_key("key") == row
            assert await model.find_many(["a", "b"]) == {"a": row}
            model._hurry.set()
            await trio.testing.wait_all_tasks_blocked()
        assert model.statistics().flushing == 1
        release(held)
        await model.flush()
        assert model.statistics().flushing == model.statistics().pending == 0
        assert await model.find("a") == await model.find_key("key") == row
        assert await model.find_many(["a", "b"]) == {"a": row}
        assert await model.find("b") is None
        assert await model.find_key("b") is None


def hold_writes(path: str) -> sqlite3.Connection:
    """Lock the file against writers."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def release(other: sqlite3.Connection) -> None:
    other.execute("ROLLBACK")
    other.close()


async def test_the_latest_state_is_found_while_an_older_one_is_written(path: str) -> None:
    state = saga("a", idempotency_key="key")
    async with running(path) as model:
        model.note(state, (1, 0))
        held = hold_writes(path)
        model._hurry.set()
        await trio.testing.wait_all_tasks_blocked()
        model.note(ended(state), (2, 0))
        latest = row_of(ended(state), (2, 0))
        assert await model.find("a") == await model.find_key("key") == latest
        assert await model.find_many(["a"]) == {"a": latest}
        release(held)
        assert await listed(model, SagaQuery(SagaStatus.COMPLETED)) == ["a"]
        assert await model.find("a") == latest


async def test_ids_are_found_where_they_are_pending_or_written(path: str) -> None:
    async with running(path) as model:
        model.note(saga("old"), (1, 0))
        await model.flush()
        model.note(saga("new"), (2, 0))
        assert sorted(await model.find_many(["new", "old", "none"])) == ["new", "old"]
        assert await model.find_many(["new"]) == {"new": row_of(saga("new"), (2, 0))}
        assert await model.find_many([]) == {}


async def test_a_deleted_saga_is_found_and_not_listed(path: str) -> None:
    state = ended(saga("a", tags={"k": "v"}, idempotency_key="key", body_digest=b"d"))
    async with running(path) as model:
        model.note(state, (1, 0))
        assert await listed(model) == ["a"]
        model.note(msgspec.structs.replace(state, deleted=True), (2, 0))
        assert (await model.find("a")).deleted
        assert await listed(model) == []
        assert (await model.find("a")).deleted
        assert (await model.find_key("key")).body_digest == b"", "what it was made of is forgotten"
        assert await model.count(ALL) == 0


# Flushing


async def test_a_list_and_a_count_show_what_was_noted_before(path: str) -> None:
    async with running(path) as model:
        for n in range(3):
            model.note(saga(f"s{n}", NOON + n), (n, 0))
            assert len(await listed(model)) == await model.count(ALL) == n + 1
        page = await model.list(SagaQuery(limit=2))
        assert ids(page.rows) == ["s2", "s1"]
        assert await listed(model, SagaQuery(cursor=page.next_cursor)) == ["s0"]
        with pytest.raises(BadCursor):
            await model.list(SagaQuery(cursor="x"))


async def test_a_saga_that_ends_before_a_flush_is_written_once(path: str) -> None:
    async with running(path) as model:
        for place, status in enumerate(SagaStatus):
            model.note(saga("a", status=status), (place, 0))
        await model.flush()
        assert model.statistics().rows_written == model.statistics().flushes == 1
        assert (await model.find("a")).status is status


async def test_what_is_pending_is_flushed_after_the_interval(path: str) -> None:
    async with running(path, flush_interval_s=0.001) as model:
        model.note(saga("a"), (1, 0))
        await model._pending.done.wait()  # nobody asked for a flush
        assert model.statistics().flushes == 1
        model.note(saga("b"), (1, 0))
        await model._pending.done.wait()
        assert model.statistics().flushes == 2


async def test_an_idle_flusher_sleeps(path: str, autojump_clock: trio.testing.MockClock) -> None:
    async with running(path, flush_interval_s=0.05) as model:
        await trio.testing.wait_all_tasks_blocked()
        began_s = trio.current_time()
        with trio.move_on_after(1000.0):
            await trio.sleep_forever()
        assert trio.current_time() - began_s == 1000.0
        assert model.statistics().flushes == 0
        model.mark(5)  # alone it is not worth a transaction
        await model.flush()
        assert model.statistics().flushes == 0


async def test_a_flush_waits_for_the_one_that_is_under_way(path: str) -> None:
    async with running(path) as model:
        model.note(saga("a"), (1, 0))
        held = hold_writes(path)
        model._hurry.set()
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(model.flush)
            await trio.testing.wait_all_tasks_blocked()
            assert model.statistics().flushes == 0
            release(held)
        assert model.statistics().flushes == 1


async def test_wait_room_waits_at_the_limit_and_not_below(path: str) -> None:
    async with running(path, pending_max=3) as model:
        model.note(saga("a"), (1, 0))
        model.note(saga("b"), (1, 1))
        await model.wait_room()
        assert model.statistics().pending == 2
        model.note(saga("c"), (1, 2))
        await model.wait_room()
        assert model.statistics().pending == 0
        assert model.statistics().rows_written == 3


async def test_wait_room_lasts_until_the_rows_can_be_written(path: str) -> None:
    async with (
        running(path, pending_max=1) as model,
        trio.open_nursery() as nursery,
        unwritable(path),
    ):
        model.note(saga("a"), (1, 0))
        nursery.start_soon(model.wait_room)
        await model._pending.done.wait()
        await model._pending.done.wait()
        assert model.statistics().failures == 2
        assert model.statistics().pending == 1


# Positions


async def test_the_position_moves_with_the_rows_and_never_before(path: str) -> None:
    async with running(path) as model:
        model.note(saga("a"), (0, 0))
        model.mark(100)
        model.note(saga("b"), (100, 0))
        assert model.applied_through == 0
        assert model.statistics().lag_bytes == 100
        await model.flush()
        assert model.applied_through == 100
        model.mark(200)
        assert model.statistics().lag_bytes == 100
        assert positions_of_a_kill(path) == 100  # b is there, and will be noted again
    assert model.applied_through == 200
    assert positions_of_a_kill(path) == 200


def positions_of_a_kill(path: str) -> int:
    """What a start would read if the process died now."""
    for end in ("", "-wal"):
        if Path(path + end).exists():
            Path(path + ".killed" + end).write_bytes(Path(path + end).read_bytes())
    rows = Rows(RowFile(path + ".killed"))
    applied_through = rows.open("", None)
    rows.close()
    return applied_through


async def test_a_kill_before_the_flush_leaves_the_position_of_the_last_one(path: str) -> None:
    async with running(path) as model:
        model.note(saga("a"), (0, 0))
        model.mark(100)
        await model.flush()
        model.note(ended(saga("a")), (100, 0))
        model.note(saga("b"), (100, 1))
        model.mark(200)
        assert positions_of_a_kill(path) == 100
    async with running(path + ".killed") as after:
        assert after.applied_through == 100
        assert (await after.find("a")).status is SagaStatus.RUNNING
        assert await after.find("b") is None
        after.note(ended(saga("a")), (100, 0))  # the start notes the tail again
        after.note(saga("b"), (100, 1))
        after.mark(200)
        assert await listed(after) == ["b", "a"]
        assert after.applied_through == 200


async def test_noting_again_what_was_written_changes_nothing(path: str) -> None:
    states = [saga("a", tags={"k": "v"}, idempotency_key="key"), saga("b", tags={"k": "v"})]
    async with running(path) as model:
        for _ in range(2):
            for place, state in enumerate(states):
                model.note(state, (place, 0))
            model.mark(9)
            assert await listed(model, SagaQuery(tags=(("k", "v"),))) == ["b", "a"]
    assert model.applied_through == 9


async def test_what_the_rows_have_by_their_position_is_not_written_again(path: str) -> None:
    async with running(path) as model:
        model.note(saga("s1"), (8, 0))
        model.mark(16)
        await model.flush()
        assert model.applied_through == 16
        model.note(saga("s1"), (8, 0))
        assert model.statistics().pending == 0
        model.note(saga("s2"), (16, 0))
        assert model.statistics().pending == 1


async def test_a_mark_never_goes_back(path: str) -> None:
    async with running(path) as model:
        model.mark(9)
        model.mark(3)
    assert model.applied_through == 9


# Life


async def test_everything_is_flushed_and_closed_at_the_end(path: str, tmp_path: Path) -> None:
    async with running(path) as model:
        model.note(saga("a"), (1, 0))
        model.mark(50)
    assert os.listdir(tmp_path) == ["sagas.sqlite"]  # no write-ahead log is left
    async with running(path) as model:
        assert model.applied_through == 50
        assert await listed(model) == ["a"]
    assert model.statistics().flushes == 0


async def test_a_flush_that_is_cancelled_half_way_is_still_written(path: str) -> None:
    async with running(path) as model:
        model.note(saga("a"), (1, 0))
        held = hold_writes(path)
        model._hurry.set()
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.spawn_system_task(trio.to_thread.run_sync, release, held)
    async with running(path) as model:
        assert await listed(model) == ["a"]


async def test_after_the_end_it_tells_that_it_cannot(path: str) -> None:
    async with running(path) as model:
        pass
    with pytest.raises(Unavailable, match="read"):
        await model.find("a")
    with pytest.raises(Unavailable, match="read"):
        await model.list(ALL)
    model.note(saga("a"), (1, 0))
    assert await model.find("a") is not None
    with pytest.raises(Unavailable, match="up to date"):
        await model.list(ALL)


@pytest.mark.parametrize(
    ("uuid", "end", "applied_through"),
    [("u", None, 10), ("u", 10, 10), ("u", 9, 0), ("v", None, 0)],
)
async def test_rows_of_another_journal_or_from_beyond_its_end_are_not_taken(
    path: str, uuid: str, end: int | None, applied_through: int
) -> None:
    model = ReadModel(path)
    assert model.open("u") == 0
    async with trio.open_nursery() as nursery:
        await nursery.start(model.run)
        model.mark(10)
        nursery.cancel_scope.cancel()
    other = ReadModel(path)
    assert other.open(uuid, journal_end=end) == other.applied_through == applied_through
    other._rows.close()


# When the rows cannot be written


async def test_rows_that_cannot_be_written_stop_nothing_and_are_kept(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sagakeep.actors.read_model")
    async with running(path) as model:
        model.note(saga("old"), (1, 0))
        await model.flush()
        async with unwritable(path):
            model.note(saga("a", idempotency_key="key"), (2, 0))
            model.mark(3)
            with pytest.raises(Unavailable, match="up to date"):
                await model.flush()
            model.note(saga("b"), (4, 0))
            with pytest.raises(Unavailable, match="up to date"):
                await model.list(ALL)
            await model._pending.done.wait()
            assert model.statistics().failures >= 2
            assert model.statistics().pending == 2
            assert (await model.find_key("key")).saga_id == "a"
            assert (await model.find("old")).saga_id == "old"
            assert model.applied_through == 0
        while model.statistics().failures:
            await model._pending.done.wait()
        assert sorted(await listed(model)) == ["a", "b", "old"]
        assert model.applied_through == 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_the_newer_of_two_states_is_kept_when_a_flush_fails(path: str) -> None:
    async with running(path) as model:
        async with unwritable(path):
            state = saga("a", idempotency_key="key")
            model.note(state, (1, 0))
            held = hold_writes(path)
            model._hurry.set()
            await trio.testing.wait_all_tasks_blocked()
            model.note(ended(state), (2, 0))
            failed = model._flushing
            release(held)
            await failed.done.wait()
            assert failed.failed
        assert (await model.find_key("key")).status is SagaStatus.COMPLETED
        await model._pending.done.wait()
        assert (await model.find_key("key")).status is SagaStatus.COMPLETED


async def test_a_full_disk_is_outlived(path: str) -> None:
    async with running(path) as model:
        pages = model._rows._writing.execute("PRAGMA page_count").fetchone()[0]
        model._rows._writing.execute(f"PRAGMA max_page_count = {pages}")
        for n in range(500):
            model.note(saga(f"s{n}"), (n, 0))
        with pytest.raises(Unavailable):
            await model.flush()
        assert model.statistics().pending == 500
        model._rows._writing.execute("PRAGMA max_page_count = 1000000")
        await model._pending.done.wait()
        assert await model.count(ALL) == 500


async def test_rows_that_cannot_be_read_are_told(path: str) -> None:
    async with running(path) as model:
        model._rows._finding.close()
        with pytest.raises(Unavailable, match="cannot be read"):
            await model.find("a")
        with pytest.raises(Unavailable, match="cannot be read"):
            await model.find_key("a")
        with pytest.raises(Unavailable, match="cannot be read"):
            await model.find_many(["a"])
