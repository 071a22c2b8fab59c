from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from keeper import LeanDisk, Ledger, begin, begin_and_wait, history, keeping, kinds, send
from msgspec.structs import replace
from shop import saga, step
from trio.testing import MockClock, wait_all_tasks_blocked

from sagakeep import events as e
from sagakeep import limits
from sagakeep.actors.registry import Deliver
from sagakeep.codec import CodecError
from sagakeep.definition import SagaDefinition
from sagakeep.errors import IdempotencyKeyReused, SagaExists, SagaNotFound, Unavailable
from sagakeep.messages import AttemptEnded, Started, Wake
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime.mailbox import MailboxClosed, MailboxFull, Reply
from sagakeep.service import AttemptResult, Outcome
from sagakeep.state import SagaState, SagaStatus
from sagakeep.validation import parse_definition


async def start(sagas: Orchestrator, key: str = "", body: bytes = b"", **more: object) -> Started:
    definition = parse_definition(saga(step("a"), **more), None)
    return await sagas.start(definition, idempotency_key=key, body_digest=body)


async def race(sagas: Orchestrator, *wishes: tuple[str, bytes, str]) -> list[str]:
    """Begin sagas by (key, body, id) at the same time; say what became of each."""
    said: list[str] = [""] * len(wishes)

    async def one(index: int, key: str, body: bytes, saga_id: str) -> None:
        try:
            started = await start(sagas, key, body, **({"id": saga_id} if saga_id else {}))
            said[index] = "new" if started.is_new else f"again {started.saga.id == saga_id}"
        except (SagaExists, IdempotencyKeyReused) as error:
            said[index] = type(error).__name__

    async with trio.open_nursery() as nursery:
        for index, wish in enumerate(wishes):
            nursery.start_soon(one, index, *wish)
            await trio.testing.wait_all_tasks_blocked(0)
    return said


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


# Ids


async def test_an_id_is_given_once_while_live_when_finished_when_deleted_and_after_a_restart(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        await begin(sagas, step("a", "gated"), id="live")
        await begin_and_wait(sagas, id="finished")
        await begin_and_wait(sagas, id="deleted")
        await sagas.delete("deleted")
        with pytest.raises(SagaExists, match="was deleted, and its id stays taken"):
            await start(sagas, id="deleted")
        for saga_id in ("live", "finished", "deleted"):
            with pytest.raises(SagaExists):
                await start(sagas, id=saga_id)
    async with keeping(tmp_path, disk) as sagas:
        for saga_id in ("live", "finished", "deleted"):
            with pytest.raises(SagaExists):
                await start(sagas, id=saga_id)
        assert sagas.statistics().total == 2


async def test_of_many_wishes_for_an_id_at_once_the_first_is_granted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        said = await race(sagas, *[("", b"", "x")] * 10, *[("", b"", "y")] * 2)
        assert said == ["new", *["SagaExists"] * 9, "new", "SagaExists"]
        assert sagas._engine.registry._turns == {}


async def test_an_id_whose_creation_failed_is_free_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        with pytest.raises(CodecError, match="cannot be written"):
            await sagas.start(unwritable("x"))
        with pytest.raises(CodecError, match="cannot be written"):
            await sagas.start(unwritable(""))
        assert sagas._engine.registry.live_count == 0
        assert (await start(sagas, id="x")).is_new


def unwritable(saga_id: str) -> SagaDefinition:
    """A definition that validation would not have let through."""
    made = parse_definition(saga(step("a")), None)
    bad = replace(made.steps[0], payload={"n": 1 << 80})
    return replace(made, id=saga_id, steps=(bad,))


# Keys


async def test_the_same_key_and_body_give_the_same_saga_live_finished_and_after_a_restart(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        first = await start(sagas, "k", b"body")
        assert first.is_new
        for _ in range(2):
            again = await start(sagas, "k", b"body")
            assert (again.is_new, again.saga.id) == (False, first.saga.id)
            await sagas.wait(first.saga.id, 10)
        assert again.saga.status in (SagaStatus.RUNNING, SagaStatus.COMPLETED)
    async with keeping(tmp_path, disk) as sagas:
        again = await start(sagas, "k", b"body")
        assert (again.is_new, again.saga.id) == (False, first.saga.id)
        assert again.saga.status is SagaStatus.COMPLETED
        with pytest.raises(IdempotencyKeyReused):
            await start(sagas, "k", b"other")


async def test_the_key_of_a_deleted_saga_is_not_free(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        first = await start(sagas, "k", b"body")
        await sagas.wait(first.saga.id, 10)
        await sagas.delete(first.saga.id)
        for body in (b"body", b"other"):  # which it was made of is forgotten
            with pytest.raises(SagaExists, match="was deleted"):
                await start(sagas, "k", body)
    async with keeping(tmp_path, disk) as sagas:
        with pytest.raises(SagaExists, match="was deleted"):
            await start(sagas, "k", b"body")


async def test_of_many_wishes_with_a_key_at_once_one_begins_a_saga(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        said = await race(sagas, *[("k", b"body", "")] * 5, ("k", b"other", ""), ("l", b"body", ""))
        assert Counter(word.split()[0] for word in said) == {
            "new": 2,
            "again": 4,
            "IdempotencyKeyReused": 1,
        }
        assert sagas.statistics().total == 2


async def test_wishes_that_cross_in_id_and_key_all_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        said = await race(
            sagas,
            *[("k", b"", "x"), ("l", b"", "x"), ("k", b"", "y"), ("l", b"", "y"), ("m", b"", "x")],
        )
        assert said == ["new", "SagaExists", "again False", "new", "SagaExists"]
        assert sagas._engine.registry._turns == {}


# Finished sagas


async def test_finished_sagas_leave_memory_and_answer_all_the_same(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        done = [await begin(sagas) for _ in range(5)]
        for saga_id in done:
            await sagas.wait(saga_id, 60)
        await trio.testing.wait_all_tasks_blocked()
        engine = sagas._engine
        assert engine.registry.live_count == len(engine.committed.live) == 0
        assert engine.registry._budgets == engine.registry._waking == {}
        for saga_id in done:
            assert (await sagas.describe(saga_id)).status is SagaStatus.COMPLETED
            assert (await kinds(sagas, saga_id))[-1] == "SagaCompleted"
        undone = await sagas.compensate(done[0])
        assert undone.status is SagaStatus.COMPENSATING
        assert (await sagas.wait(done[0], 60)).status is SagaStatus.COMPENSATED
        await sagas.retry(done[0])
        assert (await sagas.wait(done[0], 60)).status is SagaStatus.COMPLETED
        await sagas.delete(done[1])
        with pytest.raises(SagaNotFound):
            await sagas.describe(done[1])
        await trio.testing.wait_all_tasks_blocked()
        assert engine.registry.live_count == 0


async def test_many_wishes_for_a_finished_saga_wake_it_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        made = await begin_and_wait(sagas)
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await send(sagas, made.id, Wake()))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert answers == [made] * 20


async def test_more_wishes_than_a_mailbox_holds_end_neither_the_waking_nor_the_process(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read = trio.Event()
    async with keeping(tmp_path) as sagas:
        made = await begin_and_wait(sagas)
        reader = sagas._engine.history
        read = reader.state

        async def read_later(last: tuple[int, int]) -> SagaState:
            await may_read.wait()
            return await read(last)

        monkeypatch.setattr(reader, "state", read_later)
        ask = sagas._engine.registry.mailbox.ask_nowait
        replies = [ask(Deliver(made.id, Wake())) for _ in range(limits.MAILBOX_MAX + 5)]
        await wait_all_tasks_blocked()
        may_read.set()
        outcomes = Counter([await kind_of(reply) for reply in replies])
        assert outcomes["MailboxFull"] == 5
        assert await sagas.describe(made.id) == made


async def test_more_wishes_than_a_live_sagas_mailbox_holds_are_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        ask = sagas._engine.registry.mailbox.ask_nowait
        replies = [ask(Deliver(saga_id, Wake())) for _ in range(limits.MAILBOX_MAX + 1)]
        outcomes = Counter([await kind_of(reply) for reply in replies])
        assert outcomes["MailboxFull"] <= 1
        assert sum(outcomes.values()) == limits.MAILBOX_MAX + 1


async def test_a_full_mailbox_is_told_to_who_asks_and_passed_over_at_the_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))
        registry = sagas._engine.registry
        actor = registry._awake[saga_id]
        actor._is_resting = True  # as it is while it waits for the disk
        waiting = [actor.mailbox.ask_nowait(Wake()) for _ in range(limits.MAILBOX_MAX)]
        with pytest.raises(MailboxFull):
            await send(sagas, saga_id, Wake())
        await registry.settle()
    assert {await kind_of(reply) for reply in waiting} == {"MailboxClosed"}


async def test_a_bug_in_making_a_saga_is_its_creators_to_know(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    made = parse_definition(saga(step("a"), step("b")), None)
    impossible = replace(made, steps=(replace(made.steps[0], depends_on=("nobody",)),))
    async with keeping(tmp_path) as sagas:
        for definition in (impossible, replace(impossible, id="x")):
            with pytest.raises(Exception, match="nobody"):
                await sagas.start(definition)
        assert sagas._engine.registry.live_count == 0
        assert (await begin_and_wait(sagas, id="x")).status is SagaStatus.COMPLETED


async def kind_of(reply: Reply) -> str:
    try:
        return type(await reply.wait()).__name__
    except Exception as error:
        return type(error).__name__


async def test_a_wish_for_nobody_is_refused(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        for wish in (sagas.compensate, sagas.retry, sagas.delete):
            with pytest.raises(SagaNotFound):
                await wish("nobody")
        assert sagas._engine.registry._waking == {}


async def test_a_late_reply_wakes_a_finished_saga_to_record_it_and_changes_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        made = await begin_and_wait(sagas)
        late = AttemptEnded(
            "a", "action", 1, 1, AttemptResult(Outcome.DONE, {"late": 1}), late=True
        )
        sagas._engine._post_late(made.id, late)
        await trio.testing.wait_all_tasks_blocked()
        (reply,) = [one for one in await history(sagas, made.id) if isinstance(one, e.LateReply)]
        assert reply.result == {"late": 1}
        assert (await sagas.describe(made.id)).status is SagaStatus.COMPLETED
        assert sagas._engine.registry.live_count == 0


async def test_a_late_reply_for_a_deleted_saga_is_let_go(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        made = await begin_and_wait(sagas)
        await sagas.delete(made.id)
        before = sagas.journal_statistics().records
        late = AttemptEnded("a", "action", 1, 1, AttemptResult(Outcome.DONE), late=True)
        sagas._engine._post_late(made.id, late)
        await trio.testing.wait_all_tasks_blocked()
        assert sagas.journal_statistics().records == before


# Bounds and the end


async def test_one_saga_more_than_may_be_live_is_refused(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        monkeypatch.setattr(limits, "LIVE_SAGAS_MAX", 3)
        for _ in range(3):
            await begin(sagas, step("a", "gated"))
        with pytest.raises(Unavailable, match="3 sagas are live"):
            await begin(sagas)
        definition = parse_definition(saga(step("a", "gated")), None)
        ledger.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        many = await sagas.start_many([definition] * 5)
        assert sum(isinstance(one, Unavailable) for one in many) == 2


async def test_a_saga_that_cannot_be_read_again_after_a_crash_is_left_as_it_is_on_disk(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = LeanDisk()
    async with keeping(tmp_path, disk) as sagas:
        saga_id = await begin(sagas, step("a", "gated"))

        async def unreadable(position: object) -> None:
            raise Unavailable("the disk cannot read it now")

        with monkeypatch.context() as patch:
            patch.setattr(sagas._engine.history, "state", unreadable)
            with pytest.raises(KeyError):
                await send(sagas, saga_id, AttemptEnded("zz", None, 1, 1, None))  # type: ignore[arg-type]
            await trio.testing.wait_all_tasks_blocked()
        assert sagas._engine.registry.live_count == 0
        assert (await sagas.describe(saga_id)).status is SagaStatus.RUNNING
    async with keeping(tmp_path, disk) as sagas:
        assert sagas._engine.registry.live_count == 1


async def test_nobody_is_left_waiting_when_the_registry_ends(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        finished = await begin_and_wait(sagas)
        live = await begin(sagas, step("a", "gated"))
        box = sagas._engine.registry.mailbox
        replies = [box.ask_nowait(Deliver(saga_id, Wake())) for saga_id in (finished.id, live)]
        starts = [sagas._begin(parse_definition(saga(step("a"), **more), None), "", key)
                  for more, key in (({}, ""), ({"id": "x"}, ""), ({"id": "y"}, "k"))]  # fmt: skip
    said = [await kind_of(reply) for reply in (*replies, *starts)]
    assert set(said) <= {"MailboxClosed", "SagaState", "Started"}
    assert MailboxClosed.__name__ in said
