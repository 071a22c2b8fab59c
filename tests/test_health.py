from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest
import trio
import trio.testing
from faulty_disk import FaultyDisk
from keeper import LeanDisk, Ledger, begin, begin_and_wait, keeping
from shop import step
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.health import LOOK_EVERY_S, STALLED_AFTER_S
from sagakeep.errors import Unavailable
from sagakeep.orchestrator import Orchestrator


class SmallDisk(LeanDisk):
    free = 1 << 40

    def free_bytes(self, path: str) -> int:
        return self.free


def bad(sagas: Orchestrator) -> dict[str, str]:
    """The checks that are not ok, and what they say."""
    return {name: check.detail for name, check in sagas.health().items() if not check.ok}


async def refusal(sagas: Orchestrator) -> str:
    with pytest.raises(Unavailable) as caught:
        await begin(sagas)
    return str(caught.value)


async def test_when_all_is_well_every_part_says_so(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        assert bad(sagas) == {}
        assert set(sagas.health()) == {"journal", "registry", "recovery", "disk", "capacity"}


async def test_a_disk_below_its_reserve_refuses_new_sagas_and_heals(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = SmallDisk()
    async with keeping(tmp_path, disk, {"shop": (ledger := Ledger())}) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        disk.free = limits.DISK_RESERVE_BYTES
        await trio.sleep(2 * LOOK_EVERY_S)
        assert bad(sagas) == {}
        disk.free -= 1
        await trio.sleep(2 * LOOK_EVERY_S)
        assert set(bad(sagas)) == {"disk"}
        assert "below the reserve of 64 MiB: free some space" in await refusal(sagas)
        ledger.gate.set()
        assert (await sagas.wait(saga_id, 10)).status == "completed"  # what runs goes on
        disk.free += 1
        await trio.sleep(2 * LOOK_EVERY_S)
        assert (await begin_and_wait(sagas)).status == "completed"


async def test_a_full_disk_is_told_while_sagas_wait(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FaultyDisk(LeanDisk())
    with caplog.at_level(logging.CRITICAL):
        async with keeping(tmp_path, disk) as sagas:
            saga_id = await begin(sagas, step("a", "slow"))
            journal = sagas._engine.journal
            journal.files._capacity = 0  # the next frame begins a segment
            disk.fail("allocate", errno.ENOSPC, times=2)
            await trio.sleep(1.5)
            assert "the disk is full, sagas wait" in bad(sagas)["journal"]
            assert "the disk is full" in await refusal(sagas)
            assert (await sagas.wait(saga_id, 10)).status == "completed"
            assert bad(sagas) == {}


async def test_a_write_that_takes_too_long_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        sagas._engine.journal.writing_since_s = trio.current_time()
        await trio.sleep(STALLED_AFTER_S - 0.1)
        assert bad(sagas) == {}
        await trio.sleep(0.2)
        assert set(bad(sagas)) == {"journal"}
        assert "has taken 5 s so far" in await refusal(sagas)


async def test_too_much_that_waits_for_the_journal_refuses_new_sagas(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        sagas._engine.journal._queued_bytes = limits.PENDING_BYTES_MAX
        assert await refusal(sagas) == bad(sagas)["journal"] == "64 MiB wait to be written"
        sagas._engine.journal._queued_bytes = 0
        await begin(sagas)


async def test_as_many_sagas_as_may_live_are_told(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path) as sagas:
        monkeypatch.setattr(limits, "LIVE_SAGAS_MAX", 1)
        await begin(sagas, step("a", "gated"))
        assert await refusal(sagas) == bad(sagas)["capacity"]


async def test_rows_that_cannot_keep_up_refuse_new_sagas(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        sagas._engine.read_model._pending_max = 0
        assert "cannot keep up" in await refusal(sagas)
        assert set(bad(sagas)) == {"capacity"}


async def test_draining_refuses_new_sagas_and_says_so(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        sagas._engine.health.draining = True
        assert "stopping" in await refusal(sagas)
        assert set(bad(sagas)) == {"registry"}


async def test_metrics_tell_every_number(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        await begin_and_wait(sagas)
        await begin(sagas, step("a", "gated"))
        await trio.testing.wait_all_tasks_blocked()
        lines = sagas.metrics().decode().splitlines()
    for line in (
        'sagakeep_sagas{status="completed"} 1.0',
        'sagakeep_sagas{status="running"} 1.0',
        "sagakeep_live_sagas 1.0",
        'sagakeep_service_in_flight{service="shop"} 1.0',
        'sagakeep_service_queued{service="shop"} 0.0',
        'sagakeep_service_attempts_total{service="shop"} 3.0',
        "sagakeep_journal_segments 1.0",
    ):
        assert line in lines
    assert any(line.startswith("sagakeep_journal_fdatasyncs_total ") for line in lines)
    assert any(line.startswith("sagakeep_completed_seconds_total ") for line in lines)
