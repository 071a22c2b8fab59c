"""What a deleted saga said is in no file any more, in time, whatever instant the process dies at."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

import pytest
import trio
from backports import zstd
from faulty_disk import FaultyDisk, Killed
from keeper import NOON, LeanDisk, begin_and_wait, folded, keeping
from msgspec.structs import replace
from shop import step
from trio.testing import MockClock

from sagakeep import events as e
from sagakeep.errors import SagaExists, SagaNotFound
from sagakeep.offline.audit import Audit
from sagakeep.offline.backup import take_backup
from sagakeep.offline.restore import restore_backup
from sagakeep.offline.until import UntilPosition
from sagakeep.orchestrator import Orchestrator, SagaQuery
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.state import SagaStatus
from sagakeep.validation import parse_definition

SECRET = "4929-1234-5678-9012"
SMALL: Mapping[str, int] = {
    "segment_bytes": 2_000,
    "snapshot_every_bytes": 4_000,
    "archive_behind_bytes": 1,
}
HOUR_S = 3600.0


def files(disk: MemoryDisk, directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a data directory, on whichever disk it is; archives as they are read."""
    for path in disk.paths():
        data = disk.get(path)
        yield path, data
        if path.endswith(".zst"):
            with contextlib.suppress(zstd.ZstdError):
                yield path, zstd.open(io.BytesIO(data)).read()
    for real in sorted(directory.iterdir()):
        yield str(real), real.read_bytes()


def holding(disk: MemoryDisk, directory: Path, word: str = SECRET) -> list[str]:
    return [path for path, data in files(disk, directory) if word.encode() in data]


def remove_rows(directory: Path) -> None:
    for path in directory.glob("index.sqlite*"):
        path.unlink()


async def secret_saga(sagas: Orchestrator, **more: object) -> str:
    """A saga with a secret wherever one can be."""
    steps = [step("a", payload={"card": SECRET}), step("b", action="flaky", payload=[SECRET])]
    state = await begin_and_wait(sagas, *steps, tags={"card": SECRET}, **more)
    assert state.status is SagaStatus.COMPLETED
    return state.id


async def fill(sagas: Orchestrator, count: int = 30) -> list[str]:
    """Let the journal grow, and what is old be archived."""
    ids = [(await begin_and_wait(sagas, step("a"), step("b"))).id for _ in range(count)]
    await trio.sleep(60)
    return ids


async def test_a_deleted_saga_is_in_no_file_once_its_deletion_is_archived(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        saga_id = await secret_saga(sagas)
        others = await fill(sagas)
        assert holding(disk, tmp_path)
        await sagas.delete(saga_id, by="ann", note="asked for")
        before = [await sagas.describe(one) for one in others]
        others += await fill(sagas)
        assert not holding(disk, tmp_path)
        assert [await sagas.describe(one) for one in others[:30]] == before
        assert sagas._engine.eraser.erased == 1
        assert sagas._engine.eraser.waiting_s == 0.0
        with pytest.raises(SagaNotFound):
            await sagas.describe(saga_id)
    records = [one.record for one in Audit(disk, str(tmp_path))]
    ours = [record for record in records if record.saga_id == saga_id]
    assert [record.is_erased for record in ours] == [True] * (len(ours) - 1) + [False]
    assert ours[-1].events == (e.SagaDeleted("ann", "asked for"),)
    sequences = [record.sequence for record in ours]
    lengths = [len(record.events) for record in ours]
    assert sequences == [1 + sum(lengths[:at]) for at in range(len(ours))]
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        assert [await sagas.describe(one) for one in others[:30]] == before
    states = folded(disk, tmp_path)
    assert states[saga_id].is_erased


async def test_many_sagas_are_erased_by_one_rewrite_of_each_archive(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = FaultyDisk(LeanDisk())
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        secret = [await secret_saga(sagas) for _ in range(12)]
        await fill(sagas)
        disk.trace.clear()
        for saga_id in secret:
            await sagas.delete(saga_id)
        await fill(sagas, 40)
        assert isinstance(disk.inner, LeanDisk)
        assert not holding(disk.inner, tmp_path)
        assert sagas._engine.eraser.erased == 12
    renamed = [line for line in disk.trace if line.startswith("rename") and line.endswith(".zst")]
    assert max(renamed.count(line) for line in renamed) <= 3, "archived, and erased at most twice"


async def test_the_id_and_the_key_of_an_erased_saga_stay_taken_after_the_rows_are_lost(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()

    async def begin(sagas: Orchestrator, saga_id: str, digest: bytes) -> None:
        definition = parse_definition({"id": saga_id, "name": "x", "steps": [step("a")]}, None)
        await sagas.start(definition, idempotency_key="key-1", body_digest=digest)

    async with keeping(tmp_path, disk, **SMALL) as sagas:
        await begin(sagas, "one", b"d16e57")
        await sagas.wait("one", 60)
        await sagas.delete("one")
        others = await fill(sagas, 60)
        statistics = sagas.statistics()
        assert sagas._engine.eraser.erased == 1
        assert not holding(disk, tmp_path, "d16e57")
    remove_rows(tmp_path)
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        assert sagas.statistics() == statistics
        assert len((await sagas.list(SagaQuery(limit=500))).sagas) == len(others)
        for saga_id, digest in (("one", b"other"), ("two", b"d16e57"), ("two", b"other")):
            with pytest.raises(SagaExists, match=r"it was deleted|its id stays taken"):
                await begin(sagas, saga_id, digest)
        await trio.sleep(120)
        assert sagas._engine.eraser.erased == 1, "it was looked at again"
        assert sagas._engine.eraser.waiting_s == 0.0


# In time


async def test_a_deletion_does_not_wait_for_the_journal_to_grow(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    wall = _ticking()
    async with keeping(tmp_path, disk, wall=wall, erase_after_s=HOUR_S) as sagas:
        saga_id = await secret_saga(sagas)
        live = (await begin_and_wait(sagas, step("a", action="fail"), onFailure="hold")).id
        await sagas.delete(saga_id)
        await trio.sleep(HOUR_S - 60)
        assert holding(disk, tmp_path)
        assert sagas._engine.eraser.waiting_s > HOUR_S / 2
        await trio.sleep(600)
        assert not holding(disk, tmp_path)
        assert (await sagas.describe(live)).status is SagaStatus.FAILED
        assert sagas.journal_statistics().archived >= 1
    list(Audit(disk, str(tmp_path)))
    async with keeping(tmp_path, disk, wall=wall) as sagas:
        assert (await sagas.describe(live)).status is SagaStatus.FAILED


def _ticking() -> Callable[[], float]:
    """A wall clock that goes with trio's."""
    return lambda: NOON + trio.current_time()


async def test_a_deletion_in_the_middle_of_traffic_is_erased_in_time_too(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, wall=_ticking(), erase_after_s=100.0) as sagas:
        saga_id = await secret_saga(sagas)
        await sagas.delete(saga_id)
        for _ in range(300):
            await begin_and_wait(sagas, step("a"))
            await trio.sleep(1)
        assert not holding(disk, tmp_path)
    list(Audit(disk, str(tmp_path)))


async def test_what_is_not_erased_is_found_again_after_a_restart(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    wall = _ticking()
    async with keeping(tmp_path, disk, wall=wall, erase_after_s=100.0) as sagas:
        saga_id = await secret_saga(sagas)
        await sagas.delete(saga_id)
    assert holding(disk, tmp_path)
    async with keeping(tmp_path, disk, wall=wall, erase_after_s=100.0) as sagas:
        await trio.sleep(600)
        assert not holding(disk, tmp_path)
        assert sagas._engine.eraser.erased == 1


async def test_a_disk_that_is_full_delays_and_ends_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = FaultyDisk(LeanDisk())
    async with keeping(tmp_path, disk, wall=_ticking(), erase_after_s=100.0) as sagas:
        saga_id = await secret_saga(sagas)
        await sagas.delete(saga_id)
        disk.fail("create", errno.ENOSPC, times=0)
        await trio.sleep(600)
        assert isinstance(disk.inner, LeanDisk)
        assert holding(disk.inner, tmp_path)
        disk.heal()
        await trio.sleep(600)
        assert not holding(disk.inner, tmp_path)


async def test_what_was_set_aside_is_removed_when_it_names_an_erased_saga(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        saga_id = await secret_saga(sagas)
        await fill(sagas)
    quarantine = f"{tmp_path}/quarantine"
    archived = next(path for path in disk.paths() if path.endswith(".zst"))
    disk.put(f"{quarantine}/0000000000000001-00000080.torn", f"{saga_id} {SECRET}".encode())
    disk.put(f"{quarantine}/0000000000000002-00000080.torn", b"of another")
    disk.put(f"{quarantine}/repair-0001/{archived.rpartition('/')[2]}", disk.get(archived))
    disk.put(f"{quarantine}/repair-0001/0000000000000009-0000000000000000.seg.zst", b"damaged")
    disk.put(f"{quarantine}/repair-0001/report.json", f'"{saga_id}"'.encode())
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        await sagas.delete(saga_id)
        await fill(sagas, 60)
        assert not holding(disk, tmp_path)
    left = [path.removeprefix(quarantine) for path in disk.paths() if quarantine in path]
    assert left == ["/0000000000000002-00000080.torn", "/repair-0001/report.json"]


# Crashes


async def _live(directory: Path, disk: FaultyDisk, index: int | None) -> None:
    """Make a secret, let it be archived, delete it, and die at an operation of what follows."""
    async with keeping(directory, disk, **SMALL) as sagas:
        saga_id = await secret_saga(sagas, id="secret")
        await fill(sagas, 12)
        await sagas.delete(saga_id)
        ids = [(await begin_and_wait(sagas, step("a"), step("b"))).id for _ in range(40)]
        assert len(ids) == 40
        disk.trace.clear()
        if index is not None:
            disk.kill(index)
        await trio.sleep(60)


def test_whatever_instant_the_eraser_dies_at_nothing_else_is_lost_and_it_is_done_later(
    tmp_path: Path,
) -> None:
    operations = _count(tmp_path)
    assert operations > 30
    for index in range(0, operations, 8):
        directory = tmp_path / str(index)
        directory.mkdir()
        _die_and_go_on(directory, index)


def _count(tmp_path: Path) -> int:
    disk = FaultyDisk(LeanDisk())
    directory = tmp_path / "counted"
    directory.mkdir()
    _run(_live, directory, disk, None)
    assert isinstance(disk.inner, LeanDisk)
    assert not holding(disk.inner, directory)
    return len(disk.trace)


def _die_and_go_on(directory: Path, index: int) -> None:
    inner = LeanDisk()
    disk = FaultyDisk(inner)
    with pytest.raises(BaseException) as caught:
        _run(_live, directory, disk, index)
    assert caught.group_contains(Killed) if isinstance(caught.value, BaseExceptionGroup) else True
    inner.kill()
    for number, cut in enumerate((inner.cut_power(Random(index)), inner)):
        records = [one.record for one in Audit(cut, str(directory))]
        others = {one.saga_id for one in records if one.saga_id != "secret"}
        assert len(others) == 52
        assert any(one.saga_id == "secret" for one in records)
        if number == 1:
            remove_rows(directory)
        _run(_go_on, directory, cut)
        assert not holding(cut, directory)
        assert {one.record.saga_id for one in Audit(cut, str(directory))} >= others


async def _go_on(directory: Path, disk: MemoryDisk) -> None:
    async with keeping(directory, disk, wall=_ticking(), erase_after_s=10.0, **SMALL) as sagas:
        await trio.sleep(1200)
        with pytest.raises(SagaNotFound):
            await sagas.describe("secret")


def _run(main: Callable[..., object], *arguments: object) -> None:
    trio.run(main, *arguments, clock=MockClock(autojump_threshold=0))


# Backups


async def test_a_point_before_the_deletion_of_an_erased_saga_does_not_bring_it_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        saga_id = await secret_saga(sagas)
        others = await fill(sagas, 10)
        end = sagas._engine.files.position
        await sagas.delete(saga_id)
        await fill(sagas, 60)
        assert not holding(disk, tmp_path)
    take_backup(disk, str(tmp_path), "backup")
    report = restore_backup(disk, "backup", f"{tmp_path}/then", UntilPosition(end))
    assert (report.deleted, report.point.sagas) == (1, 10)
    (tmp_path / "then").mkdir()
    async with keeping(tmp_path / "then", disk, **SMALL) as sagas:
        assert len((await sagas.list(SagaQuery(limit=500))).sagas) == len(others)
        with pytest.raises(SagaNotFound):
            await sagas.describe(saga_id)
        await trio.sleep(60)


# Trouble


async def test_a_saga_whose_records_cannot_be_read_holds_no_other_back(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        first = await secret_saga(sagas)
        others = await fill(sagas, 10)
        second = await secret_saga(sagas)
        others += await fill(sagas, 10)
        for saga_id in (first, second):
            await sagas.delete(saga_id)
        eraser = sagas._engine.eraser
        row = await sagas._engine.read_model.find(second)
        other = await sagas._engine.read_model.find(others[0])
        assert row is not None
        assert other is not None
        places: dict[int, set[int]] = {}
        strange = [
            replace(row, frame=other.frame, offset=other.offset),  # of another saga
            replace(row, frame=row.frame + 8),  # no frame
            row,
        ]
        assert eraser._find(strange, places) == [second]
        assert f"is a record of saga {others[0]!r}" in caplog.text
        assert len(places) >= 3
        assert caplog.text.count(f"saga {second} is not erased: ") == 2


async def test_an_eraser_that_meets_damage_goes_on_when_it_is_gone(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        saga_id = await secret_saga(sagas)
        await fill(sagas)
        await sagas.delete(saga_id)
        path = min(path for path in disk.paths() if path.endswith(".zst"))
        good = disk.get(path)
        disk.put(path, good[:9] + bytes([good[9] ^ 1]) + good[10:])
        sagas._engine.files._reader.forget(sagas._engine.files._reader.segments[0])
        await fill(sagas)
        assert "is not erased" in caplog.text or "nothing is erased now" in caplog.text
        disk.put(path, good)
        sagas._engine.files._reader.forget(sagas._engine.files._reader.segments[0])
        await sagas.delete((await fill(sagas, 1))[0])
        await fill(sagas)
        assert not holding(disk, tmp_path)
