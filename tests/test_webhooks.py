from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from faulty_disk import Fault, FaultyDisk
from keeper import NOON, LeanDisk, begin_and_wait, keeping
from shop import step
from trio.testing import MockClock
from webhook_receiver import SECRET

from sagakeep import limits
from sagakeep.actors import outbox as outbox_module
from sagakeep.actors.outbox import Outbox
from sagakeep.actors.webhooks import GONE, Sender, Webhook, WebhookStatistics
from sagakeep.errors import JournalError
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime.cursor_file import CursorFile
from sagakeep.settings import rules
from sagakeep.webhook import ENDED, RAISED, TYPES, Posted, WebhookSpec
from sagakeep.webhook_secret import secret_of

FAILS = (step("a"), step("b", "fail"))
HELD = step("a", "fail")


class Receiver:
    """Takes what `answer` lets it take; knows every attempt."""

    def __init__(self, answer: Callable[[dict[str, Any]], int] = lambda event: 204) -> None:
        self.answer = answer
        self.attempts: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        self.under_way = self.under_way_max = 0
        self.is_closed = False

    async def post(self, headers: Mapping[str, str], body: bytes) -> Posted:
        event = json.loads(body)
        assert headers["webhook-id"] == event["id"]
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        await trio.sleep(0.01)
        self.under_way -= 1
        self.attempts.append(event)
        status = self.answer(event)
        if 200 <= status < 300:
            self.taken.append(event)
        return Posted(status, "" if status else "no connection: refused")

    async def aclose(self) -> None:
        self.is_closed = True

    def types(self) -> list[str]:
        return [event["type"].removeprefix("sagakeep.") for event in self.taken]

    def subjects(self) -> list[str]:
        return [event["subject"] for event in self.taken]


def spec(**more: Any) -> WebhookSpec:
    return WebhookSpec("http://receiver", (secret_of(SECRET),), **more)


@asynccontextmanager
async def telling(
    directory: Path, receiver: Receiver, disk: Any = None, name: str = "shop", **more: Any
) -> AsyncIterator[Orchestrator]:
    filters = more.pop("filters", {})
    webhooks = {name: Webhook(spec(**filters), receiver)}
    async with keeping(
        directory, disk, webhooks=webhooks, wall=lambda: NOON + trio.current_time(), **more
    ) as sagas:
        yield sagas


def sender_of(sagas: Orchestrator) -> Sender:
    return sagas._engine.webhooks.senders[0]


def now_of(sagas: Orchestrator) -> WebhookStatistics:
    return sender_of(sagas).statistics()


# What is told


async def test_every_way_that_a_saga_comes_to_rest_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    receiver = Receiver()
    async with telling(tmp_path, receiver) as sagas:
        done = await begin_and_wait(sagas, tags={"customer": "42"})
        await begin_and_wait(sagas, *FAILS)
        await begin_and_wait(sagas, HELD, onFailure="hold")
        undo_fails = step("a", compensation="fail"), step("b", "fail")
        await begin_and_wait(sagas, *undo_fails)
        await trio.sleep(5)
        assert now_of(sagas) == WebhookStatistics(4, 0, 4, 0, 0, False)
    kinds = ("saga.compensated", "saga.compensation_failed", "saga.completed", "saga.failed")
    assert sorted(receiver.types()) == [*kinds]
    first = next(event for event in receiver.taken if event["subject"] == done.id)
    assert first["specversion"] == "1.0"
    assert first["subject"] == first["data"]["id"] == done.id
    assert first["data"]["tags"] == {"customer": "42"}
    assert receiver.is_closed


async def test_filters_choose_by_type_name_and_tag(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    receiver = Receiver()
    filters = {
        "types": frozenset({"sagakeep.saga.completed"}),
        "names": frozenset({"order"}),
        "tags": {"of": "shop"},
    }
    async with telling(tmp_path, receiver, filters=filters, look_every_s=1) as sagas:
        wanted = (await begin_and_wait(sagas, tags={"of": "shop", "more": "x"})).id
        await begin_and_wait(sagas, tags={"of": "bank"})
        await begin_and_wait(sagas, name="other", tags={"of": "shop"})
        await begin_and_wait(sagas, *FAILS, tags={"of": "shop"})
        await begin_and_wait(sagas, HELD, onFailure="hold")
        await trio.sleep(5)
        assert sagas.alerts(), "there is one, which this receiver does not want"
    assert receiver.subjects() == [wanted]


async def test_an_alert_is_told_when_it_is_raised_and_when_it_ends(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    receiver = Receiver()
    filters = {"types": frozenset({RAISED, ENDED})}
    async with telling(tmp_path, receiver, filters=filters, look_every_s=1) as sagas:
        saga_id = (await begin_and_wait(sagas, HELD, onFailure="hold")).id
        await trio.sleep(5)
        await sagas.delete(saga_id)
        await trio.sleep(60)
    assert receiver.types() == ["alert.raised", "alert.ended"]
    assert receiver.subjects() == ["saga_held"] * 2
    assert receiver.taken[0]["data"]["rule"] == "saga_held"


def test_the_configuration_knows_every_type() -> None:
    assert set(rules.WEBHOOK_TYPES) == TYPES


# When it is not taken


async def test_what_is_not_taken_is_tried_again_ever_later_with_the_same_id(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    at: list[float] = []

    def answer(event: dict[str, Any]) -> int:
        at.append(trio.current_time())
        return 503 if len(at) < 6 else 200

    receiver = Receiver(answer)
    async with telling(tmp_path, receiver) as sagas:
        await begin_and_wait(sagas)
        await trio.sleep(10)
        assert now_of(sagas).is_failing
        await trio.sleep(60)
        assert not now_of(sagas).is_failing
        assert now_of(sagas).told == 1
    assert len({event["id"] for event in receiver.attempts}) == 1
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert all(later > 1.9 * earlier for earlier, later in pairwise(waits))
    told = [one.getMessage() for one in caplog.records if "webhook shop" in one.getMessage()]
    assert told == [
        "webhook shop: an event is not taken: HTTP 503; it is tried again: see to its receiver",
        "webhook shop: takes events again",
    ]


async def test_an_event_that_is_refused_is_given_up_and_what_is_behind_it_is_told(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    refused: set[str] = set()
    receiver = Receiver(lambda event: 400 if event["subject"] in refused else 200)
    async with telling(tmp_path, receiver) as sagas:
        refused.add((await begin_and_wait(sagas, id="bad")).id)
        good = (await begin_and_wait(sagas, id="good")).id
        await trio.sleep(300)
        assert now_of(sagas).given_up == 1
        last = (await begin_and_wait(sagas, id="last")).id
        await trio.sleep(10)
    assert receiver.subjects() == [good, last]
    attempts = [event for event in receiver.attempts if event["subject"] == "bad"]
    assert len(attempts) == limits.WEBHOOK_REFUSALS_MAX
    assert "of bad is given up: HTTP 400" in caplog.text


async def test_a_receiver_that_is_down_for_too_long_loses_what_is_too_old_and_no_more(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEBHOOK_SAGA_S_MAX", 5000.0)
    is_down = True
    receiver = Receiver(lambda event: 0 if is_down else 200)
    async with telling(tmp_path, receiver) as sagas:
        await begin_and_wait(sagas, id="old")
        await trio.sleep(limits.WEBHOOK_SAGA_S_MAX - 1000)
        await begin_and_wait(sagas, id="young")
        await trio.sleep(2000)
        is_down = False
        await trio.sleep(1000)
        assert now_of(sagas).given_up == 1
    assert receiver.subjects() == ["young"]
    attempts = [event for event in receiver.attempts if event["subject"] == "old"]
    assert len(attempts) < limits.WEBHOOK_ATTEMPTS_MAX


async def test_a_receiver_that_is_gone_is_told_nothing_until_the_next_start_and_then_all(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = LeanDisk()
    gone = Receiver(lambda event: GONE)
    async with telling(tmp_path, gone, disk, look_every_s=1) as sagas:
        for _ in range(3):
            await begin_and_wait(sagas)
            await trio.sleep(10)
        await begin_and_wait(sagas, HELD, onFailure="hold")
        await trio.sleep(10)
        assert now_of(sagas).is_failing
        assert now_of(sagas).given_up == 0
    assert len(gone.attempts) == 1
    assert "take it out of the configuration, or mend it and restart" in caplog.text
    back = Receiver()
    async with telling(tmp_path, back, disk):
        await trio.sleep(10)
    assert sorted(back.types()) == ["saga.completed"] * 3 + ["saga.failed"]


async def test_alerts_beyond_the_bound_are_given_up(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEBHOOK_ALERTS_MAX", 1)
    down = Receiver(lambda event: 0)
    async with telling(tmp_path, down, look_every_s=1) as sagas:
        changed = await _changes_of(sagas)
        for _ in range(5):
            sender_of(sagas).changed(changed)
        assert now_of(sagas).given_up >= 3


async def _changes_of(sagas: Orchestrator) -> Any:
    changes: list[Any] = []
    sagas._engine.alerts.listeners.append(changes.append)
    await begin_and_wait(sagas, HELD, onFailure="hold")
    await trio.sleep(5)
    return changes[0]


# Nobody waits, and nothing grows


async def test_a_receiver_that_takes_for_ever_holds_up_no_saga_and_takes_little_memory(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OUTBOX_EVENTS_MAX", 20)
    monkeypatch.setattr(outbox_module, "READ_FRAMES", 7)
    is_down = True
    receiver = Receiver(lambda event: 0 if is_down else 200)
    async with telling(tmp_path, receiver) as sagas:
        begun_s = trio.current_time()
        ids = {(await begin_and_wait(sagas, *FAILS)).id for _ in range(300)}
        assert trio.current_time() - begun_s < 1
        assert now_of(sagas).waiting <= 20
        assert now_of(sagas).behind_bytes > 10_000
        is_down = False
        await trio.sleep(600)
        assert now_of(sagas).waiting == now_of(sagas).behind_bytes == 0
        assert now_of(sagas).told <= 301, (
            "the one that was on its way when memory gave up is told again"
        )
    assert set(receiver.subjects()) == ids
    assert 1 < receiver.under_way_max <= 16


async def test_what_is_of_one_saga_is_told_in_order(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    failures = 0

    def answer(event: dict[str, Any]) -> int:
        nonlocal failures
        failures += 1
        return 503 if failures % 3 else 200

    receiver = Receiver(answer)
    async with telling(tmp_path, receiver) as sagas:
        saga_id = (await begin_and_wait(sagas, HELD, onFailure="hold")).id
        for _ in range(3):
            await sagas.retry(saga_id)
            await sagas.wait(saga_id, timeout_s=60)
        await trio.sleep(600)
    numbers = [int(event["id"].rpartition(".")[2]) for event in receiver.taken]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 4


# Over the end of a process


async def test_what_was_not_told_is_told_by_the_next_process(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    down = Receiver(lambda event: 0)
    async with telling(tmp_path, down, disk) as sagas:
        ids = [(await begin_and_wait(sagas)).id for _ in range(3)]
    up = Receiver()
    async with telling(tmp_path, up, disk) as sagas:
        ids.append((await begin_and_wait(sagas)).id)
        await trio.sleep(10)
    assert set(up.subjects()) == set(ids)
    assert {event["id"] for event in down.attempts} <= {event["id"] for event in up.taken}
    third = Receiver()
    async with telling(tmp_path, third, disk):
        await trio.sleep(10)
    assert third.attempts == [], "what was told is not told again"


async def test_a_new_webhook_begins_with_now(tmp_path: Path, autojump_clock: MockClock) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        await begin_and_wait(sagas)
    receiver = Receiver()
    async with telling(tmp_path, receiver, disk) as sagas:
        after = (await begin_and_wait(sagas)).id
        await trio.sleep(10)
    assert receiver.subjects() == [after]


async def test_a_deleted_saga_is_not_told_afterwards(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    down = Receiver(lambda event: 0)
    erased = {"segment_bytes": 2_000, "archive_behind_bytes": 0, "erase_after_s": 1.0}
    async with telling(tmp_path, down, disk, **erased) as sagas:
        gone = (await begin_and_wait(sagas)).id
        kept = (await begin_and_wait(sagas)).id
        await sagas.delete(gone)
        await trio.sleep(300)
        assert sagas._engine.eraser.erased == 1
    up = Receiver()
    async with telling(tmp_path, up, disk):
        await trio.sleep(10)
    assert up.subjects() == [kept]


async def test_a_bug_of_a_sender_ends_no_saga_and_loses_no_event(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Receiver):
        async def post(self, headers: Mapping[str, str], body: bytes) -> Posted:
            if not self.attempts:
                self.attempts.append({})
                raise ZeroDivisionError
            return await super().post(headers, body)

    receiver = Buggy()
    async with telling(tmp_path, receiver) as sagas:
        ids = [(await begin_and_wait(sagas)).id for _ in range(3)]
        await trio.sleep(60)
        assert now_of(sagas).behind_bytes == 0
    assert set(receiver.subjects()) == set(ids)
    assert "webhook shop failed and is started again" in caplog.text


# The cursor


async def test_a_cursor_that_cannot_be_written_ends_nothing(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    full = Fault(lambda operation: "cursor.tmp" in operation, lambda: OSError(28, "full"), times=0)
    receiver = Receiver()
    async with telling(tmp_path, receiver, FaultyDisk(LeanDisk(), faults=[full])) as sagas:
        await begin_and_wait(sagas)
        await trio.sleep(10)
    assert receiver.types() == ["saga.completed"]
    assert "after a kill more is told again; mend the disk" in caplog.text


async def test_a_cursor_that_cannot_be_read_ends_the_start(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: CursorFile) -> int | None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(CursorFile, "load", load)
    with pytest.RaisesGroup(
        pytest.RaisesExc(JournalError, match="mend the disk"), flatten_subgroups=True
    ):
        async with telling(tmp_path, Receiver()):
            pass


def test_a_cursor_is_whole_whatever_a_kill_has_left_beside_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = LeanDisk()
    disk.make_directory("w")
    cursor = CursorFile(disk, "w", "shop", "0" * 32)
    assert cursor.load() is None
    left = disk.open("w/shop.cursor.tmp", create=True)
    left.pwrite(b"x" * 500, 0)
    left.close()
    cursor.save(12)
    assert cursor.load() == 12
    cursor.save(3)
    assert cursor.load() == 3
    with caplog.at_level(logging.ERROR):
        assert CursorFile(disk, "w", "shop", "1" * 32).load() is None
    assert "of another journal" in caplog.text


async def test_the_cursor_moves_over_what_no_receiver_wants(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    receiver = Receiver()
    filters = {"names": frozenset({"nobody"})}
    async with telling(tmp_path, receiver, filters=filters) as sagas:
        await begin_and_wait(sagas)
        await trio.sleep(10)
        outbox: Outbox = sender_of(sagas).outbox
        assert outbox.behind_bytes == 0
    assert receiver.attempts == []
