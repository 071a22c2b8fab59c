from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio
from faulty_disk import Fault, FaultyDisk
from keeper import LeanDisk, begin_and_wait, folded, history, keeping
from shop import step
from trio.testing import MockClock

from sagakeep.offline.audit import Audit
from sagakeep.orchestrator import Orchestrator, SagaQuery
from sagakeep.runtime.disk import Disk
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.simulation.process import Moment, Point
from sagakeep.simulation.service import Reaction
from sagakeep.simulation.world import DIRECTORY, Ending, How, Shape, World
from sagakeep.state import SagaState, SagaStatus
from sagakeep.validation import parse_definition

SMALL: Mapping[str, int] = {
    "segment_bytes": 2_000,
    "snapshot_every_bytes": 4_000,
    "archive_behind_bytes": 1,
}


def named(disk: MemoryDisk, suffix: str) -> list[str]:
    return [path for path in disk.paths() if path.endswith(suffix)]


async def fill(sagas: Orchestrator, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        state = await begin_and_wait(sagas, step("a"), step("b"))
        ids.append(state.id)
    await trio.sleep(60)
    return ids


async def test_what_is_archived_is_found_by_every_read_and_after_a_restart(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        ids = await fill(sagas, 40)
        assert len(named(disk, ".seg.zst")) > 4
        before = [await sagas.describe(saga_id) for saga_id in ids]
        told = [await history(sagas, saga_id) for saga_id in ids]
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        assert [await sagas.describe(saga_id) for saga_id in ids] == before
        assert [await history(sagas, saga_id) for saga_id in ids] == told
        page = await sagas.list(SagaQuery(limit=50))
        assert {state.id: state for state in page.sagas} == {state.id: state for state in before}
        undone = await sagas.compensate(ids[0])
        assert undone.status is SagaStatus.COMPENSATING
        assert (await sagas.wait(ids[0], 60)).status is SagaStatus.COMPENSATED
    states = folded(disk, tmp_path)
    assert states[ids[0]].status is SagaStatus.COMPENSATED
    assert [states[saga_id] for saga_id in ids[1:]] == before[1:]


def remove_rows(directory: Path) -> None:
    for path in directory.glob("index.sqlite*"):
        path.unlink()


async def test_the_rows_are_made_again_from_archives(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        ids = await fill(sagas, 40)
    remove_rows(tmp_path)
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        assert sagas.recovery is not None
        assert not sagas.recovery.from_snapshot
        page = await sagas.list(SagaQuery(limit=50))
        assert {state.id for state in page.sagas} == set(ids)


async def test_no_segment_that_a_start_may_fold_is_archived(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **SMALL) as sagas:
        for _ in range(20):
            await fill(sagas, 1)
            oldest = min((int(Path(path).stem, 16) for path in named(disk, ".snap")), default=0)
            bases = [int(Path(path).name[17:33], 16) for path in named(disk, ".seg")]
            first = min(bases)
            archived = [int(Path(path).name[17:33], 16) for path in named(disk, ".seg.zst")]
            assert all(base < first <= oldest for base in archived)


async def test_the_youngest_bytes_below_a_snapshot_are_not_archived(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, **{**SMALL, "archive_behind_bytes": 1 << 20}) as sagas:
        await fill(sagas, 20)
        assert not named(disk, ".seg.zst")


async def test_a_disk_that_is_full_delays_the_archiving_and_nothing_else(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    memory = LeanDisk()
    disk = FaultyDisk(memory)
    full = OSError(errno.ENOSPC, "full")
    disk.faults.append(Fault(lambda line: "zst" in line and "create" in line, lambda: full, 0, 0))
    port: Disk = disk
    async with keeping(tmp_path, port, **SMALL) as sagas:
        with caplog.at_level(logging.WARNING):
            await fill(sagas, 12)
        assert not named(memory, ".seg.zst")
        assert "a segment is not archived now" in caplog.text
        disk.heal()
        await fill(sagas, 12)
        assert named(memory, ".seg.zst")


DEFINITION = {
    "name": "order",
    "steps": [{"id": "a", "service": "shop", "action": "do", "compensation": "undo"}],
}


class Life:
    """A world of sagas whose segments are archived soon; the same whenever it is run."""

    def __init__(self) -> None:
        self.world = World(1, Shape(segment_bytes=1_000, snapshot_every_bytes=1_500))
        self.world.service("shop", lambda call: Reaction())
        self.states: dict[str, SagaState] = {}

    async def work(self, sagas: Orchestrator) -> None:
        for number in range(14):
            document = {**DEFINITION, "id": f"s{self.world.lives}-{number}"}
            started = await sagas.start(parse_definition(document, sagas.services))
            self.states[started.saga.id] = await sagas.wait(started.saga.id, 60)
            await trio.sleep(5)

    async def look(self, sagas: Orchestrator) -> None:
        for saga_id, state in self.states.items():
            assert await sagas.describe(saga_id) == state
        page = await sagas.list(SagaQuery(limit=100))
        assert {state.id for state in page.sagas} >= set(self.states)
        await trio.sleep(60)


def of_archives() -> list[int]:
    """The operations of a process on an archive, or on the segment that gives way to it."""
    life = Life()
    life.world.live(life.work)
    numbers = []
    for line in life.world.trace.lines:
        _, is_disk, operation = line.partition(" disk ")
        if is_disk and (".seg.zst" in line or " unlink " in line or "sync_directory" in line):
            numbers.append(int(operation.split(" ")[0]))
    return numbers


@pytest.mark.parametrize("moment", Moment)
def test_a_process_that_dies_at_any_step_of_archiving_loses_nothing(moment: Moment) -> None:
    numbers = of_archives()
    assert len(numbers) > 30
    for number in numbers:
        life = Life()
        ending = life.world.live(life.work, ends_at=Point("disk", number, moment))
        if ending.how is How.CRASHED:
            life.world.cut_power()
        assert life.world.live(life.look) == Ending(How.FINISHED)
        disk = life.world.disk
        assert not named(disk, ".tmp")
        assert {path[5:] for path in named(disk, ".zst")}.isdisjoint(named(disk, ".seg"))
        list(Audit(disk, DIRECTORY))
