from __future__ import annotations

from pathlib import Path

import pytest
import trio
from keeper import LeanDisk, Ledger, begin, begin_and_wait, keeping
from shop import step
from test_health import SmallDisk
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.alerts import CALM_S, Changed
from sagakeep.actors.saga_watch import AT_ONCE
from sagakeep.actors.service_watch import WINDOW_S
from sagakeep.alert import SAGAS_NAMED_MAX, Alert, Severity
from sagakeep.errors import Unavailable
from sagakeep.orchestrator import Orchestrator, ServiceSpec
from sagakeep.python_caller import PythonCaller
from sagakeep.runtime.histogram import SECONDS
from sagakeep.thresholds import SLOW_S_MAX, Thresholds

UNDO_FAILS = (
    step("a", compensation="down", compensationMaxRetries=0),
    step("b", "fail"),
)


def alert_of(sagas: Orchestrator, rule: str) -> Alert | None:
    return next((alert for alert in sagas.alerts() if alert.trouble.rule == rule), None)


def changes_of(sagas: Orchestrator) -> list[Changed]:
    changes: list[Changed] = []
    sagas._engine.alerts.listeners.append(changes.append)
    return changes


async def test_when_all_is_well_there_is_no_alert(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        await begin_and_wait(sagas)
        await trio.sleep(60)
        assert sagas.alerts() == []


async def test_an_undo_that_failed_is_told_within_five_seconds_and_names_its_sagas(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        changes = changes_of(sagas)
        first = (await begin_and_wait(sagas, *UNDO_FAILS)).id
        await trio.sleep(5)
        alert = alert_of(sagas, "undo_failed")
        assert alert is not None
        assert alert.trouble.severity is Severity.CRITICAL
        assert alert.trouble.sagas == (first,)
        second = (await begin_and_wait(sagas, *UNDO_FAILS)).id
        await trio.sleep(5)
        grown = alert_of(sagas, "undo_failed")
        assert grown is not None
        assert grown.trouble.count == 2
        assert set(grown.trouble.sagas) == {first, second}
        assert (grown.since_utc_s, grown.number) == (alert.since_utc_s, alert.number)
    assert [change.is_raised for change in changes] == [True], "one alert, however many sagas"
    told = [one.getMessage() for one in caplog.records if one.name == "sagakeep.actors.alerts"]
    assert told[0].startswith("alert: 1 saga is compensation_failed")


async def test_an_alert_ends_when_its_trouble_has_been_gone_for_a_while(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        changes = changes_of(sagas)
        saga_id = (await begin_and_wait(sagas, step("a", "fail"), onFailure="hold")).id
        await trio.sleep(3)
        assert [alert.trouble.rule for alert in sagas.alerts()] == ["saga_held"]
        await sagas.delete(saga_id)
        await trio.sleep(CALM_S - 5)
        assert alert_of(sagas, "saga_held"), "it may come again at once"
        await trio.sleep(10)
        assert sagas.alerts() == []
    assert [change.is_raised for change in changes] == [True, False]


async def test_an_alert_does_not_wait_for_the_names_of_its_sagas(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cannot(query: object) -> None:
        raise Unavailable("the list of sagas cannot be read")

    async with keeping(tmp_path, look_every_s=1) as sagas:
        monkeypatch.setattr(sagas._engine.read_model, "list", cannot)
        await begin_and_wait(sagas, *UNDO_FAILS)
        await trio.sleep(2)
        alert = alert_of(sagas, "undo_failed")
        assert alert is not None
        assert (alert.trouble.count, alert.trouble.sagas) == (1, ())


async def test_a_service_that_fails_half_of_its_attempts_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spec = ServiceSpec(PythonCaller(Ledger()), breaker_failures=0)
    async with keeping(tmp_path, look_every_s=1, services={"shop": spec}) as sagas:
        await trio.sleep(1)
        for _ in range(9):
            await begin(sagas, step("a", "down", maxRetries=1))
        await trio.sleep(5)
        assert alert_of(sagas, "service_errors") is None, "too few to say"
        await begin(sagas, step("a", "down", maxRetries=1))
        await trio.sleep(5)
        alert = alert_of(sagas, "service_errors")
        assert alert is not None
        assert (alert.trouble.subject, alert.trouble.count) == ("shop", 20)
        assert alert.trouble.summary.startswith("100% of 20 attempts at service 'shop'")
        await trio.sleep(WINDOW_S + CALM_S + 5)
        assert alert_of(sagas, "service_errors") is None


async def test_a_service_that_counts_as_down_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        for _ in range(30):
            await begin(sagas, step("a", "gated", timeout=0.5, maxRetries=0))
        await trio.sleep(3)
        alert = alert_of(sagas, "breaker_open")
        assert alert is not None
        assert alert.trouble.summary.startswith("service 'shop' counts as down")
        assert b'sagakeep_service_breaker{service="shop",state="closed"} 0.0' in sagas.metrics()


async def test_what_a_service_refuses_raises_no_alert(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        await trio.sleep(1)
        for _ in range(30):
            await begin(sagas, step("a", "fail"))
        await trio.sleep(3)
        assert sagas.alerts() == []


async def test_a_service_of_which_one_in_twenty_attempts_is_slow_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, look_every_s=1, thresholds=Thresholds(slow_s=0.5)) as sagas:
        await trio.sleep(1)
        for number in range(40):
            await begin(sagas, step("a", "slow" if number % 10 == 0 else "do"))
        await trio.sleep(3)
        alert = alert_of(sagas, "service_slow")
        assert alert is not None
        assert alert.trouble.severity is Severity.WARNING
        assert "'shop' took more than 0.5 s" in alert.trouble.summary


async def test_a_saga_that_waits_for_what_should_have_come_long_ago_is_stuck(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    thresholds = Thresholds(stuck_after_s=60)
    services = {"shop": Ledger(), "busy": Ledger()}
    rest = {"service": "busy", "kind": "retriable", "timeout": 10, "dependsOn": ["a"]}
    steps = (step("a", kind="pivot"), step("b", **rest))  # beyond the pivot no deadline moves it
    async with keeping(tmp_path, services=services, look_every_s=1, thresholds=thresholds) as sagas:
        sagas._engine.gateways["busy"].hold_back()  # as after a start: what is submitted waits
        began_s, noon_s = trio.current_time(), sagas._engine.clock.now_utc_s()
        now_s = trio.current_time
        sagas._engine.alerts.sagas._now_utc_s = lambda: noon_s + now_s() - began_s
        ids = [await begin(sagas, *steps) for _ in range(AT_ONCE + 1)]
        await begin(sagas, step("a", service="busy", timeout=10))  # its deadline will move it
        await trio.sleep(65)
        assert sagas.alerts() == []
        await trio.sleep(10)
        alert = alert_of(sagas, "saga_stuck")
        assert alert is not None
        assert alert.trouble.count == AT_ONCE + 1
        assert alert.trouble.sagas == tuple(ids[:SAGAS_NAMED_MAX])


async def test_a_saga_that_waits_for_a_person_is_not_stuck(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(
        tmp_path, look_every_s=1, thresholds=Thresholds(stuck_after_s=1e-9)
    ) as sagas:
        await begin_and_wait(sagas, step("a", "fail"), onFailure="hold")
        await trio.sleep(30)
        assert alert_of(sagas, "saga_stuck") is None


async def test_a_disk_below_its_reserve_is_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    disk = SmallDisk()
    async with keeping(tmp_path, disk, look_every_s=1) as sagas:
        disk.free = limits.DISK_RESERVE_BYTES - 1
        await trio.sleep(3)
        alert = alert_of(sagas, "disk_low")
        assert alert is not None
        assert "below the reserve" in alert.trouble.summary


async def test_a_journal_that_stalls_is_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path, LeanDisk(), look_every_s=1) as sagas:
        sagas._engine.journal.writing_since_s = trio.current_time()
        await trio.sleep(7)
        alert = alert_of(sagas, "journal_stalled")
        assert alert is not None
        assert "a write to the journal has taken" in alert.trouble.summary
        sagas._engine.journal.writing_since_s = None


async def test_the_worst_comes_first(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path, look_every_s=1) as sagas:
        await begin_and_wait(sagas, step("a", "fail"), onFailure="hold")
        await trio.sleep(2)
        await begin_and_wait(sagas, *UNDO_FAILS)
        await trio.sleep(2)
        assert [alert.trouble.rule for alert in sagas.alerts()] == ["undo_failed", "saga_held"]


def test_a_slow_attempt_can_be_told_from_a_slower_one_up_to_the_bound():
    assert SECONDS[-1] == SLOW_S_MAX
