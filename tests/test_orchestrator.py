"""The whole of it: the Python API, its start and its end, and random lives against the fold of the journal."""

from __future__ import annotations

import errno
import logging
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from faulty_disk import FaultyDisk
from hypothesis import given, settings
from hypothesis import strategies as st
from keeper import (
    NOON,
    LeanDisk,
    Ledger,
    begin,
    begin_and_wait,
    folded,
    keeping,
    kinds,
    run_the_same_way,
    statuses,
)
from shop import Shop, saga, step
from trio.testing import MockClock

from sagakeep.actors.engine import Ports
from sagakeep.errors import (
    JournalBroken,
    JournalLocked,
    MoveRefused,
    SagaExists,
    SagakeepError,
    SagaNotFound,
    Unavailable,
    UnknownStep,
)
from sagakeep.orchestrator import (
    BadCursor,
    Orchestrator,
    SagaQuery,
    open_orchestrator,
    opening_orchestrator,
)
from sagakeep.runtime.blocking import in_turn
from sagakeep.runtime.disk import Disk
from sagakeep.service import Call
from sagakeep.state import FINAL, SagaState, SagaStatus
from sagakeep.validation import parse_definition


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


def contains(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(contains(one, kind) for one in error.exceptions)
    return isinstance(error, kind)


# Sagas


async def test_a_saga_runs_on_a_real_disk_with_real_threads(tmp_path: Path) -> None:
    services = {"shop": Shop()}
    async with open_orchestrator(str(tmp_path), services) as sagas:
        assert list(sagas.services) == ["shop"]
        done = await begin_and_wait(sagas)
        assert done.status is SagaStatus.COMPLETED
        assert done.steps["a"].result == {"action": "do", "payload": {}}
    async with open_orchestrator(tmp_path, services) as sagas:
        assert await sagas.describe(done.id) == done
        assert (await sagas.list(SagaQuery())).sagas == [done]
        assert sagas.statistics().completed_count == 1


async def test_starting_returns_when_the_saga_is_durable(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        cut = disk.cut_power()
    assert folded(cut, tmp_path)[saga_id].status is SagaStatus.RUNNING


async def test_running_a_saga_begins_it_and_waits_for_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        definition = parse_definition(saga(step("a", "slow"), id="x"), None)
        assert (await sagas.run(definition, 10)).status is SagaStatus.COMPLETED
        with pytest.raises(SagaExists):
            await sagas.run(definition, 10)
        slow = parse_definition(saga(step("a", "gated"), id="y"), None)
        assert (await sagas.run(slow, 1)).status is SagaStatus.RUNNING
        assert sagas._engine.committed._waiting == {}


async def test_who_asks_over_and_over_lets_the_others_go_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Also when the process ends: a loop that waits for a saga would keep it from doing so."""
    async with keeping(tmp_path) as sagas:
        done = await begin_and_wait(sagas, step("a"))
        waiting = await begin(sagas, step("a", "gated"))
        for ask in (sagas.describe, partial(sagas.wait, timeout_s=0.1)):
            for saga_id in (done.id, waiting):
                with trio.testing.assert_checkpoints():
                    await ask(saga_id)
        sagas._engine.committed.end()
        with trio.testing.assert_checkpoints():
            assert (await sagas.wait(waiting, 10)).status is SagaStatus.RUNNING


async def test_waiting_ends_with_the_time_or_with_the_saga(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "slow"))
        assert (await sagas.wait(saga_id, 0.5)).status is SagaStatus.RUNNING
        assert (await sagas.wait(saga_id, 0)).status is SagaStatus.RUNNING
        assert (await sagas.wait(saga_id, 5)).status is SagaStatus.COMPLETED
        assert (await sagas.wait(saga_id, 5)).status is SagaStatus.COMPLETED
        failed = await begin_and_wait(sagas, step("a", "fail"))
        assert (await sagas.wait(failed.id, 5)).status is SagaStatus.FAILED
        with pytest.raises(SagaNotFound):
            await sagas.wait("nobody", 5)
        assert sagas._engine.committed._waiting == {}


async def test_a_batch_is_answered_in_order_each_for_itself(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    definitions = [
        parse_definition(saga(step("a", "gated"), **more), None)
        for more in ({}, {"id": "x"}, {"id": "x"}, {})
    ]
    async with keeping(tmp_path) as sagas:
        first, x, again, last = await sagas.start_many(definitions)
        assert isinstance(first, SagaState)
        assert isinstance(x, SagaState)
        assert isinstance(last, SagaState)
        assert isinstance(again, SagaExists)
        assert first.id < last.id
        sagas._engine.health.draining = True
        assert {type(one) for one in await sagas.start_many(definitions)} == {Unavailable}


async def test_a_list_has_live_and_finished_sagas_in_pages(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        made = []
        for number in range(7):
            made.append(await begin(sagas, step("a", "gated" if number % 2 else "do")))
            await trio.sleep(1)
        seen: list[str] = []
        query = SagaQuery(limit=3)
        while True:
            page = await sagas.list(query)
            seen += [one.id for one in page.sagas]
            for one in page.sagas:
                assert one == await sagas.describe(one.id)
            if not page.next_cursor:
                break
            query = SagaQuery(limit=3, cursor=page.next_cursor)
        assert seen == made[::-1]
        with pytest.raises(BadCursor):
            await sagas.list(SagaQuery(cursor="nonsense"))


async def test_no_saga_falls_out_of_a_list_while_it_finishes(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        made = {await begin(sagas, step("a", "gated")) for _ in range(20)}
        done = {(await begin_and_wait(sagas)).id for _ in range(5)}
        ledger.gate.set()
        while sagas.statistics().by_status[SagaStatus.COMPLETED] < 25:
            assert {one.id for one in (await sagas.list(SagaQuery())).sagas} == made | done


async def test_events_come_in_pages_of_whole_records(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        done = await begin_and_wait(sagas, *(step(f"s{number}") for number in range(5)))
        whole = list(await sagas.events(done.id, limit=1_000))
        assert sum(len(record.events) for record in whole) == done.sequence
        for limit in (1, 2, 3, 100):
            paged, after = [], 0
            while page := await sagas.events(done.id, after=after, limit=limit):
                paged += page
                after = page[-1].sequence + len(page[-1].events) - 1
            assert paged == whole


async def test_an_operators_moves_are_durable_and_say_who_and_why(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        done = await begin_and_wait(sagas)
        with pytest.raises(UnknownStep):
            await sagas.compensate(done.id, step_id="zz")
        assert (await sagas.compensate(done.id, step_id="b", by="eve", note="why")).scope == "b"
        await sagas.wait(done.id, 60)
        await sagas.retry(done.id, by="eve")
        await sagas.wait(done.id, 60)
        await sagas.delete(done.id, by="eve", note="asked for")
        cut = disk.cut_power()
    assert folded(cut, tmp_path)[done.id].deleted
    text = b"".join(cut.get(path) for path in cut.paths())
    assert text.count(b"eve") == 3
    assert b"asked for" in text


# Start and end


async def test_while_recovery_lasts_every_question_is_answered_with_unavailable(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        made = await begin_and_wait(sagas)
    ports = Ports(disk, wall=lambda: NOON, run_blocking=in_turn)
    async with opening_orchestrator(str(tmp_path), {"shop": Ledger()}, ports) as sagas:
        assert sagas.recovery is None
        assert not sagas.health()["recovery"].ok
        for ask in (sagas.describe, sagas.events, sagas.retry, sagas.compensate, sagas.delete):
            with pytest.raises(Unavailable, match="recovering"):
                await ask(made.id)
        for ask in (begin(sagas), sagas.wait(made.id, 1), sagas.list(SagaQuery())):
            with pytest.raises(Unavailable, match="recovering"):
                await ask
        await sagas.wait_recovered()
        assert await sagas.describe(made.id) == made


async def test_a_second_process_on_the_directory_is_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk):
        with pytest.raises(JournalLocked):
            async with keeping(tmp_path, disk):
                pass
    async with keeping(tmp_path, disk):
        pass


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
async def test_a_disk_that_breaks_ends_the_process_and_the_next_start_goes_on(
    tmp_path: Path, autojump_clock: MockClock, operation: str
) -> None:
    inner = LeanDisk()
    disk, ledger = FaultyDisk(inner), Ledger()
    answers: list[object] = []

    async def live() -> None:
        async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
            answers.append(await begin(sagas, step("a", "slow"), id="x"))
            disk.fail(operation, errno.EIO)
            await sagas.wait("x", 100)
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await live()
    assert contains(caught.value, JournalBroken)
    async with keeping(tmp_path, inner.cut_power(), {"shop": ledger}) as sagas:
        assert (await sagas.wait("x", 100)).status is SagaStatus.COMPLETED
    assert set(ledger.effects) == {"x/a/action/1"}


async def test_who_waits_for_an_answer_when_the_disk_breaks_gets_an_error(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = FaultyDisk(LeanDisk())
    said: list[str] = []

    async def ask(sagas: Orchestrator, **more: object) -> None:
        try:
            await begin(sagas, **more)
        except SagakeepError as error:
            said.append(type(error).__name__)

    async def live(nursery: trio.Nursery) -> None:
        async with keeping(tmp_path, disk) as sagas:
            disk.fail("fdatasync", errno.EIO)
            nursery.start_soon(ask, sagas)
            nursery.start_soon(lambda: ask(sagas, id="x"))
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with pytest.raises(BaseExceptionGroup):
            await live(nursery)
    assert len(said) == 2
    assert set(said) <= {"JournalBroken", "MailboxClosed"}


async def test_a_service_that_cannot_be_closed_does_not_keep_the_directory_locked(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Stuck(Ledger):
        async def aclose(self) -> None:
            raise LookupError("cannot close")

    disk = LeanDisk()
    with pytest.raises(LookupError):
        async with keeping(tmp_path, disk, {"shop": Stuck()}):
            pass
    async with keeping(tmp_path, disk):
        pass


async def test_an_error_of_the_block_closes_everything(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()

    async def live() -> None:
        async with keeping(tmp_path, disk) as sagas:
            await begin(sagas, step("a", "gated"))
            raise LookupError

    with pytest.raises(BaseExceptionGroup):
        await live()
    async with keeping(tmp_path, disk) as sagas:
        assert sagas.statistics().total == 1


# Draining


async def test_draining_lets_attempts_end_durably_and_begins_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk, ledger = LeanDisk(), Ledger()
    async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
        for saga_id in ("x", "y"):
            await begin(sagas, step("a", "slow"), step("b", "slow"), id=saga_id)
        await trio.sleep(0.5)
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sagas.drain, 30)
            await trio.sleep(0.1)
            with pytest.raises(Unavailable, match="stopping"):
                await begin(sagas)
        assert trio.current_time() - began_s == pytest.approx(0.5, abs=0.05)
        with pytest.raises(Unavailable, match="stopping"):
            await begin(sagas)
    assert ledger.asked() == ["x/a/action/1", "y/a/action/1"]
    states = folded(disk.cut_power(), tmp_path)
    assert [states[saga_id].completed for saga_id in "xy"] == [("a",), ("a",)]
    async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
        for saga_id in "xy":
            assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPLETED
    assert set(ledger.effects.values()) == {1}


async def test_draining_waits_no_longer_than_its_grace(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.testing.wait_all_tasks_blocked()
        began_s = trio.current_time()
        await sagas.drain(5)
        assert trio.current_time() - began_s == pytest.approx(5)
    assert folded(disk, tmp_path)[saga_id].status is SagaStatus.RUNNING


async def test_a_stop_on_a_full_disk_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    disk = FaultyDisk(inner := LeanDisk())
    with trio.fail_after(60):
        async with keeping(tmp_path, disk) as sagas:
            saga_id = await begin(sagas, step("a", "slow"))
            sagas._engine.files._capacity = 0
            disk.fail("allocate", errno.ENOSPC, times=0)
            await trio.sleep(2)
            await sagas.drain(10)
    disk.heal()
    async with keeping(tmp_path, inner.cut_power()) as sagas:
        assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPLETED


# Random lives


class Fate(Ledger):
    """Ends each attempt by a script that depends on its key alone and on how often the key was seen."""

    def __init__(self, script: list[int]) -> None:
        super().__init__()
        self.script = script

    async def fate(self, call: Call) -> object:
        seen = sum(key == call.idempotency_key for key in self.asked())
        turn = self.script[(hash_of(call.idempotency_key) + seen) % len(self.script)]
        match turn:
            case 0:
                return await self.fail(call)
            case 1:
                return await self.down(call)
            case 2:
                self.calls.append(call)
                raise LookupError("nobody knows")
            case 3:
                return await self.slow(call)
            case _:
                return await self.do(call)


def hash_of(text: str) -> int:
    return sum(text.encode())


Move = tuple[str, int]
MOVES = ("compensate", "retry", "delete", "step", "sleep", "crash", "stop", "begin")


@st.composite
def steps(draw: st.DrawFn) -> list[dict[str, object]]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        more: dict[str, object] = {
            "maxRetries": draw(st.integers(0, 2)),
            "compensationMaxRetries": draw(st.integers(0, 1)),
            "timeout": draw(st.sampled_from((0.5, 30))),
        }
        if draw(st.booleans()):
            more["dependsOn"] = []
        made.append(step(f"s{number}", "fate", **more) | {"compensation": "fate"})
    return made


async def live_through(
    directory: Path,
    disk: LeanDisk,
    ledger: Fate,
    sagas: Orchestrator,
    definitions: list[list[dict[str, object]]],
    moves: Iterator[Move],
) -> LeanDisk | None:
    """Make moves until a crash or a stop; the disk that is left, None at the end of the moves."""
    for move, number in moves:
        saga_id = f"x{number}"
        try:
            match move:
                case "begin":
                    more = {"id": saga_id, "timeout": 5 + number}
                    await begin(sagas, *definitions[number % len(definitions)], **more)
                case "compensate":
                    await sagas.compensate(saga_id)
                case "step":
                    await sagas.compensate(saga_id, step_id="s0")
                case "retry":
                    await sagas.retry(saga_id)
                case "delete":
                    await sagas.delete(saga_id)
                case "sleep":
                    await trio.sleep(number / 2)
                case "stop":
                    await sagas.drain(number / 4)
                    return disk
                case "crash":
                    return disk.cut_power()
        except (SagaNotFound, MoveRefused, SagaExists):
            pass
        check(sagas, disk, directory)
    return None


def check(sagas: Orchestrator, disk: Disk, directory: Path) -> None:
    """What is live is the fold of the journal; so are the counts."""
    states = folded(disk, directory)
    live = {saga_id: state for saga_id, (state, _) in sagas._engine.committed.live.items()}
    expected = {
        name: state
        for name, state in states.items()
        if not state.deleted and state.status not in FINAL
    }
    assert live == expected
    counted = {status: count for status, count in sagas.statistics().by_status.items() if count}
    assert counted == statuses(states)


async def random_life(
    directory: Path, script: list[int], definitions: list[list[dict[str, object]]], made: list[Move]
) -> None:
    ledger, left, moves = Fate(script), LeanDisk(), iter(made)
    disk: LeanDisk | None = left
    begun_s = NOON
    while disk is not None:
        left = disk
        async with keeping(directory, left, {"shop": ledger}, wall_s=begun_s) as sagas:
            check(sagas, left, directory)
            disk = await live_through(directory, left, ledger, sagas, definitions, moves)
            begun_s = sagas._engine.clock.now_utc_s()
            if disk is None:
                await come_to_rest(sagas)
                check(sagas, left, directory)
    for call in ledger.calls:
        assert call.idempotency_key.startswith(f"{call.saga_id}/{call.step_id}/{call.phase}/")


async def come_to_rest(sagas: Orchestrator) -> None:
    """Whatever happened, every saga ends or stands still, and no actor of a finished one is left."""
    for saga_id, _ in list(sagas._engine.committed.live.items()):
        still = await sagas.wait(saga_id, 1e5)
        assert still.status in FINAL | {SagaStatus.FAILED, SagaStatus.COMPENSATION_FAILED}
        assert (await kinds(sagas, saga_id))[0] == "SagaCreated"
    await trio.testing.wait_all_tasks_blocked()
    assert sagas._engine.registry.live_count == len(sagas._engine.committed.live)


@settings(max_examples=120)
@given(
    script=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    definitions=st.lists(steps(), min_size=1, max_size=3),
    moves=st.lists(
        st.tuples(st.sampled_from(MOVES), st.integers(0, 4)), min_size=3, max_size=25
    ).map(lambda moves: [("begin", 0), ("begin", 1), *moves]),
)
def test_a_random_life_is_at_any_time_the_fold_of_its_journal(
    script: list[int], definitions: list[list[dict[str, object]]], moves: list[Move]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        run_the_same_way(random_life, Path(directory), script, definitions, moves)


async def test_what_a_start_cut_off_or_left_alone_is_logged(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        await begin_and_wait(sagas)
    wal = f"{tmp_path}/wal"
    path = f"{wal}/{disk.list(wal)[0]}"
    data = disk.get(path)
    disk.put(path, data[:-20])
    disk.put(f"{wal}/notes.txt", b"mine")
    with caplog.at_level(logging.WARNING):
        async with keeping(tmp_path, disk):
            pass
    told = [record.getMessage() for record in caplog.records]
    assert f"{wal}/notes.txt is no file of the journal and was ignored" in told
    assert [line for line in told if "torn: the header of the frame never arrived" in line]
    kept = [line for line in told if "bytes were cut from the journal's end and kept in" in line]
    assert len(kept) == 1
    assert kept[0].startswith("25 "), "those before the last zeros"
    assert kept[0].rpartition(" ")[2] in disk.paths()
