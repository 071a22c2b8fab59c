from __future__ import annotations

import errno
import itertools
import logging
from pathlib import Path

import pytest
import trio
import trio.testing
from faulty_disk import Fault, FaultyDisk
from keeper import LeanDisk, begin, begin_and_wait, folded, keeping
from shop import saga as document
from shop import step
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.journal import NOTES_BETWEEN_CHECKPOINTS
from sagakeep.actors.live_sagas import Known
from sagakeep.actors.recovery import _load_snapshot, _Sleeper
from sagakeep.codec import decode_state
from sagakeep.state import FINAL, SagaState
from sagakeep.validation import parse_definition


def snapshots(disk: LeanDisk) -> list[int]:
    """The positions of the snapshots of a disk, in order."""
    return [int(Path(path).stem, 16) for path in disk.paths() if path.endswith(".snap")]


async def test_a_snapshot_is_taken_whenever_the_journal_has_grown_enough(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, snapshot_every_bytes=1_000) as sagas:
        seen: set[int] = set()
        for _ in range(10):
            await begin_and_wait(sagas)
            await trio.testing.wait_all_tasks_blocked()
            seen |= set(snapshots(disk))
        gaps = [later - earlier for earlier, later in itertools.pairwise([0, *sorted(seen)])]
        assert len(seen) >= 3
        assert all(gap >= 1_000 for gap in gaps)


async def test_a_journal_that_grew_little_has_no_snapshot_until_the_process_ends(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        await begin_and_wait(sagas)
        assert snapshots(disk) == []
    assert len(snapshots(disk)) == 1


@pytest.mark.parametrize("ticks", [2, 6])
async def test_a_snapshot_is_of_a_whole_frame_however_large_the_group_commit(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, ticks: int
) -> None:
    monkeypatch.setattr(limits, "COMMIT_BYTES_TARGET", 16 << 20)
    disk = LeanDisk()
    definition = parse_definition(document(step("a", "gated")), None)
    async with keeping(tmp_path, disk, snapshot_every_bytes=1) as sagas:
        await begin(sagas)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sagas.start_many, [definition] * (12 * NOTES_BETWEEN_CHECKPOINTS))
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            sagas.stopping.set()
    snapshot = _load_snapshot(disk, str(tmp_path))
    assert snapshot is not None
    states = folded(disk, tmp_path)
    live = {name: state for name, state in states.items() if state.status not in FINAL}
    found = map(_state, snapshot.live)
    assert {state.id: state for state in found} == live
    async with keeping(tmp_path, disk) as sagas:
        assert sagas.recovery is not None
        assert sagas.recovery.from_snapshot
        assert sagas.statistics().total == len(states)


def _state(entry: Known | _Sleeper) -> SagaState:
    return decode_state(entry.data)[0] if isinstance(entry, _Sleeper) else entry[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_snapshot_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    disk = FaultyDisk(inner := LeanDisk())
    with caplog.at_level(logging.WARNING):
        async with keeping(tmp_path, disk, snapshot_every_bytes=1) as sagas:
            disk.faults.append(_fault_of_snapshots(number))
            saga = await begin_and_wait(sagas)
    assert snapshots(inner) == []
    assert any("no snapshot at" in record.message for record in caplog.records)
    disk.heal()
    async with keeping(tmp_path, inner) as sagas:
        assert await sagas.describe(saga.id) == saga


def _fault_of_snapshots(number: int) -> Fault:
    return Fault(
        lambda line: ".snap.tmp" in line and line.startswith("pwrite"),
        lambda: OSError(number, "injected"),
        times=0,
    )
