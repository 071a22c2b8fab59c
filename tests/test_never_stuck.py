from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from keeper import Ledger, begin, begin_and_wait, keeping, kinds
from shop import step
from test_alerts import alert_of
from test_queue_sleep import DAY, Mortal, asleep, flood
from trio.testing import MockClock

from sagakeep.actors import never_stuck
from sagakeep.actors.never_stuck import NothingMoves
from sagakeep.actors.saga import SagaActor
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime import wake_list
from sagakeep.runtime.wake_list import WakeList
from sagakeep.state import SagaStatus

SOON = {"initialInterval": 10, "maxInterval": 10}
LATE = {"initialInterval": 5_000, "maxInterval": 5_000}


def actor_of(sagas: Orchestrator, saga_id: str) -> SagaActor:
    return sagas._engine.registry._awake[saga_id]


def repaired(sagas: Orchestrator) -> int:
    return sagas._engine.never_stuck.repaired


async def settled(sagas: Orchestrator, saga_id: str) -> SagaStatus:
    return (await sagas.wait(saga_id, timeout_s=20_000)).status


# What is as it should be


async def test_nothing_is_repaired_that_is_well(tmp_path: Path, autojump_clock: MockClock) -> None:
    mortal = Mortal()
    spec = mortal.spec(breaker_failures=5, rate_limit_per_s=50.0, rate_burst=1)
    async with keeping(tmp_path, services={"shop": spec}, look_every_s=1, queue_ahead=4) as sagas:
        queued = await flood(sagas, 100)
        await begin_and_wait(sagas, step("a", "fail"), onFailure="hold")
        await trio.sleep(60)
        assert len(asleep(sagas, queued)) > 50
        mortal.is_back = True
        for saga_id in queued:
            assert await settled(sagas, saga_id) is SagaStatus.COMPLETED
        soon = await begin(sagas, step("a", "flaky", maxRetries=3, retry=SOON))
        late = await begin(sagas, step("a", "flaky", maxRetries=1, retry=LATE), timeout=DAY)
        await trio.sleep(300)
        assert await settled(sagas, soon) is SagaStatus.COMPLETED
        assert await settled(sagas, late) is SagaStatus.COMPLETED
        assert repaired(sagas) == 0
        assert sagas._engine.never_stuck.checked > 1_000
        assert alert_of(sagas, "saga_unmoved") is None


async def test_nobody_looks_when_alerts_are_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        await begin(sagas, step("a", "gated"))
        await trio.sleep(10)
        assert sagas._engine.never_stuck.checked == 0


async def test_who_waits_for_timers_that_are_behind_is_not_stuck(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services={"shop": Ledger()}, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.testing.wait_all_tasks_blocked()
        autojump_clock.jump(
            3_600
        )  # a suspended machine goes on: nothing that is due was called yet
        assert sagas._engine.never_stuck._flaw(saga_id) == ""


# What is broken on purpose


async def test_a_saga_whose_timer_is_lost_is_told_and_goes_on(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.sleep(1)
        timer = actor_of(sagas, saga_id)._timer
        assert timer is not None
        timer.drop()
        await trio.sleep(5)
        assert repaired(sagas) == 1
        alert = alert_of(sagas, "saga_unmoved")
        assert alert is not None
        assert alert.trouble.sagas == (saga_id,)
        ledger.gate.set()
        assert await settled(sagas, saga_id) is SagaStatus.COMPLETED
        assert "ActorRestarted" in await kinds(sagas, saga_id)
        await trio.sleep(400)
        assert sagas.alerts() == []
    assert f"saga {saga_id} had nothing to move it: no timer is set" in caplog.text


async def test_a_saga_whose_attempt_is_lost_makes_it_again_under_the_same_key(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.sleep(1)
        actor_of(sagas, saga_id)._jobs.clear()
        ledger.gate.set()  # the answer to the first comes late
        await trio.sleep(10)
        assert await settled(sagas, saga_id) is SagaStatus.COMPLETED
    assert len(set(ledger.asked("gated"))) == 1


@pytest.mark.parametrize(
    ("harm", "flaw"),
    [
        ("reported", "has gone astray"),
        ("unwanted", "has gone astray"),
        ("endless", "is in no queue, and has not ended with its timeout"),
        ("late", "its timer was due long ago"),
        ("unread", "no turn will"),
    ],
)
async def test_each_thing_that_may_be_missing_is_named_and_made_again(
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    harm: str,
    flaw: str,
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.sleep(1)
        _harm(actor_of(sagas, saga_id), harm)
        await trio.sleep(8)
        assert repaired(sagas) == 1
        ledger.gate.set()
        assert await settled(sagas, saga_id) is SagaStatus.COMPLETED
    assert flaw in caplog.text


def _harm(actor: SagaActor, harm: str) -> None:
    (job,) = actor._jobs.values()
    match harm:
        case "reported":
            job.is_reported = True
        case "unwanted":
            job.is_wanted = False
        case "endless":
            job.began_s -= 5_000
        case "late":
            assert actor._timer is not None
            actor._timer.due_s -= 1e6
        case "unread":
            actor._is_taking_up = True


async def test_a_live_saga_without_an_actor_gets_one(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.sleep(1)
        del sagas._engine.registry._awake[saga_id]
        await trio.sleep(8)
        ledger.gate.set()
        assert await settled(sagas, saga_id) is SagaStatus.COMPLETED
    assert "it is live, and has no actor" in caplog.text


async def test_a_sleeper_that_nothing_will_wake_is_woken(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "down", maxRetries=1, retry=LATE), timeout=DAY)
        await trio.sleep(1)
        assert sagas._engine.committed.live.is_asleep(saga_id)
        sagas._engine.registry._wake_list._due.clear()
        sagas._engine.registry._wake_list._seconds.clear()
        await trio.sleep(8)
        assert repaired(sagas) == 1
        assert await settled(sagas, saga_id) is SagaStatus.FAILED
    assert "and nothing will wake it" in caplog.text


async def test_a_sleeper_whose_place_in_a_queue_is_lost_is_woken(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    mortal = Mortal()
    spec = mortal.spec(breaker_failures=5, rate_limit_per_s=50.0, rate_burst=1)
    async with keeping(tmp_path, services={"shop": spec}, look_every_s=1, queue_ahead=4) as sagas:
        last = asleep(sagas, await flood(sagas, 30))[-1]
        sagas._engine.gateways["shop"].forget(last)
        await trio.sleep(8)
        assert repaired(sagas) == 1
        mortal.is_back = True
        assert await settled(sagas, last) is SagaStatus.COMPLETED
    assert "has its place in no queue" in caplog.text


async def test_who_cannot_be_repaired_is_tried_again_after_a_while_only(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        await trio.sleep(1)
        monkeypatch.setattr(never_stuck, "TOLD_S", 20.0)
        monkeypatch.setattr(sagas._engine.registry, "repair", lambda saga_id, flaw: None)
        actor_of(sagas, saga_id)._jobs.clear()
        await trio.sleep(15)
        assert repaired(sagas) == 1
        await trio.sleep(12)
        assert repaired(sagas) == 2


async def test_who_ends_between_two_looks_is_left_alone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        saga_id = (await begin_and_wait(sagas)).id
        sagas._engine.registry.repair(saga_id, NothingMoves("gone"))
        assert saga_id not in sagas._engine.registry._awake


# The list of wakes


async def test_the_wake_list_knows_who_is_in_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = WakeList(lambda name: None, lambda: False)
    names.add("a", 10.5)
    assert names.has("a", 10.9)
    assert not names.has("a", 11.0)
    names.add("b", 11.0)
    assert names.has("b", 11.0)
    assert not names.has("b", 10.5)
    names.add("c", 11.2)
    assert names.has("c", 11.0)
    monkeypatch.setattr(wake_list, "LOOKED_UP_MAX", 1)
    assert names.has("nobody", 11.0), "too many to look through"
