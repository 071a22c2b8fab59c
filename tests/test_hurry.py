"""Retry of what waits for its next attempt: of one saga, and of all of a service."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from keeper import NOON, Ledger, begin, begin_and_wait, history, keeping, kinds
from shop import step
from trio.testing import MockClock

from sagakeep import events as e
from sagakeep.bulk import AT_ONCE, ServiceRetry
from sagakeep.errors import MoveRefused, ServiceNotFound
from sagakeep.explanation_view import explanation_view
from sagakeep.orchestrator import Orchestrator
from sagakeep.service import Call

FAR = {"initialInterval": 3600, "maxInterval": 3600}


class Bank(Ledger):
    """Is down until it is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = True

    async def pay(self, call: Call) -> object:
        return await (self.down if self.is_down else self.do)(call)

    async def refund(self, call: Call) -> object:
        return await self.pay(call)

    async def lost(self, call: Call) -> object:
        return await (self.fail if self.is_down else self.do)(call)


def at_bank(step_id: str, action: str = "pay", **more: object) -> dict[str, object]:
    return {**step(step_id, action, retry=FAR, maxRetries=5, **more), "service": "bank"}


def both() -> dict[str, Ledger]:
    return {"shop": Ledger(), "bank": Bank()}


def mend(services: dict[str, Ledger]) -> None:
    bank = services["bank"]
    assert isinstance(bank, Bank)
    bank.is_down = False


def keep(directory: Path, services: dict[str, Ledger]) -> AbstractAsyncContextManager[Orchestrator]:
    return keeping(directory, services=services, wall=lambda: NOON + trio.current_time())


async def test_the_attempt_that_waits_is_made_now_with_who_and_why(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    services = both()
    async with keep(tmp_path, services) as sagas:
        saga_id = await begin(sagas, at_bank("a"), timeout=86_400)
        await trio.sleep(5)
        moves = {
            one["move"]: one for one in explanation_view(await sagas.explain(saga_id))["moves"]
        }
        assert moves["retry"]["isLegal"]
        assert moves["retry"]["body"] == {"now": True}
        assert moves["retry"]["command"] == f"sagakeep retry {saga_id} --now"
        assert [one["action"] for one in moves["retry"]["begins"]] == ["pay"]
        mend(services)
        began_s = trio.current_time()
        with pytest.raises(MoveRefused, match="tries again by itself"):
            await sagas.retry(saga_id)
        await sagas.retry(saga_id, now=True, by="ada", note="it is back")
        state = await sagas.wait(saga_id, 60)
        assert trio.current_time() - began_s < 1
        assert (state.status, state.retry_count) == ("completed", 0)
        hurried = [one for one in await history(sagas, saga_id) if type(one) is e.StepHurried]
        assert hurried == [e.StepHurried("a", "ada", "it is back")]
        story = explanation_view(await sagas.explain(saga_id))["story"]
        assert any("let be made at once by ada (it is back)" in one["text"] for one in story)


async def test_all_of_a_service_that_waits_is_tried_now_and_nothing_else(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    services = both()
    async with keep(tmp_path, services) as sagas:
        waits = [await begin(sagas, at_bank("a"), timeout=86_400) for _ in range(AT_ONCE * 2 + 3)]
        elsewhere = await begin(sagas, step("a", "down", retry=FAR), timeout=86_400)
        undone = await begin_and_wait(sagas, at_bank("a", "do", compensation="refund"))
        await sagas.compensate(undone.id)
        stuck = await begin_and_wait(
            sagas, at_bank("a", "do", compensation="lost"), step("b", "fail")
        )
        assert stuck.status == "compensation_failed"
        failed = await begin_and_wait(sagas, at_bank("a", "fail"))
        await trio.sleep(10)
        asleep = sagas._engine.committed.live.asleep_count
        assert asleep >= len(waits)
        mend(services)
        done = await sagas.fleet.retry_service("bank", by="ada", note="it is back")
        assert done == ServiceRetry(retried=len(waits) + 2, refused=0)
        began_s = trio.current_time()
        for saga_id in waits:
            assert (await sagas.wait(saga_id, 60)).status == "completed"
        for saga_id in (undone.id, stuck.id):
            assert (await sagas.wait(saga_id, 60)).status == "compensated"
        assert trio.current_time() - began_s < 10
        assert "StepHurried" not in await kinds(sagas, elsewhere)
        assert (await sagas.describe(failed.id)).sequence == failed.sequence
        told = [one for one in await history(sagas, stuck.id) if isinstance(one, e.SagaRetry)]
        assert [(one.by, one.note) for one in told] == [("ada", "it is back")]
        assert await sagas.fleet.retry_service("bank") == ServiceRetry(0, 0)


async def test_a_saga_that_is_paused_refuses_and_is_counted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    services = both()
    async with keep(tmp_path, services) as sagas:
        saga_id = await begin(sagas, at_bank("a"), timeout=86_400)
        await trio.sleep(5)
        await sagas.pause(saga_id)
        with pytest.raises(MoveRefused, match="it is paused: resume it"):
            await sagas.retry(saga_id, now=True)
        assert await sagas.fleet.retry_service("bank") == ServiceRetry(0, 1)


async def test_what_is_hurried_waits_for_a_service_that_is_paused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    services = both()
    async with keep(tmp_path, services) as sagas:
        saga_id = await begin(sagas, at_bank("a"), timeout=86_400)
        await trio.sleep(5)
        mend(services)
        calls = len(services["bank"].calls)
        await sagas.fleet.pause_service("bank")
        assert await sagas.fleet.retry_service("bank") == ServiceRetry(1, 0)
        await trio.sleep(60)
        assert len(services["bank"].calls) == calls
        await sagas.fleet.resume_service("bank")
        assert (await sagas.wait(saga_id, 60)).status == "completed"


async def test_a_probe_in_flight_is_not_made_twice(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Its time has come, and stands in the state until it answers."""

    class Doubt(Ledger):
        async def vanish(self, call: Call) -> object:
            self.calls.append(call)
            raise RuntimeError("nobody knows")

        async def look(self, call: Call) -> object:
            self.calls.append(call)
            if len(self.asked("look")) > 1:
                await self.gate.wait()
            return {"outcome": "done"} if self.gate.is_set() else {}

    shop = Doubt()
    probed = step(
        "a",
        "vanish",
        maxRetries=2,
        inDoubt="probe",
        probe="look",
        retry={"initialInterval": 50, "maxInterval": 50},
    )
    async with keep(tmp_path, {"shop": shop}) as sagas:
        saga_id = await begin(sagas, probed, timeout=86_400)
        await trio.sleep(60)  # three attempts, and a probe
        assert len(shop.asked("look")) == 1
        await sagas.retry(saga_id, now=True)
        await trio.sleep(1)
        assert len(shop.asked("look")) == 2
        with pytest.raises(MoveRefused, match="it is running"):
            await sagas.retry(saga_id, now=True)
        shop.gate.set()
        assert (await sagas.wait(saga_id, 60)).status == "completed"
        assert len(shop.asked("look")) == 2


async def test_a_service_that_nobody_knows_is_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        with pytest.raises(ServiceNotFound):
            await sagas.fleet.retry_service("x")
