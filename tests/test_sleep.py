"""Sagas that only wait: no actor, no timer of their own, and nobody notices."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from keeper import NOON, LeanDisk, Ledger, begin, keeping, kinds
from shop import step
from trio.testing import MockClock

from sagakeep.actors import registry
from sagakeep.errors import MoveRefused, SagaExists
from sagakeep.events import StepStarted
from sagakeep.orchestrator import Orchestrator
from sagakeep.service import Call, ServiceRefused, ServiceUnavailable
from sagakeep.state import SagaStatus

HOURS = {"initialInterval": 3_600, "maxInterval": 3_600}  # half of it, as the tests draw


class Away(Ledger):
    """Is not there at the first attempt; then it works."""

    async def away(self, call: Call) -> object:
        if call.attempt > 1:
            return await self.do(call)
        self.calls.append(call)
        raise ServiceUnavailable("away")

    async def never(self, call: Call) -> object:
        self.calls.append(call)
        raise ServiceRefused("no undo today")


def sleeps(sagas: Orchestrator, saga_id: str) -> bool:
    engine = sagas._engine
    is_asleep = engine.committed.live.wakes_at_utc_s(saga_id) is not None
    assert is_asleep != (saga_id in engine.registry._awake)
    return is_asleep


async def asleep(sagas: Orchestrator, *steps: dict[str, object], **more: object) -> str:
    saga_id = await begin(sagas, *steps, timeout=7_200, **more)
    await trio.testing.wait_all_tasks_blocked()
    assert sleeps(sagas, saga_id)
    assert sagas._engine.registry.live_count == 1
    return saga_id


async def test_a_saga_that_waits_for_long_sleeps_and_wakes_on_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Away()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga_id = await asleep(sagas, step("a", "away", retry=HOURS), step("b"))
        began = await sagas.describe(saga_id)
        due_utc_s = began.steps["a"].action.retry_at_utc_s
        assert due_utc_s == NOON + 1_800
        ended = await sagas.wait(saga_id, timeout_s=7_000)
        assert ended.status is SagaStatus.COMPLETED
        started = [
            record.at_utc_s
            for record in await sagas.events(saga_id)
            if any(isinstance(event, StepStarted) for event in record.events)
        ]
        assert started[1] == pytest.approx(due_utc_s, abs=0.01)
        assert [call.attempt for call in ledger.calls] == [1, 2, 1]


async def test_a_short_wait_is_waited_awake(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "flaky"))
        await trio.testing.wait_all_tasks_blocked()
        assert not sleeps(sagas, saga_id)
        assert (await sagas.wait(saga_id, 60)).status is SagaStatus.COMPLETED


async def test_a_deadline_wakes_who_sleeps(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path, services={"shop": Away()}) as sagas:
        saga_id = await begin(sagas, step("a"), step("b", "away", retry=HOURS), timeout=600)
        await trio.testing.wait_all_tasks_blocked()
        assert sleeps(sagas, saga_id)
        ended = await sagas.wait(saga_id, timeout_s=7_000)
        assert (ended.status, ended.reason) == (SagaStatus.COMPENSATED, "timeout")
        assert ended.updated_at_utc_s == pytest.approx(NOON + 600, abs=1)


async def test_who_sleeps_is_described_and_listed_like_anybody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": Away()}) as sagas:
        saga_id = await asleep(sagas, step("a", "away", retry=HOURS), id="mine")
        state = await sagas.describe(saga_id)
        assert state.status is SagaStatus.RUNNING
        assert (await kinds(sagas, saga_id))[-1] == "StepRetry"
        assert sagas.statistics().by_status[SagaStatus.RUNNING] == 1
        assert sleeps(sagas, saga_id), "looking wakes nobody"
        with pytest.raises(SagaExists):
            await begin(sagas, step("a"), id="mine")


async def test_an_operator_wakes_who_sleeps(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path, services={"shop": Away()}) as sagas:
        saga_id = await asleep(sagas, step("a"), step("b", "away", retry=HOURS))
        await sagas.compensate(saga_id, by="ann")
        ended = await sagas.wait(saga_id, 60)
        assert ended.status is SagaStatus.COMPENSATED
        await trio.testing.wait_all_tasks_blocked()
        assert sagas._engine.registry.live_count == 0


async def test_a_move_that_is_refused_lets_it_sleep_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": Away()}) as sagas:
        saga_id = await asleep(sagas, step("a", "away", retry=HOURS))
        for _ in range(3):
            with pytest.raises(MoveRefused):
                await sagas.delete(saga_id)
            await trio.testing.wait_all_tasks_blocked()
            assert sleeps(sagas, saga_id)
        assert (await sagas.wait(saga_id, 7_000)).status is SagaStatus.COMPLETED


async def test_who_is_held_for_an_operator_sleeps_without_a_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Away()
    steps = (step("a", compensation="never", compensationMaxRetries=0), step("b", "fail"))
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga_id = await asleep(sagas, *steps)
        assert (await sagas.describe(saga_id)).status is SagaStatus.COMPENSATION_FAILED
        assert len(sagas._engine.registry._wake_list) == 0
        calls = len(ledger.calls)
        await trio.sleep(80_000)
        assert len(ledger.calls) == calls
        await sagas.delete(saga_id)
        assert sagas._engine.registry.live_count == 0


@pytest.mark.parametrize("is_clean", [True, False], ids=["from a snapshot", "from the journal"])
async def test_who_slept_sleeps_on_after_a_restart(
    tmp_path: Path, autojump_clock: MockClock, is_clean: bool
) -> None:
    disk, ledger = LeanDisk(), Away()
    async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
        saga_id = await asleep(sagas, step("a", "away", retry=HOURS))
        before = await sagas.describe(saga_id)
        crashed = disk.copy()
    async with keeping(tmp_path, disk if is_clean else crashed, {"shop": ledger}) as sagas:
        await trio.testing.wait_all_tasks_blocked()
        assert sleeps(sagas, saga_id)
        assert await sagas.describe(saga_id) == before
        ended = await sagas.wait(saga_id, timeout_s=7_000)
        assert ended.status is SagaStatus.COMPLETED
        assert [call.attempt for call in ledger.calls] == [1, 2]
        assert "ActorRestarted" not in await kinds(sagas, saga_id)


async def test_who_only_waits_is_taken_up_by_a_start_without_an_actor(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, ledger = LeanDisk(), Away()
    steps = (step("a", compensation="never", compensationMaxRetries=0), step("b", "fail"))
    async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
        waiting = await begin(sagas, step("a", "away", retry=HOURS), timeout=7_200)
        held = await begin(sagas, *steps)
        await trio.testing.wait_all_tasks_blocked()
        assert sleeps(sagas, waiting)
        assert sleeps(sagas, held)
        crashed = disk.copy()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "SagaActor", None)  # whoever makes one fails
        async with keeping(tmp_path, crashed, {"shop": ledger}) as sagas:
            assert sagas.recovery is not None
            assert not sagas.recovery.from_snapshot
            assert sleeps(sagas, waiting)
            assert sleeps(sagas, held)


async def test_a_late_reply_wakes_who_sleeps_and_is_recorded(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Late(Away):
        async def late(self, call: Call) -> object:
            self.calls.append(call)
            await trio.sleep(20)
            return None

    ledger = Late()
    retry = {"initialInterval": 1_000, "maxInterval": 1_000}
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga_id = await begin(sagas, step("a", "late", timeout=5, retry=retry), timeout=7_200)
        await trio.sleep(6)
        assert sleeps(sagas, saga_id)
        await trio.sleep(60)
        assert sleeps(sagas, saga_id)
