from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing
from keeper import (
    NOON,
    LeanDisk,
    Ledger,
    begin,
    begin_and_wait,
    folded,
    history,
    keeping,
    kinds,
    send,
)
from shop import step
from trio.testing import MockClock

from sagakeep import events as e
from sagakeep import limits
from sagakeep.actors.engine import Ports
from sagakeep.actors.job import Job
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.errors import MoveRefused, SagaNotFound, UnknownStep
from sagakeep.messages import Compensate, Message, Wake
from sagakeep.orchestrator import opening_orchestrator
from sagakeep.runtime.blocking import in_turn
from sagakeep.service import AttemptResult, Call, Outcome, ServiceUnavailable
from sagakeep.state import SagaStatus


class Poison:
    """A message that no saga knows: whoever handles it has a bug."""


POISON = cast(Message, Poison())


class Liar:
    """A caller that gives what cannot be written, `lies` times; then it is honest."""

    late_reply_s = 0.0

    def __init__(self, lies: int) -> None:
        self.lies = lies
        self.keys: list[str] = []
        self.attempts: list[int] = []

    async def attempt(self, call: Call) -> AttemptResult:
        self.keys.append(call.idempotency_key)
        self.attempts.append(call.attempt)
        if self.lies:
            self.lies -= 1
            return AttemptResult(Outcome.DONE, object())
        return AttemptResult(Outcome.DONE, {"lies": 0})

    async def aclose(self) -> None:
        pass


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


# Durable, visible, acted upon


async def test_a_step_is_called_only_after_the_event_that_says_so_is_durable(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    seen: list[list[str]] = []

    class Watching(Ledger):
        async def do(self, call: Call) -> object:
            seen.append([type(event).__name__ for event in await history(sagas, call.saga_id)])
            assert folded(disk, tmp_path)[call.saga_id] == await sagas.describe(call.saga_id)
            return await super().do(call)

    async with keeping(tmp_path, disk, {"shop": Watching()}) as sagas:
        await begin_and_wait(sagas)
    assert [names[-1] for names in seen] == ["StepStarted", "StepStarted"]


async def test_a_saga_waits_for_its_backoff_and_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        began_s = trio.current_time()
        saga = await begin_and_wait(sagas, step("a", "flaky"))
        assert saga.status is SagaStatus.COMPLETED
        assert 0.5 <= trio.current_time() - began_s <= 0.6  # half of a second: the draw is 0.5
    assert ledger.asked() == [f"{saga.id}/a/action/1"] * 2


async def test_a_saga_that_is_out_of_time_is_undone_after_its_attempt_has_settled(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga_id = await begin(sagas, step("a"), step("b", "slow"), timeout=0.5)
        await trio.sleep(0.6)
        assert (await sagas.describe(saga_id)).status is SagaStatus.COMPENSATING
        assert ledger.asked("undo") == []
        saga = await sagas.wait(saga_id, 10)
    assert saga.status is SagaStatus.COMPENSATED
    assert ledger.asked("undo") == [f"{saga.id}/{name}/compensation/1" for name in "ba"]


async def test_an_undo_that_failed_for_good_is_an_error_in_the_log_once(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = LeanDisk()
    with caplog.at_level(logging.ERROR):
        async with keeping(tmp_path, disk) as sagas:
            await begin_and_wait(sagas, step("a", compensation="fail"), step("b", "fail"), id="s-1")
        async with keeping(tmp_path, disk):  # it is still so, which is no news
            pass
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("saga s-1 is compensation_failed at step 'a'")


async def test_a_service_that_is_not_configured_any_more_is_an_outcome(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk, ledger = LeanDisk(), Ledger()
    more = {"maxRetries": 0, "compensationMaxRetries": 0}
    async with keeping(tmp_path, disk, {"shop": ledger}) as sagas:
        saga_id = await begin(sagas, step("a", "gated", **more))
    async with keeping(tmp_path, disk, {"other": Ledger()}) as sagas:
        saga = await sagas.wait(saga_id, 100)
    assert saga.status is SagaStatus.COMPENSATION_FAILED
    assert saga.steps["a"].action.outcome is Outcome.UNKNOWN  # its first making may have happened
    assert "service 'shop' is not configured any more" in saga.steps["a"].action.error


# Answers


async def test_a_refused_wish_is_answered_and_changes_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        before = await sagas.describe(saga_id)
        with pytest.raises(MoveRefused):
            await sagas.retry(saga_id)
        with pytest.raises(UnknownStep):
            await sagas.compensate(saga_id, step_id="zz")
        with pytest.raises(MoveRefused):
            await sagas.delete(saga_id)
        assert await sagas.describe(saga_id) is before


async def test_a_message_that_changes_nothing_is_answered_with_the_state(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        assert await send(sagas, saga_id, Wake()) == await sagas.describe(saga_id)


async def test_who_asks_what_crashes_the_saga_is_told_so(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        with pytest.raises(KeyError):
            await send(sagas, saga_id, POISON)


async def test_who_waits_behind_a_crash_is_answered_all_the_same(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    answers: list[object] = []
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))

        async def ask(message: Message) -> None:
            try:
                answers.append(await send(sagas, saga_id, message))
            except KeyError as error:
                answers.append(error)

        async with trio.open_nursery() as nursery:
            for message in (Wake(), POISON, Compensate(by="eve"), POISON, Wake()):
                nursery.start_soon(ask, message)
                await trio.lowlevel.checkpoint()
    assert len(answers) == 5
    assert sum(isinstance(answer, KeyError) for answer in answers) == 2


# Crashes


async def test_a_poison_message_restarts_its_saga_and_no_other(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": (ledger := Ledger())}) as sagas:
        poisoned, other = [await begin(sagas, step("a", "gated")) for _ in range(2)]
        with pytest.raises(KeyError):
            await send(sagas, poisoned, POISON)
        await trio.testing.wait_all_tasks_blocked()
        restarted = [one for one in await history(sagas, poisoned) if type(one) is e.ActorRestarted]
        assert [one.error for one in restarted] == [
            f"KeyError: {Poison!r}"[: limits.ERROR_CHARS_MAX]
        ]
        ledger.gate.set()
        for saga_id in (poisoned, other):
            assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPLETED
        assert "ActorRestarted" not in await kinds(sagas, other)
    assert len(ledger.calls) == 2  # what was in flight at the crash was not called again


async def test_after_three_restarts_in_a_minute_it_is_held_failed_and_a_retry_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": (ledger := Ledger())}) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        for crashes in range(1, limits.RESTARTS_MAX + 2):
            assert (await sagas.describe(saga_id)).status is SagaStatus.RUNNING, crashes
            with pytest.raises(KeyError):
                await send(sagas, saga_id, POISON)
            await trio.testing.wait_all_tasks_blocked()
        held = await sagas.describe(saga_id)
        assert held.status is SagaStatus.FAILED
        assert held.error.startswith("KeyError")
        assert (await kinds(sagas, saga_id))[-3:] == ["ActorRestarted", "StepFailed", "SagaFailed"]
        ledger.gate.set()
        await sagas.retry(saga_id)
        assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPLETED
    assert set(ledger.asked()) == {f"{saga_id}/a/action/1"}  # it may have happened: the same key


async def test_a_saga_that_was_being_undone_is_held_compensation_failed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": (ledger := Ledger())}) as sagas:
        saga_id = await begin(sagas, step("a", compensation="gated"), step("b", "fail"))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(limits.RESTARTS_MAX + 1):
            with pytest.raises(KeyError):
                await send(sagas, saga_id, POISON)
            await trio.testing.wait_all_tasks_blocked()
        held = await sagas.describe(saga_id)
        assert held.status is SagaStatus.COMPENSATION_FAILED
        ledger.gate.set()
        await sagas.retry(saga_id)
        assert (await sagas.wait(saga_id, 10)).status is SagaStatus.COMPENSATED


async def test_restarts_that_are_far_apart_never_hold_a_saga(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated", timeout=3600), timeout=3600)
        for _ in range(10):
            with pytest.raises(KeyError):
                await send(sagas, saga_id, POISON)
            await trio.sleep(limits.RESTART_PERIOD_S / 2)
        assert (await sagas.describe(saga_id)).status is SagaStatus.RUNNING


async def test_an_attempt_whose_outcome_crashed_the_saga_is_made_again_under_its_key(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    liar = Liar(lies=1)
    async with keeping(tmp_path, services={"shop": ServiceSpec(liar)}) as sagas:
        saga = await begin_and_wait(sagas, step("a"))
    assert saga.status is SagaStatus.COMPLETED
    assert (liar.keys, liar.attempts) == ([f"{saga.id}/a/action/1"] * 2, [1, 1])


async def test_an_outcome_that_always_crashes_holds_the_saga_until_an_operator_retries(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    liar = Liar(lies=limits.RESTARTS_MAX + 1)
    async with keeping(tmp_path, services={"shop": ServiceSpec(liar)}) as sagas:
        saga = await begin_and_wait(sagas, step("a"))
        assert saga.status is SagaStatus.FAILED
        assert saga.error.startswith("CodecError")
        await trio.testing.wait_all_tasks_blocked()
        assert len(liar.keys) == limits.RESTARTS_MAX + 1  # what is held makes no attempt
        await sagas.retry(saga.id)
        assert (await sagas.wait(saga.id, 10)).status is SagaStatus.COMPLETED
    assert set(liar.keys) == {f"{saga.id}/a/action/1"}


async def test_a_finished_saga_survives_poison_too(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas)
        for _ in range(limits.RESTARTS_MAX + 2):
            with pytest.raises(KeyError):
                await send(sagas, saga.id, POISON)
            await trio.testing.wait_all_tasks_blocked()
        assert (await sagas.describe(saga.id)).status is SagaStatus.COMPLETED
        await sagas.compensate(saga.id)
        assert (await sagas.wait(saga.id, 10)).status is SagaStatus.COMPENSATED


class Broken:
    """Stands for a gateway with a bug; `real` is what it will be when it is mended."""

    def forget(self, saga_id: str) -> None: ...

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, *arguments: object) -> Job:
        self.submitted += 1
        raise LookupError("a bug in submit")


async def test_a_bug_in_acting_is_told_to_who_asked_though_what_was_asked_is_durable(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        gateways = cast("dict[str, object]", sagas._engine.gateways)
        real, gateways["shop"] = gateways["shop"], Broken()
        parallel = [
            step("elsewhere", dependsOn=[], maxRetries=0) | {"service": "gone"},
            step("a", dependsOn=[]),
        ]
        with pytest.raises(LookupError, match="a bug in submit"):
            await begin(sagas, *parallel, id="x", onFailure="hold")
        with pytest.raises(LookupError, match="a bug in submit"):
            await begin(sagas, step("a"), id="y")
        await trio.testing.wait_all_tasks_blocked()
        for saga_id in "xy":
            held = await sagas.describe(saga_id)
            assert held.status is SagaStatus.FAILED
            assert "a bug in submit" in held.error
        gateways["shop"] = real
        await sagas.retry("y")
        assert (await sagas.wait("y", 10)).status is SagaStatus.COMPLETED
    assert folded(disk, tmp_path)["x"].status is SagaStatus.FAILED


async def test_a_saga_that_crashes_as_it_is_taken_up_keeps_no_other_from_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    services = {"shop": Ledger(), "other": (other := Ledger())}
    async with keeping(tmp_path, disk, services) as sagas:
        await begin(sagas, step("a", "gated"), id="x")
        await begin(sagas, step("a", "gated") | {"service": "other"}, id="y")
    other.gate.set()
    ports = Ports(disk, lambda: NOON, run_blocking=in_turn)
    async with opening_orchestrator(str(tmp_path), services, ports) as sagas:
        cast("dict[str, object]", sagas._engine.gateways)["shop"] = (broken := Stuck())
        await sagas.wait_recovered()
        assert (await sagas.wait("x", 10)).status is SagaStatus.FAILED
        assert (await sagas.wait("y", 10)).status is SagaStatus.COMPLETED
        assert broken.submitted == limits.RESTARTS_MAX + 1


class Stuck(Broken):
    """A broken gateway that takes part in the start and the end of a process."""

    def hold_back(self) -> None: ...

    def release(self) -> None: ...

    async def aclose(self) -> None: ...

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()


async def test_a_probe_that_knows_nothing_is_asked_again_in_its_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Probed(Ledger):
        async def vanish(self, call: Call) -> object:
            self.calls.append(call)
            raise LookupError

        async def ask(self, call: Call) -> object:
            self.calls.append(call)
            return {"outcome": "done", "result": 7} if len(self.asked("ask")) == 3 else {}

    async with keeping(tmp_path, services={"shop": (ledger := Probed())}) as sagas:
        began_s = trio.current_time()
        more = {"maxRetries": 2, "inDoubt": "probe", "probe": "ask"}
        saga = await begin_and_wait(sagas, step("a", "vanish", **more))
        assert saga.status is SagaStatus.COMPLETED
        assert saga.steps["a"].result == 7
        assert trio.current_time() - began_s > 2
    assert ledger.asked("ask") == [f"{saga.id}/a/action/1"] * 3


# Repeated attempts


class Late:
    """Its work is never answered for; what became of it can be asked once the saga's time has passed."""

    def __init__(self) -> None:
        self.asked_at_s: list[float] = []

    async def do(self, call: Call) -> object:
        raise RuntimeError("the connection broke")

    async def ask(self, call: Call) -> object:
        self.asked_at_s.append(trio.current_time())
        if len(self.asked_at_s) == 1:
            raise ServiceUnavailable("busy", retry_after_s=30)
        return {"outcome": "not_done"}


async def test_a_probe_that_waits_is_made_though_the_deadline_comes_before_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    late = Late()
    async with keeping(tmp_path, services={"shop": late}) as sagas:
        a = step("a", inDoubt="probe", probe="ask", maxRetries=1)
        saga = await begin_and_wait(sagas, a, timeout=5, onFailure="hold")
    assert saga.status is SagaStatus.FAILED
    assert len(late.asked_at_s) == 2


async def test_a_refusal_of_a_repeated_attempt_leaves_the_call_in_doubt(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk, first, second = LeanDisk(), Ledger(), Ledger()

    async def refuse(call: Call) -> object:
        return await second.fail(call)

    second.gated = refuse  # type: ignore[method-assign] # another answer to the same action
    async with keeping(tmp_path, disk, {"shop": first}) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.testing.wait_all_tasks_blocked()
    async with keeping(tmp_path, disk, {"shop": second}, wall_s=NOON + 1) as sagas:
        saga = await sagas.wait(saga_id, 100)
    assert first.asked("gated") == second.asked("gated") == [f"{saga_id}/a/action/1"]
    assert saga.status is SagaStatus.COMPENSATED
    assert saga.steps["a"].action.outcome is Outcome.UNKNOWN
    (undo,) = [call for call in second.calls if call.phase == "compensation"]
    assert undo.outcome is Outcome.UNKNOWN


async def test_a_refusal_of_a_first_attempt_is_no_doubt(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": (ledger := Ledger())}) as sagas:
        saga = await begin_and_wait(sagas, step("a", "fail"))
    assert saga.status is SagaStatus.FAILED
    assert ledger.asked() == [f"{saga.id}/a/action/1"]


# Deleting


async def test_a_deleted_saga_has_no_actor_and_takes_no_wish(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas, step("a", "fail"))
        assert sagas._engine.registry.live_count == 1
        await sagas.delete(saga.id, by="eve")
        await trio.testing.wait_all_tasks_blocked()
        assert sagas._engine.registry.live_count == len(sagas._engine.committed.live) == 0
        for wish in (sagas.retry, sagas.compensate, sagas.delete, sagas.describe, sagas.events):
            with pytest.raises(SagaNotFound):
                await wish(saga.id)
