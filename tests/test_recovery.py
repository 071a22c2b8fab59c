"""Recovery: what was acknowledged is there after any crash, and goes on under the same keys."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import trio
from event_samples import DEFINITION
from faulty_disk import FaultyDisk, Killed
from keeper import (
    NOON,
    LeanDisk,
    Ledger,
    begin,
    begin_and_wait,
    folded,
    keeping,
    run_the_same_way,
    statuses,
)
from shop import step
from trio.testing import MockClock

from sagakeep import events as e
from sagakeep import limits
from sagakeep.actors.committed import Committed, Statistics
from sagakeep.actors.live_sagas import LiveSagas
from sagakeep.actors.read_model import ReadModel, SagaQuery
from sagakeep.actors.recovery import RecoverySummary, recover, save_snapshot
from sagakeep.codec import encode_record
from sagakeep.errors import JournalCorrupt, MoveRefused, SagaExists, SagakeepError
from sagakeep.events import Record
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime.blocking import in_turn
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_files import Position, open_journal
from sagakeep.runtime.snapshot_file import write_snapshot
from sagakeep.state import SagaState, SagaStatus
from sagakeep.transitions import fold


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


# A power cut at every operation of the disk


SAGAS = {
    "completes": [step("a"), step("b", "flaky"), step("c")],
    "is-undone": [step("a"), step("b"), step("c", "fail")],
    "is-retried": [step("a"), step("b", "mended")],
}
ENDS = {
    "completes": SagaStatus.COMPLETED,
    "is-undone": SagaStatus.COMPENSATED,
    "is-retried": SagaStatus.COMPLETED,
}


class Mended(Ledger):
    """Refuses `mended` until an operator mends it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_mended = False

    async def mended(self, call: object) -> object:
        return await (self.do if self.is_mended else self.fail)(call)  # type: ignore[arg-type] # a Call


async def drive(directory: Path, disk: Disk, ledger: Mended, acknowledged: set[str]) -> None:
    """Begin the sagas that are not there, and see all of them to their end, as a client and an operator do."""
    async with keeping(directory, disk, {"shop": ledger}) as sagas:
        for saga_id in acknowledged:
            await sagas.describe(saga_id)
        for saga_id, steps in SAGAS.items():
            try:
                await begin(
                    sagas,
                    *steps,
                    id=saga_id,
                    onFailure="hold" if "retr" in saga_id else "compensate",
                )
            except SagaExists:
                pass
            acknowledged.add(saga_id)
        assert (await sagas.wait("completes", 1e4)).status is ENDS["completes"]
        assert (await sagas.wait("is-undone", 1e4)).status is ENDS["is-undone"]
        await sagas.wait("is-retried", 1e4)
        ledger.is_mended = True
        try:
            await sagas.retry("is-retried")
        except MoveRefused:
            pass  # the wish was durable before the crash
        assert (await sagas.wait("is-retried", 1e4)).status is ENDS["is-retried"]
        await agrees(sagas, disk, directory)


async def agrees(sagas: Orchestrator, disk: Disk, directory: Path) -> None:
    """All that can be asked is what the fold of the journal gives."""
    states = folded(disk, directory)
    counted = {status: count for status, count in sagas.statistics().by_status.items() if count}
    assert counted == statuses(states)
    there = {saga_id: state for saga_id, state in states.items() if not state.deleted}
    assert {saga.id: saga for saga in (await sagas.list(SagaQuery())).sagas} == there
    for saga_id, state in there.items():
        assert await sagas.describe(saga_id) == state


def killed_at(
    directory: Path, index: int, ledger: Mended, acknowledged: set[str]
) -> LeanDisk | None:
    """Run until the disk's operation of this index; the disk as it was then, None if the run ended before."""
    inner = LeanDisk()
    disk = FaultyDisk(inner)
    disk.kill(index)
    return inner if is_killed(drive, directory, disk, ledger, acknowledged) else None


def is_killed(main: Callable[..., Awaitable[None]], *arguments: object) -> bool:
    try:
        run_the_same_way(main, *arguments)
    except BaseException as error:
        if not contains(error, Killed):
            raise
        return True
    return False


def contains(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(contains(one, kind) for one in error.exceptions)
    return isinstance(error, kind)


def check_keys(ledger: Mended) -> None:
    """Each intended effect kept its key and its body, over all attempts and crashes."""
    bodies = defaultdict(list)
    for call in ledger.calls:
        bodies[call.idempotency_key].append((call.action, call.payload))
    assert all(all(body == made[0] for body in made) for made in bodies.values())
    expected = {
        *(f"completes/{name}/action/1" for name in "abc"),
        *(f"is-undone/{name}/action/1" for name in "abc"),
        *(f"is-undone/{name}/compensation/1" for name in "ab"),
        "is-retried/a/action/1",
        "is-retried/b/action/1",
    }
    optional = {"is-undone/c/compensation/1", "is-retried/b/action/2"}
    assert expected - {"is-retried/b/action/1"} <= set(bodies) <= expected | optional


@pytest.mark.parametrize("keeps", ["nothing", "something"])
def test_after_a_power_cut_at_any_operation_all_ends_as_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: str
) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_EVERY_BYTES", 700)
    for index in itertools.count():
        ledger, acknowledged = Mended(), set[str]()
        directory = tmp_path / str(index)
        directory.mkdir()
        left = killed_at(directory, index, ledger, acknowledged)
        if left is None:
            break
        disk = left.cut_power(None if keeps == "nothing" else Random(index))
        if index % 3 == 0:
            forget_rows(directory)
        run_the_same_way(drive, directory, disk, ledger, acknowledged)
        check_keys(ledger)
        shutil.rmtree(directory)
    assert index > 100


def test_a_power_cut_at_any_operation_of_a_recovery_changes_nothing(tmp_path: Path) -> None:
    ledger, acknowledged = Mended(), set[str]()
    (tmp_path / "first").mkdir()
    left = killed_at(tmp_path / "first", 90, ledger, acknowledged)
    assert left is not None
    for index in itertools.count():
        disk = FaultyDisk(inner := move(left, tmp_path / "first", tmp_path / str(index)))
        (tmp_path / str(index)).mkdir()
        disk.kill(index)
        if not is_killed(look, tmp_path / str(index), disk):
            break
        again = inner.cut_power(Random(index))
        run_the_same_way(drive, tmp_path / str(index), again, ledger, set(acknowledged))
    check_keys(ledger)
    assert index > 20


async def look(directory: Path, disk: Disk) -> None:
    async with keeping(directory, disk, {"shop": Mended()}):
        pass


def move(disk: LeanDisk, old: Path, new: Path) -> LeanDisk:
    """What a power cut leaves of a disk, under another directory."""
    left, moved = disk.cut_power(), LeanDisk()
    for path in left.paths():
        moved.put(path.replace(str(old), str(new)), left.get(path))
    return moved


def forget_rows(directory: Path) -> None:
    for path in directory.glob("index.sqlite*"):
        path.unlink()


# What recovery finds


async def busy(directory: Path, disk: Disk) -> Ledger:
    """Leave a directory with sagas in many statuses."""
    ledger = Ledger()
    async with keeping(directory, disk, {"shop": ledger}) as sagas:
        await begin_and_wait(sagas, id="completed")
        await begin_and_wait(sagas, step("a"), step("b", "fail"), id="compensated")
        await begin_and_wait(sagas, step("a", "fail"), id="failed")
        await begin_and_wait(
            sagas,
            step("a", compensation="down", compensationMaxRetries=0),
            step("b", "fail"),
            id="stuck",
        )
        await begin_and_wait(sagas, id="deleted")
        await sagas.delete("deleted")
        await begin_and_wait(sagas, id="woken")
        await sagas.compensate("woken")
        await sagas.wait("woken", 100)
        await begin(sagas, step("a", "gated"), id="running")
        await begin(sagas, step("a", "down", timeout=3600), id="waiting", timeout=1e6)
    return ledger


async def recovered(
    directory: Path, disk: LeanDisk, rows: str = "index.sqlite"
) -> tuple[Committed, RecoverySummary]:
    """What `recover` makes of a disk, without any actor."""
    disk = disk.copy()
    files = open_journal(disk, str(directory), now_ns=0).files
    read_model = ReadModel(f"{directory}/{rows}", run_blocking=in_turn)
    read_model.open(files.uuid, journal_end=files.position)
    committed = Committed(read_model)
    async with trio.open_nursery() as nursery:
        await nursery.start(read_model.run)
        summary = await recover(files, disk, str(directory), committed, read_model, in_turn)
        nursery.cancel_scope.cancel()
    files.close(clean=False)
    return committed, summary


def without_snapshots(disk: LeanDisk) -> LeanDisk:
    twin = disk.copy()
    for path in twin.paths():
        if path.endswith(".snap"):
            twin.unlink(path)
    return twin


def live_of(committed: Committed) -> dict[str, SagaState]:
    return {saga_id: state for saga_id, (state, _) in committed.live.items()}


async def test_what_is_recovered_is_what_the_journal_says(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    await busy(tmp_path, disk)
    states = folded(disk, tmp_path)
    committed, summary = await recovered(tmp_path, disk)
    assert set(live_of(committed)) == {"failed", "stuck", "running", "waiting"}
    assert live_of(committed) == {saga_id: states[saga_id] for saga_id in live_of(committed)}
    assert committed.counters.statistics().total == 7
    assert summary.live == 4


async def test_snapshot_and_tail_give_what_the_whole_journal_gives(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    await busy(tmp_path, disk)
    async with keeping(tmp_path, disk, wall_s=NOON + 1e5) as sagas:  # a tail after the snapshot
        await sagas.compensate("completed")
        await begin_and_wait(sagas, id="newer")
        twin = disk.copy()  # as a crash would leave it: without the last snapshot
    for at in range(2):
        used, from_snapshot = await recovered(tmp_path, (twin, disk)[at])
        whole, from_journal = await recovered(tmp_path, without_snapshots((twin, disk)[at]))
        assert (from_snapshot.from_snapshot, from_journal.from_snapshot) == (True, False)
        assert from_snapshot.records < from_journal.records
        assert live_of(used) == live_of(whole)
        assert used.counters.statistics() == whole.counters.statistics()
        assert used.through == whole.through


@pytest.mark.parametrize("rows", ["missing", "damaged", "of another journal", "behind"])
async def test_rows_that_cannot_be_used_are_built_anew(
    tmp_path: Path, autojump_clock: MockClock, rows: str
) -> None:
    disk, index = LeanDisk(), tmp_path / "index.sqlite"
    ledger = await busy(tmp_path, disk)
    if rows == "behind":
        old = index.read_bytes()
        async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
            await begin_and_wait(sagas, id="newer")
        forget_rows(tmp_path)
        index.write_bytes(old)
    elif rows == "missing":
        forget_rows(tmp_path)
    elif rows == "damaged":
        index.write_bytes(index.read_bytes()[:-4096])
    else:
        other = tmp_path / "other"
        other.mkdir()
        await busy(other, LeanDisk())
        forget_rows(tmp_path)
        shutil.copy(other / "index.sqlite", index)
    async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
        await agrees(sagas, disk, tmp_path)


async def test_a_long_journal_is_folded_in_pieces_and_is_whole(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagakeep.actors.recovery.PIECE_S", -1.0)  # one record to a piece
    monkeypatch.setattr(limits, "SNAPSHOT_EVERY_BYTES", 1)
    disk = LeanDisk()
    await busy(tmp_path, disk)
    disk = without_snapshots(disk)
    forget_rows(tmp_path)
    for _ in range(2):
        async with keeping(tmp_path, disk) as sagas:
            await agrees(sagas, disk, tmp_path)


async def test_a_snapshot_that_is_damaged_or_not_understood_is_passed_over(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    await busy(tmp_path, disk)
    whole, _ = await recovered(tmp_path, without_snapshots(disk))
    empty, wrong = without_snapshots(disk), without_snapshots(disk)
    (snap,) = [path for path in disk.paths() if path.endswith(".snap")]
    for twin, chunks in ((empty, []), (wrong, [b"\x01\x02"])):
        write_snapshot(twin, str(tmp_path), int(Path(snap).stem, 16), chunks)
    damaged = disk.copy()
    damaged.put(snap, damaged.get(snap)[:-1])
    for twin in (empty, wrong, damaged):
        found, summary = await recovered(tmp_path, twin)
        assert not summary.from_snapshot
        assert live_of(found) == live_of(whole)


# What recovery refuses


async def refusal(directory: Path, disk: Disk) -> JournalCorrupt:
    with pytest.raises(BaseExceptionGroup) as caught:
        await look(directory, disk)
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, JournalCorrupt)
    return error


def first_segment(directory: Path, disk: Disk) -> str:
    return f"{directory}/wal/{disk.list(f'{directory}/wal')[0]}"


CREATED = e.SagaCreated(DEFINITION)
GOOD = Record("s", 1, NOON, None, (CREATED,))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Record("s", 3, NOON, None, (e.SagaStarted(0.0),)), "event 3 follows event 1"),
        (Record("s", 2, NOON, None, (e.SagaCompleted(),)), "saga_completed in status created"),
        (Record("t", 2, NOON, None, (e.SagaStarted(0.0),)), "does not begin at its creation"),
        (Record("s", 2, NOON, None, ()), "a record without events"),
        (GOOD, "event 1 follows event 1"),
    ],
)
async def test_a_record_that_does_not_follow_is_refused_with_its_place(
    tmp_path: Path, autojump_clock: MockClock, record: Record, reason: str
) -> None:
    disk = LeanDisk()
    files = open_journal(disk, str(tmp_path), now_ns=0).files
    first = encode_record(GOOD)
    position = files.append([first, encode_record(record)])
    files.close()
    error = await refusal(tmp_path, disk)
    assert (error.file, error.offset) == (first_segment(tmp_path, disk), position)
    assert error.record == len(first)
    assert error.reason.startswith(f"record at byte {len(first)} of the frame: ")
    assert reason in error.reason


async def test_bytes_that_are_no_record_are_refused_with_their_place(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    files = open_journal(disk, str(tmp_path), now_ns=0).files
    first = encode_record(GOOD)
    position = files.append([first, b"\xc1"])
    files.close()
    error = await refusal(tmp_path, disk)
    assert (error.file, error.offset) == (first_segment(tmp_path, disk), position)
    assert error.record == len(first)


async def test_a_journal_that_ends_before_its_snapshot_is_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    await busy(tmp_path, disk)
    save_snapshot(disk, str(tmp_path), 1 << 40, LiveSagas().cut(), Statistics({}, 0, 0.0))
    error = await refusal(tmp_path, disk)
    assert "ends before its snapshot" in error.reason
    assert isinstance(error, SagakeepError)


async def test_a_snapshot_that_has_one_small_frame_more_than_the_journal_is_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    files = open_journal(disk, str(tmp_path), now_ns=0).files
    files.append([encode_record(GOOD)])
    end = files.position
    started = Record("s", 2, NOON, (128, 0), (e.SagaStarted(NOON),))
    files.append([encode_record(started)])
    assert files.position - end < 128, "less than the header of the segment that a start begins"
    state = fold(fold(None, GOOD), started)
    live = LiveSagas()
    live.note(state, Position(end, 0))
    save_snapshot(disk, str(tmp_path), files.position, live.cut(), Statistics({}, 0, 0.0))
    files.close(clean=False)
    segment = first_segment(tmp_path, disk)
    disk.put(segment, disk.get(segment)[:end])
    error = await refusal(tmp_path, disk)
    assert "ends before its snapshot" in error.reason
    assert (error.file, error.offset) == (segment, end)


async def test_time_does_not_run_backwards_over_a_restart(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    await busy(tmp_path, disk)
    async with keeping(tmp_path, disk, wall_s=NOON - 86_400) as sagas:
        before = await sagas.describe("failed")
        assert (await sagas.retry("failed")).updated_at_utc_s >= before.updated_at_utc_s


@pytest.mark.parametrize("has_snapshot", [False, True])
async def test_time_does_not_run_backwards_for_a_saga_that_had_finished(
    tmp_path: Path, autojump_clock: MockClock, has_snapshot: bool
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        before = await begin_and_wait(sagas, id="x")
        assert before.status is SagaStatus.COMPLETED
    disk = disk if has_snapshot else without_snapshots(disk)
    async with keeping(tmp_path, disk, wall_s=NOON - 86_400) as sagas:
        assert (await sagas.compensate("x")).updated_at_utc_s >= before.updated_at_utc_s
        assert (await begin_and_wait(sagas)).created_at_utc_s >= before.updated_at_utc_s


async def test_how_long_the_second_completion_took_is_counted_after_a_start_too(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        saga = await begin_and_wait(sagas, step("a", "slow"))
    async with keeping(tmp_path, disk) as sagas:  # its end is in a snapshot
        await trio.sleep(10)
        await sagas.compensate(saga.id)
        await sagas.wait(saga.id, 10)
        await sagas.retry(saga.id)
        again = await sagas.wait(saga.id, 10)
        counted = sagas.statistics()
        after_crash = disk.copy()
    assert again.completed_at_utc_s > saga.completed_at_utc_s + 1
    async with keeping(tmp_path, after_crash) as sagas:
        assert sagas.statistics() == counted
