"""What operators ask of a saga, in virtual time: pauses above all, which the machine alone cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from keeper import Ledger, begin, begin_and_wait, history, keeping, kinds
from shop import step
from test_alerts import alert_of
from trio.testing import MockClock

from sagakeep import messages as m
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.effects import RunCall
from sagakeep.errors import MoveRefused, SagaMoved, SagaNotFound, UnknownStep
from sagakeep.events import StepFailed
from sagakeep.orchestrator import Orchestrator
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Call, Outcome, ServiceRefused
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.state import SagaStatus
from sagakeep.steering import plan_id_of

SOON = {"initialInterval": 10, "maxInterval": 10}
NEVER = {"maxRetries": 0, "compensationMaxRetries": 0}


def repaired(sagas: Orchestrator) -> int:
    return sagas._engine.never_stuck.repaired


def is_asleep(sagas: Orchestrator, saga_id: str) -> bool:
    return sagas._engine.committed.live.is_asleep(saga_id)


# Pause


async def test_what_is_in_flight_ends_and_nothing_else_begins(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "slow"), step("b"))
        await trio.sleep(0.5)
        paused = await sagas.pause(saga_id, by="ann", note="the bank is down")
        assert paused.paused is not None
        assert (paused.paused.by, paused.paused.note) == ("ann", "the bank is down")
        await trio.sleep(80_000)
        saga = await sagas.describe(saga_id)
        assert saga.completed == ("a",)
        assert ledger.asked() == [f"{saga_id}/a/action/1"]
        assert is_asleep(sagas, saga_id), "it only waits for an operator"
        assert repaired(sagas) == 0
        assert alert_of(sagas, "saga_stuck") is None
        (wait,) = (await sagas.explain(saga_id)).waits
        assert (wait.kind, wait.reason, wait.step_id) == ("operator", "paused", "b")
        await sagas.resume(saga_id)
        assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPENSATED, "its time is up"


async def test_a_call_in_flight_is_waited_for_before_the_operator(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": Ledger()}, look_every_s=1) as sagas:
        await trio.sleep(1)
        saga_id = await begin(sagas, step("a", "gated", timeout=1000), step("b"))
        await trio.sleep(1)
        await sagas.pause(saga_id)
        await trio.sleep(900)
        call, operator = (await sagas.explain(saga_id)).waits
        assert (call.kind, call.step_id, operator.kind) == ("call", "a", "operator")
        assert call.since_utc_s
        assert not is_asleep(sagas, saga_id)
        assert repaired(sagas) == 0


async def test_an_attempt_that_waits_for_its_turn_is_not_begun_before_it_is_resumed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    spec = ServiceSpec(PythonCaller(ledger), 1)
    async with keeping(tmp_path, services={"shop": spec}) as sagas:
        first = await begin(sagas, step("a", "slow"), timeout=1000)
        second = await begin(sagas, step("a"), timeout=1000)
        await trio.sleep(0.1)
        await sagas.pause(second)
        assert (await sagas.wait(first, 10)).status is SagaStatus.COMPLETED
        await trio.sleep(10)
        assert ledger.asked("do") == []
        assert sagas.service_states()["shop"].queued == 0
        await sagas.resume(second)
        assert (await sagas.wait(second, 10)).status is SagaStatus.COMPLETED


async def test_a_backoff_is_over_when_it_is_resumed_and_not_before(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "flaky", retry=SOON), timeout=10_000)
        await trio.sleep(1)
        await sagas.pause(saga_id)
        await trio.sleep(1_000)
        assert len(ledger.calls) == 1
        await sagas.resume(saga_id)
        assert (await sagas.wait(saga_id, 1)).status is SagaStatus.COMPLETED
        assert repaired(sagas) == 0


class Once(Ledger):
    """Its `twice` is done, and the answer is lost with the process; what is asked again is refused."""

    async def twice(self, call: Call) -> object:
        self.calls.append(call)
        if self.effects[call.idempotency_key]:
            raise ServiceRefused("there is one already")
        self.effects[call.idempotency_key] += 1
        await trio.sleep_forever()


async def test_after_a_crash_nothing_is_made_again_before_it_is_resumed_and_then_in_doubt(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk, ledger = MemoryDisk(), Once()
    async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
        saga_id = await begin(sagas, step("a", "twice", **NEVER), step("b"), timeout=10_000)
        await trio.sleep(1)
        await sagas.pause(saga_id)
        after_crash = disk.copy()
    async with keeping(tmp_path, after_crash, {"shop": ledger}, look_every_s=1) as sagas:
        await trio.sleep(1_000)
        assert len(ledger.calls) == 1
        assert is_asleep(sagas, saga_id)
        assert repaired(sagas) == 0
        await sagas.resume(saga_id)
        assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPENSATED
        (failed,) = [one for one in await history(sagas, saga_id) if isinstance(one, StepFailed)]
        assert failed.outcome is Outcome.UNKNOWN, "the first time it may have happened, and did"
    assert ledger.asked() == [f"{saga_id}/a/action/1"] * 2 + [f"{saga_id}/a/compensation/1"]


async def test_an_undo_is_paused_and_resumed(tmp_path: Path, autojump_clock: MockClock) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        undone = step("b", compensation="slow")
        saga_id = await begin(sagas, step("a"), undone, step("c", "fail"), timeout=10_000)
        await trio.sleep(0.5)
        await sagas.pause(saga_id)
        await trio.sleep(1_000)
        assert ledger.asked("undo") == []
        saga = await sagas.describe(saga_id)
        assert (saga.status, saga.completed) == (SagaStatus.COMPENSATING, ("a",))
        await sagas.resume(saga_id)
        assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPENSATED


# What else


async def test_every_wish_is_made_by_its_method_or_as_a_value(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas, step("a"), step("b", "fail"), onFailure="hold")
        edited = await sagas.edit(saga.id, "b", {"n": 2}, by="ann")
        assert edited.steps["b"].action.filled == ({"n": 2},)
        await sagas.wait(saga.id, 10)
        assert (await sagas.move(saga.id, m.Skip("b", {"n": 3}))).status is SagaStatus.COMPLETED
        with pytest.raises(UnknownStep):
            await sagas.skip(saga.id, "nowhere")
        stopped = await sagas.compensate(saga.id, down_to="a", by="ann")
        assert (await sagas.wait(stopped.id, 10)).status is SagaStatus.FAILED
        assert (await sagas.finish(saga.id)).status is SagaStatus.ABANDONED
        again = await sagas.move(saga.id, m.Rerun("", "ann", "once more"))
        assert (again.rerun_of, again.by) == (saga.id, "ann")


async def test_a_wish_for_a_version_that_is_past_is_refused_and_changes_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas, step("a", "fail"))
        for ask in (sagas.retry, sagas.delete, sagas.finish, sagas.rerun):
            with pytest.raises(SagaMoved, match=f"it has moved on, to version {saga.sequence}"):
                await ask(saga.id, versions=(saga.sequence - 1,))
        assert await sagas.describe(saga.id) == saga
        await sagas.retry(saga.id, versions=(saga.sequence,))


async def test_a_plan_is_kept_to_or_refused(tmp_path: Path, autojump_clock: MockClock) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga = await begin_and_wait(sagas, step("a"), step("b"), step("c"))
        plan, state = await sagas.plan_compensation(saga.id, down_to="a")
        assert [one.call.step_id for one in plan.calls] == ["c", "b"]
        assert plan.ends is SagaStatus.FAILED
        plan_id = plan_id_of(state, m.Compensate(down_to="a"))
        with pytest.raises(MoveRefused, match="plan it again"):
            await sagas.compensate(saga.id, plan_id=plan_id)
        await sagas.compensate(saga.id, down_to="a", plan_id=plan_id)
        await sagas.wait(saga.id, 10)
        assert ledger.asked("undo") == [one.call.idempotency_key for one in plan.calls]
        with pytest.raises(MoveRefused, match="plan it again"):
            await sagas.compensate(saga.id, down_to="a", plan_id=plan_id)
        await sagas.retry(saga.id)
        assert (await sagas.wait(saga.id, 10)).status is SagaStatus.COMPLETED
        with pytest.raises(UnknownStep):
            await sagas.plan_compensation(saga.id, down_to="nowhere")


# Rerun


async def test_a_saga_is_run_again_once_and_each_names_the_other(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        old = await begin_and_wait(sagas, step("a"), step("b"), id="s-1", tags={"of": "ada"})
        first = await sagas.rerun("s-1", by="ann", note="lost by the shop")
        assert first.is_new
        again = await sagas.rerun("s-1")
        assert (again.is_new, again.saga.id) == (False, first.saga.id)
        new = await sagas.wait(first.saga.id, 10)
        assert (new.status, new.rerun_of) == (SagaStatus.COMPLETED, "s-1")
        assert new.definition.tags == old.definition.tags
        assert (await sagas.describe("s-1")).rerun_as == new.id
        assert (await kinds(sagas, "s-1"))[-1] == "SagaRerun"
        await sagas.delete(new.id)
        with pytest.raises(SagaNotFound):
            await sagas.rerun("s-1")


async def test_a_rerun_that_was_cut_off_is_begun_by_asking_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        old = await begin_and_wait(sagas, step("a"))
        await sagas._ask(old.id, m.Rerun("s-2"))
        with pytest.raises(SagaNotFound):
            await sagas.describe("s-2")
        started = await sagas.rerun(old.id)
        assert (started.is_new, started.saga.id, started.saga.rerun_of) == (True, "s-2", old.id)


async def test_what_was_edited_is_run_again_as_it_was_edited(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        failing = step("b", "fail", compensation="fail", payload={"n": 1})
        saga = await begin_and_wait(sagas, step("a"), failing, onFailure="hold")
        await sagas.edit(saga.id, "b", {"n": 2})
        await sagas.wait(saga.id, 10)
        await sagas.finish(saga.id)
        again = (await sagas.rerun(saga.id)).saga
        assert again.step("b").payload == {"n": 2}
        assert again.step("a").payload == saga.step("a").payload


async def test_an_undo_that_was_edited_is_run_again_as_it_was_edited(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas, step("a", compensation="fail"), step("b", "fail"))
        assert saga.status is SagaStatus.COMPENSATION_FAILED
        await sagas.edit(saga.id, "a", {"n": 3})
        await sagas.wait(saga.id, 10)
        await sagas.finish(saga.id)
        again = (await sagas.rerun(saga.id)).saga
        assert (again.step("a").compensation_payload, again.step("a").payload) == ({"n": 3}, {})


async def test_a_saga_whose_service_is_gone_is_not_run_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = MemoryDisk()
    async with keeping(tmp_path, disk) as sagas:
        saga = await begin_and_wait(sagas, step("a"))
    async with keeping(tmp_path, disk, {"bank": Ledger()}) as sagas:
        with pytest.raises(MoveRefused, match="service 'shop' is not configured any more"):
            await sagas.rerun(saga.id)
        assert (await sagas.describe(saga.id)).rerun_as == ""


async def test_a_saga_that_has_not_ended_is_not_run_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        with pytest.raises(MoveRefused, match="it is running, and has not ended"):
            await sagas.rerun(saga_id)


async def test_a_forced_end_lets_go_of_what_is_in_flight(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga_id = await begin(sagas, step("a"), step("b", "slow"), step("c"))
        await trio.sleep(0.5)
        saga = await sagas.finish(saga_id, by="ann", note="too late")
        assert saga.status is SagaStatus.ABANDONED
        assert saga.steps["b"].action.outcome is Outcome.UNKNOWN
        assert RunCall("b", "action", 1, 1) not in sagas._engine.registry.begun(saga_id)
        await trio.sleep(100)
        assert ledger.asked("undo") == []
        assert (await sagas.describe(saga_id)).status is SagaStatus.ABANDONED
        assert (await sagas.wait(saga_id, 10)).status is SagaStatus.ABANDONED
