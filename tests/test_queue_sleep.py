"""Sagas that wait in the queue of a service which is away: they sleep, keep their turn, and none is lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing
from keeper import LeanDisk, Ledger, begin, keeping, kinds, send
from shop import step
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.saga import WAKE
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.orchestrator import Orchestrator
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Call, ServiceUnavailable
from sagakeep.state import SagaStatus

DAY = 24 * 3_600
AHEAD = 4


class Mortal(Ledger):
    """Is not there until `is_back`; notes when it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.is_back = False
        self.called_s: list[float] = []

    async def do(self, call: Call) -> object:
        self.called_s.append(trio.current_time())
        if not self.is_back:
            raise ServiceUnavailable("dead")
        return await super().do(call)

    def spec(self, **rules: float) -> ServiceSpec:
        return ServiceSpec(PythonCaller(self), **rules)  # type: ignore[arg-type]


def asleep(sagas: Orchestrator, ids: list[str]) -> list[str]:
    return [saga_id for saga_id in ids if sagas._engine.committed.live.is_asleep(saga_id)]


async def flood(sagas: Orchestrator, count: int, **more: object) -> list[str]:
    """Sagas at a service that counts as down after the first ones."""
    retry = {"initialInterval": 1_000, "maxInterval": 1_000}
    settings = {"timeout": DAY} | more
    ids = [
        await begin(sagas, step("a", retry=retry, maxRetries=9), id=f"s{number:04}", **settings)
        for number in range(count)
    ]
    await trio.sleep(1)
    return ids


async def test_who_waits_for_a_dead_service_sleeps_and_is_called_in_order_when_it_is_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    mortal = Mortal()
    spec = mortal.spec(breaker_failures=5, rate_limit_per_s=50.0, rate_burst=1)
    async with keeping(tmp_path, services={"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = await flood(sagas, 300)
        registry, gateway = sagas._engine.registry, sagas._engine.gateways["shop"]
        waiting = gateway.statistics().queued
        assert waiting > 250
        assert len(asleep(sagas, ids)) >= waiting - AHEAD
        assert len(registry._awake) <= AHEAD + 1
        mortal.is_back = True
        began = len(mortal.called_s)
        for saga_id in ids:
            assert (await sagas.wait(saga_id, timeout_s=DAY)).status is SagaStatus.COMPLETED
        assert mortal.effects == {f"{saga_id}/a/action/1": 1 for saga_id in ids}
        late = [call.saga_id for call in mortal.calls if call.attempt == 1]
        assert late == sorted(late)
        after = mortal.called_s[began:]
        assert all(later - one > 0.0199 for one, later in pairwise(after))
        await trio.testing.wait_all_tasks_blocked()
        assert gateway.statistics().queued == gateway.queue.asleep_count == 0
        assert registry.live_count == 0


async def test_a_deadline_ends_who_sleeps_in_a_queue_and_leaves_no_place_there(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spec = Mortal().spec(breaker_failures=5)
    async with keeping(tmp_path, services={"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = await flood(sagas, 100, timeout=600)
        assert len(asleep(sagas, ids)) > 80
        for saga_id in ids:
            ended = await sagas.wait(saga_id, timeout_s=DAY)
            assert (ended.status, ended.reason) == (SagaStatus.COMPENSATED, "timeout")
        await trio.testing.wait_all_tasks_blocked()
        gateway = sagas._engine.gateways["shop"]
        assert gateway.statistics().queued == gateway.queue.asleep_count == 0
        assert sagas._engine.registry.live_count == 0


async def test_an_operator_ends_who_sleeps_in_a_queue(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spec = Mortal().spec(breaker_failures=5)
    async with keeping(tmp_path, services={"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = await flood(sagas, 40)
        *_, last = asleep(sagas, ids)
        gateway = sagas._engine.gateways["shop"]
        queued = gateway.statistics().queued
        await sagas.compensate(last, by="ann")
        assert (await sagas.wait(last, timeout_s=60)).status is SagaStatus.COMPENSATED
        assert gateway.statistics().queued == queued - 1
        other = asleep(sagas, ids)[-1]
        await send(sagas, other, WAKE)
        await trio.testing.wait_all_tasks_blocked()
        assert sagas._engine.committed.live.is_asleep(other)
        assert gateway.statistics().queued == queued - 1


async def test_who_sleeps_in_a_queue_says_that_it_waits_there(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spec = Mortal().spec(breaker_failures=5)
    async with keeping(tmp_path, services={"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = await flood(sagas, 40)
        *_, last = asleep(sagas, ids)
        explained = await sagas.explain(last)
        wait = explained.waits[0]
        assert (wait.kind, wait.service, wait.step_id) == ("queue", "shop", "a")
        assert wait.queue is not None
        assert wait.queue.queued > 30
        assert sagas._engine.committed.live.is_asleep(last), "looking wakes nobody"


@pytest.mark.parametrize("is_clean", [True, False], ids=["from a snapshot", "from the journal"])
async def test_who_slept_in_a_queue_is_made_after_a_restart(
    tmp_path: Path, autojump_clock: MockClock, is_clean: bool
) -> None:
    disk, mortal = LeanDisk(), Mortal()
    spec = mortal.spec(breaker_failures=5)
    async with keeping(tmp_path, disk, {"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = await flood(sagas, 40)
        assert len(asleep(sagas, ids)) > 25
        crashed = disk.copy()
    mortal.is_back = True
    after = disk if is_clean else crashed
    async with keeping(tmp_path, after, {"shop": spec}, queue_ahead=AHEAD) as sagas:
        for saga_id in ids:
            assert (await sagas.wait(saga_id, timeout_s=DAY)).status is SagaStatus.COMPLETED
            assert "ActorRestarted" not in await kinds(sagas, saga_id)
        assert mortal.effects == {f"{saga_id}/a/action/1": 1 for saga_id in ids}


async def test_whoever_waits_for_its_turn_after_a_start_sleeps_and_goes_out_on_the_ramp(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk, mortal = LeanDisk(), Mortal()
    spec = mortal.spec(breaker_failures=5, ramp_calls_per_s=10.0)
    async with keeping(tmp_path, disk, {"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = await flood(sagas, 200)
    began = len(mortal.called_s)
    async with keeping(tmp_path, disk, {"shop": spec}, queue_ahead=AHEAD) as sagas:
        began_s = trio.current_time()
        gateway = sagas._engine.gateways["shop"]
        assert len(asleep(sagas, ids)) > 150  # held back
        assert gateway.statistics().queued > 150
        await trio.sleep(600)
        assert len(asleep(sagas, ids)) > 150  # released, and the service is still away
        assert len(sagas._engine.registry._awake) <= 2 * AHEAD
        mortal.is_back = True
        for saga_id in ids:
            assert (await sagas.wait(saga_id, timeout_s=DAY)).status is SagaStatus.COMPLETED
        assert mortal.effects == {f"{saga_id}/a/action/1": 1 for saga_id in ids}
        first_s = [at_s - began_s for at_s in mortal.called_s[began:]]
        assert len([at_s for at_s in first_s if at_s < 1.0]) <= 11
        await trio.testing.wait_all_tasks_blocked()
        assert gateway.statistics().queued == gateway.queue.asleep_count == 0


async def test_a_short_queue_and_one_that_moves_are_waited_for_awake(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    mortal = Mortal()
    mortal.is_back = True
    spec = ServiceSpec(PythonCaller(mortal), 1)
    async with keeping(tmp_path, services={"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = [await begin(sagas, step("a", "gated")) for _ in range(50)]
        await trio.testing.wait_all_tasks_blocked()
        assert asleep(sagas, ids) == []
        mortal.gate.set()
        for saga_id in ids:
            assert (await sagas.wait(saga_id, timeout_s=60)).status is SagaStatus.COMPLETED
    assert limits.QUEUE_AWAKE_MAX > 50


async def test_the_overdue_in_a_queue_are_counted_as_stuck(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spec = Mortal().spec(breaker_failures=5)
    async with keeping(tmp_path, services={"shop": spec}, queue_ahead=AHEAD) as sagas:
        ids = await flood(sagas, 40)
        live = sagas._engine.committed.live
        sleeping = asleep(sagas, ids)
        due = [live.due_utc_s(saga_id) for saga_id in sleeping]
        assert all(due)
        assert live.overdue_count(max(one or 0.0 for one in due) + 10.0) == len(sleeping)
