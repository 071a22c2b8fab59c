"""A service that is paused: nobody calls it, whatever waits, fails, sleeps or starts again."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from gateway_desk import Service, serving
from keeper import NOON, LeanDisk, Ledger, begin, begin_and_wait, keeping
from shop import step
from trio.testing import MockClock, wait_all_tasks_blocked

from sagakeep import limits
from sagakeep.actors.service_pauses import NAME
from sagakeep.errors import JournalCorrupt, ServiceNotFound, Unavailable
from sagakeep.explanation_view import explanation_view
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime.journal_directory import seal
from sagakeep.service_pause import ServicePause, pauses_in, pauses_text
from sagakeep.simulation.disk import MemoryFile

PAUSE = ServicePause(NOON, "ada", "they move")
BOTH = {"shop": Ledger, "bank": Ledger}


def two() -> dict[str, Ledger]:
    return {name: make() for name, make in BOTH.items()}


def at_bank(step_id: str, **more: object) -> dict[str, object]:
    return {**step(step_id), "service": "bank", **more}


# The gateway


async def test_nothing_begins_while_it_is_paused_and_all_of_it_in_order_then(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    async with serving(service, concurrency=1) as desk:
        desk.gateway.pause(PAUSE)
        for name in ("a", "b", "c"):
            desk.submit(name)
        await trio.sleep(3600)
        assert service.began == []
        assert desk.gateway.statistics().queued == 3
        desk.gateway.resume()
        await wait_all_tasks_blocked()
        assert service.began == ["a", "b", "c"]


async def test_what_is_in_flight_ends_and_nothing_follows(autojump_clock: MockClock) -> None:
    gate = trio.Event()

    async def wait(_call: object) -> object:
        await gate.wait()
        return await Service().done_at_once(_call)  # type: ignore[arg-type]

    service = Service(wait)  # type: ignore[arg-type]
    async with serving(service, concurrency=2) as desk:
        desk.submit("a")
        await wait_all_tasks_blocked()
        desk.gateway.pause(PAUSE)
        desk.submit("b")
        gate.set()
        await wait_all_tasks_blocked()
        assert desk.outcomes() == [("a", "done", False)]
        assert service.began == ["a"]


async def test_a_paused_service_that_is_down_is_not_probed(autojump_clock: MockClock) -> None:
    async def fail(_call: object) -> object:
        raise OSError

    service = Service(fail)  # type: ignore[arg-type]
    async with serving(service, breaker_failures=2) as desk:
        for number in range(3):
            desk.submit(f"s{number}", saga_id=f"saga-{number}")
        await wait_all_tasks_blocked()
        desk.submit("later")
        desk.gateway.pause(PAUSE)
        began = len(service.began)
        await trio.sleep(3600)
        assert len(service.began) == began
        desk.gateway.resume()
        await trio.sleep(3600)
        assert len(service.began) > began


async def test_a_drain_does_not_wait_for_what_is_paused(autojump_clock: MockClock) -> None:
    async with serving(Service()) as desk:
        desk.gateway.pause(PAUSE)
        desk.submit("a")
        with trio.fail_after(1):
            await desk.gateway.drain()


# Sagas


async def test_a_saga_waits_and_says_why_and_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    services = two()
    async with keeping(tmp_path, services=services) as sagas:
        state = await sagas.fleet.pause_service("bank", by="ada", note="they move")
        assert state.paused == PAUSE
        saga_id = await begin(sagas, step("a"), at_bank("b"))
        await trio.sleep(60)
        assert services["bank"].calls == []
        view = explanation_view(await sagas.explain(saga_id))
        wait = view["waitsFor"]
        assert wait is not None
        assert (wait["kind"], wait["reason"], wait["service"]) == (
            "queue",
            "service_paused",
            "bank",
        )
        assert "to be resumed" in view["summary"]
        assert "paused since 2023-11-14T22:13:20.000000Z by ada: they move" in wait["text"]
        resumed = await sagas.fleet.resume_service("bank")
        assert resumed.paused is None
        assert (await sagas.wait(saga_id, 60)).status == "completed"


async def test_the_deadline_of_a_saga_stands_and_what_did_not_begin_is_not_undone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    services = two()
    async with keeping(tmp_path, services=services) as sagas:
        await sagas.fleet.pause_service("bank")
        saga_id = await begin(sagas, step("a"), at_bank("b"), timeout=30)
        assert (await sagas.wait(saga_id, 60)).status == "compensated"
        assert services["bank"].calls == []
        assert services["shop"].asked("undo")


async def test_an_undo_waits_too(tmp_path: Path, autojump_clock: MockClock) -> None:
    services = two()
    async with keeping(tmp_path, services=services) as sagas:
        saga_id = await begin(sagas, at_bank("a"), step("b"))
        await sagas.wait(saga_id, 60)
        await sagas.fleet.pause_service("bank")
        await sagas.compensate(saga_id)
        assert (await sagas.wait(saga_id, 3600)).status == "compensating"
        assert services["bank"].asked("undo") == []
        await sagas.fleet.resume_service("bank")
        assert (await sagas.wait(saga_id, 60)).status == "compensated"


async def test_a_pause_outlives_the_process_and_so_does_its_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk, services = LeanDisk(), two()
    async with keeping(tmp_path, disk, services=services) as sagas:
        await sagas.fleet.pause_service("bank", by="ada", note="they move")
        saga_id = await begin(sagas, at_bank("a"))
    services = two()
    async with keeping(tmp_path, disk, services=services) as sagas:
        await trio.sleep(60)
        assert services["bank"].calls == []
        assert sagas.service_states()["bank"].paused == PAUSE
        await sagas.fleet.resume_service("bank")
        assert (await sagas.wait(saga_id, 60)).status == "completed"
    async with keeping(tmp_path, disk, services=two()) as sagas:
        assert sagas.service_states()["bank"].paused is None


async def test_a_pause_of_a_service_that_is_gone_is_kept_for_when_it_is_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, services=two()) as sagas:
        await sagas.fleet.pause_service("bank")
    async with keeping(tmp_path, disk) as sagas:
        await sagas.fleet.pause_service("shop")
        assert sagas._engine.pauses.asleep_count == 0
    async with keeping(tmp_path, disk, services=two()) as sagas:
        assert all(one.paused for one in sagas.service_states().values())


async def test_who_paused_first_stands(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        await sagas.fleet.resume_service("shop")
        await sagas.fleet.pause_service("shop", by="ada", note="they move")
        state = await sagas.fleet.pause_service("shop", by="bob")
        assert state.paused == PAUSE


async def test_two_who_pause_at_the_same_time_are_both_heard(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk, services=two()) as sagas, trio.open_nursery() as nursery:
        for name in BOTH:
            nursery.start_soon(sagas.fleet.pause_service, name)
    async with keeping(tmp_path, disk, services=two()) as sagas:
        assert all(one.paused for one in sagas.service_states().values())


async def test_a_disk_that_does_not_take_it_leaves_all_as_it_was(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_file: MemoryFile) -> None:
        raise OSError(5, "broken")

    async with keeping(tmp_path) as sagas:
        with monkeypatch.context() as patch:
            patch.setattr(MemoryFile, "fsync", fsync)
            with pytest.raises(Unavailable, match="cannot be made durable"):
                await sagas.fleet.pause_service("shop")
        assert sagas.service_states()["shop"].paused is None
        await sagas.fleet.pause_service("shop")
        with monkeypatch.context() as patch:
            patch.setattr(MemoryFile, "fsync", fsync)
            with pytest.raises(Unavailable):
                await sagas.fleet.resume_service("shop")
        assert sagas.service_states()["shop"].paused is not None


async def test_a_note_has_a_bound(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAUSES_BYTES_MAX", 100)
    async with keeping(tmp_path) as sagas:
        with pytest.raises(Unavailable, match="100 bytes at most"):
            await sagas.fleet.pause_service("shop", note="x" * 200)


@pytest.mark.parametrize("data", [b"x", seal("[]\n"), seal('{"shop": 1}\n')])
async def test_a_note_that_is_damaged_refuses_the_start(
    tmp_path: Path, autojump_clock: MockClock, data: bytes
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        await sagas.fleet.pause_service("shop")
    disk.put(f"{tmp_path}/{NAME}", data)
    with pytest.raises((JournalCorrupt, ExceptionGroup)) as caught:
        async with keeping(tmp_path, disk):
            raise AssertionError("it started")
    assert NAME in str(caught.value) or NAME in repr(caught.value.exceptions)  # type: ignore[union-attr]


async def test_a_service_that_nobody_knows_is_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        with pytest.raises(ServiceNotFound, match="no service 'x'; configured are shop"):
            await sagas.fleet.pause_service("x")
        with pytest.raises(ServiceNotFound):
            await sagas.fleet.resume_service("x")


async def rules(sagas: Orchestrator) -> dict[str, str]:
    return {one.trouble.rule: one.trouble.summary for one in sagas.alerts()}


async def test_a_paused_service_is_an_alert_and_who_waits_for_it_is_not_stuck(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    services = two()
    wall = lambda: NOON + trio.current_time()  # noqa: E731 - a clock
    async with keeping(
        tmp_path, services=services, look_every_s=1.0, wall=wall, queue_ahead=2
    ) as sagas:
        ids = [(await begin_and_wait(sagas, at_bank("a"))).id for _ in range(12)]
        await sagas.fleet.pause_service("bank", by="ada", note="they move")
        for saga_id in ids:  # an undo has no deadline, and would be late after its timeout
            await sagas.compensate(saga_id)
        await trio.sleep(1000)
        assert sagas._engine.pauses.asleep_count > 0
        found = await rules(sagas)
        assert "saga_stuck" not in found
        assert "saga_unmoved" not in found
        assert found["service_paused"].endswith("by ada: they move; 12 attempts wait for it")
        assert b'sagakeep_service_paused{service="bank"} 1.0' in sagas.metrics()
        assert b'sagakeep_service_paused{service="shop"} 0.0' in sagas.metrics()
        await sagas.fleet.resume_service("bank")
        await trio.sleep(60)
        assert len(services["bank"].asked("undo")) == 12
        assert "service_paused" not in await rules(sagas)


async def test_who_waits_for_a_paused_service_is_known_awake_or_asleep(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, services=two(), queue_ahead=1) as sagas:
        pauses = sagas._engine.pauses
        ended = await begin_and_wait(sagas)
        elsewhere = await begin(sagas, step("a", "gated"))
        assert not pauses.holds(await sagas.describe(elsewhere))
        await sagas.fleet.pause_service("bank")
        ids = [await begin(sagas, at_bank("a"), timeout=86_400) for _ in range(3)]
        await trio.sleep(60)
        asleep = [saga_id for saga_id in ids if sagas._engine.committed.live.is_asleep(saga_id)]
        assert asleep
        assert [saga_id for saga_id in ids if pauses.holds_asleep(saga_id)] == asleep
        assert pauses.asleep_count == len(asleep)
        assert all([pauses.holds(await sagas.describe(saga_id)) for saga_id in ids])
        for saga_id in (ended.id, elsewhere):
            assert not pauses.holds(await sagas.describe(saga_id))


async def test_a_queue_that_is_full_says_that_the_service_is_paused(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SERVICE_QUEUE_CROWDED", 2)
    async with keeping(tmp_path) as sagas:
        await sagas.fleet.pause_service("shop")
        for _ in range(3):
            await begin(sagas)
        await trio.sleep(1)
        with pytest.raises(Unavailable, match="which is paused"):
            await begin(sagas)


def test_a_note_is_read_as_it_was_written() -> None:
    pauses = {"shop": ServicePause(1.5, "ada", "über \N{SNOWMAN}\n"), "bank": PAUSE}
    text = pauses_text(pauses)
    assert text.isascii()
    assert pauses_in(text) == pauses
