from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from keeper import Ledger, begin, begin_and_wait, keeping
from shop import step
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.errors import SagaNotFound
from sagakeep.orchestrator import Orchestrator, StreamLagged

LONG = [step(f"s{number:02}") for number in range(20)]


async def numbers(sagas: Orchestrator, saga_id: str, after: int = 0) -> list[int]:
    """The numbers of the events of a stream, read to its end."""
    async with sagas.watch(saga_id, after=after) as records:
        return [
            record.sequence + offset
            async for record in records
            for offset in range(len(record.events))
        ]


async def test_a_stream_of_a_finished_saga_is_its_history_and_ends(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas)
        assert await numbers(sagas, saga.id) == list(range(1, saga.sequence + 1))


@pytest.mark.parametrize("ticks", range(0, 60, 3))
async def test_a_stream_has_no_gap_and_no_double_wherever_it_begins(
    tmp_path: Path, autojump_clock: MockClock, ticks: int
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, *LONG)
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        seen = await numbers(sagas, saga_id)
        assert seen == list(range(1, (await sagas.describe(saga_id)).sequence + 1))


async def test_a_stream_resumes_with_the_record_that_holds_the_next_event(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas)
        firsts = {record.sequence for record in await sagas.events(saga.id)}
        for after in range(saga.sequence + 1):
            seen = await numbers(sagas, saga.id, after)
            begins = max((first for first in firsts if first <= after + 1), default=1)
            assert seen == (list(range(begins, saga.sequence + 1)) if after < saga.sequence else [])


async def test_a_stream_of_an_unknown_saga_is_refused_at_once_and_leaves_no_trace(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        with pytest.raises(SagaNotFound):
            await numbers(sagas, "nobody")
        assert sagas._engine.committed._watchers == {}


async def test_many_readers_see_the_same(tmp_path: Path, autojump_clock: MockClock) -> None:
    seen: list[list[int]] = []
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, *LONG)

        async def read() -> None:
            seen.append(await numbers(sagas, saga_id))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(read)
    assert len(seen) == 10
    assert all(one == seen[0] for one in seen)


async def test_a_reader_that_lags_is_told_so_and_can_resume(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_BUFFER_EVENTS_MAX", 5)
    last = 0

    async def read_slowly() -> None:
        nonlocal last
        async with sagas.watch(saga_id) as records:
            async for record in records:
                last = record.sequence + len(record.events) - 1
                await sagas.wait(saga_id, 60)

    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, *LONG)
        with pytest.raises(StreamLagged, match="resume after the last event"):
            await read_slowly()
        assert last > 0
        assert sagas._engine.committed._watchers == {}
        seen = await numbers(sagas, saga_id, last)
        assert seen[-1] == (await sagas.describe(saga_id)).sequence
        assert seen[0] == last + 1


async def test_a_reader_that_leaves_early_leaves_no_trace(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        async with sagas.watch(saga_id) as records:
            async for _ in records:
                break
        assert sagas._engine.committed._watchers == {}


async def test_an_error_of_the_reader_comes_out_as_it_is(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def read() -> None:
        async with sagas.watch(saga_id) as records:
            async for _ in records:
                raise LookupError

    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        with pytest.raises(LookupError):
            await read()


async def test_a_stream_ends_when_the_saga_is_deleted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        failed = await begin_and_wait(sagas, step("a", "fail"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(numbers, sagas, failed.id)
            await trio.testing.wait_all_tasks_blocked()
            await sagas.delete(failed.id)


async def test_a_stream_goes_on_over_a_failure_and_its_retry(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    seen: list[int] = []
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga_id = await begin(sagas, step("a", "fail"))
        await sagas.wait(saga_id, 10)

        async def read() -> None:
            seen.extend(await numbers(sagas, saga_id))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            ledger.fail = ledger.do  # type: ignore[method-assign] # the service is mended
            sagas._engine.gateways["shop"].caller._methods.clear()  # type: ignore[attr-defined]
            await sagas.retry(saga_id)
        assert seen == list(range(1, (await sagas.describe(saga_id)).sequence + 1))


async def test_streams_and_waiters_end_when_the_process_stops(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ended: list[str] = []
    async with trio.open_nursery() as nursery, keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))

        async def read() -> None:
            await numbers(sagas, saga_id)
            ended.append("stream")

        async def wait() -> None:
            ended.append((await sagas.wait(saga_id, 1e6)).status)

        nursery.start_soon(read)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        began_s = trio.current_time()
    assert sorted(ended) == ["running", "stream"]
    assert trio.current_time() - began_s < 1
