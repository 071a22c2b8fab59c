from __future__ import annotations

import pytest
import trio
import trio.testing

from sagakeep.runtime.mailbox import (
    Envelope,
    FailureOnly,
    Mailbox,
    MailboxClosed,
    MailboxFull,
    Reply,
)


async def drained(mailbox: Mailbox[str]) -> list[str]:
    return [(await mailbox.receive()).message for _ in range(len(mailbox))]


# Lanes and bounds


async def test_messages_come_in_order_and_control_before_ordinary() -> None:
    mailbox: Mailbox[str] = Mailbox(10)
    for message in ("a", "b"):
        mailbox.tell_nowait(message)
    for message in ("1", "2"):
        assert mailbox.tell_control(message)
    mailbox.tell_nowait("c")
    assert len(mailbox) == 5
    assert await drained(mailbox) == ["1", "2", "a", "b", "c"]


async def test_the_bound_is_taken_and_one_more_is_refused_and_not_queued() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    mailbox.tell_nowait("a")
    mailbox.ask_nowait("b")
    for refused in (mailbox.tell_nowait, mailbox.ask_nowait):
        with pytest.raises(MailboxFull, match="2 messages wait already"):
            refused("c")
    with pytest.raises(MailboxFull):
        await mailbox.ask("c")
    assert await drained(mailbox) == ["a", "b"]


async def test_control_is_never_refused_for_fullness() -> None:
    mailbox: Mailbox[str] = Mailbox(0)
    assert all(mailbox.tell_control(str(count)) for count in range(1_000))
    assert len(mailbox) == 1_000


# Waiting


async def test_a_waiting_reader_gets_what_comes(autojump_clock: trio.testing.MockClock) -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    got: list[str] = []

    async def read() -> None:
        while True:
            got.append((await mailbox.receive()).message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for number in range(6):
            await trio.testing.wait_all_tasks_blocked()
            tell = mailbox.tell_control if number % 2 else mailbox.tell_nowait
            tell(str(number))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert got == list("012345")


async def test_a_cancelled_reader_leaves_no_trace(autojump_clock: trio.testing.MockClock) -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    with trio.move_on_after(1) as scope:
        await mailbox.receive()
    assert scope.cancelled_caught
    mailbox.tell_nowait("a")
    assert (await mailbox.receive()).message == "a"


async def test_a_reader_of_a_full_mailbox_can_be_cancelled() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    mailbox.tell_nowait("a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.receive()
    assert scope.cancelled_caught
    assert len(mailbox) == 1


async def test_a_message_that_came_before_the_cancellation_is_not_lost() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    got: list[str] = []

    async def read() -> None:
        got.append((await mailbox.receive()).message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.tell_nowait("a")
        nursery.cancel_scope.cancel()
    assert got == ["a"]
    assert len(mailbox) == 0


# Asking


async def test_an_ask_gets_the_answer_or_the_error() -> None:
    mailbox: Mailbox[str] = Mailbox(2)

    async def answer() -> None:
        (await mailbox.receive()).reply(42)
        (await mailbox.receive()).fail(LookupError("none"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        assert await mailbox.ask("a") == 42
        with pytest.raises(LookupError, match="none"):
            await mailbox.ask("b")


async def test_the_first_of_many_answers_counts() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    reply = mailbox.ask_nowait("a")
    envelope = await mailbox.receive()
    assert not reply.is_settled
    envelope.reply(1)
    envelope.reply(2)
    envelope.fail(LookupError())
    envelope.abandon()
    assert reply.is_settled
    assert await reply.wait() == 1


async def test_answers_to_a_tell_go_nowhere() -> None:
    envelope = Envelope("a")
    envelope.reply(1)
    envelope.fail(LookupError())
    envelope.abandon()


async def test_another_message_is_answered_to_the_same_asker() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    other: Mailbox[int] = Mailbox(2)
    reply = mailbox.ask_nowait("a")
    other.forward((await mailbox.receive()).around(7))
    envelope = await other.receive()
    assert envelope.message == 7
    envelope.reply("done")
    assert await reply.wait() == "done"


async def test_an_abandoned_ask_is_answered_with_closed() -> None:
    reply = Reply()
    Envelope("a", reply).abandon()
    with pytest.raises(MailboxClosed):
        await reply.wait()


async def test_a_cancelled_asker_leaves_no_trace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    with trio.move_on_after(1) as scope:
        await mailbox.ask("a")
    assert scope.cancelled_caught
    (await mailbox.receive()).reply(1)  # wakes nobody


async def test_an_answer_that_came_before_the_cancellation_is_received() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await mailbox.ask("a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        (await mailbox.receive()).reply(1)
        nursery.cancel_scope.cancel()
    assert answers == [1]


# Closing


async def test_closing_answers_all_that_wait_and_refuses_what_comes() -> None:
    mailbox: Mailbox[str] = Mailbox(10)
    replies = [mailbox.ask_nowait("a") for _ in range(3)]
    mailbox.tell_nowait("b")
    mailbox.tell_control("c")
    mailbox.close()
    for reply in replies:
        with pytest.raises(MailboxClosed, match="before it answered"):
            await reply.wait()
    assert len(mailbox) == 0
    assert not mailbox.tell_control("d")
    with pytest.raises(MailboxClosed, match="has ended"):
        mailbox.tell_nowait("d")
    assert len(mailbox) == 0


async def test_closing_wakes_an_asker_that_waits() -> None:
    mailbox: Mailbox[str] = Mailbox(10)
    errors: list[Exception] = []

    async def ask() -> None:
        try:
            await mailbox.ask("a")
        except MailboxClosed as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.close()
    assert len(errors) == 1


async def test_a_reply_for_failures_only_passes_an_error_on_and_nothing_else() -> None:
    waited = Reply()
    begun = FailureOnly(waited)
    begun.send("begun")
    assert not waited.is_settled
    assert await begun.wait() == "begun"
    FailureOnly(waited).fail(ValueError("refused"))
    with pytest.raises(ValueError, match="refused"):
        await waited.wait()


async def test_a_failure_that_comes_after_the_answer_is_not_passed_on() -> None:
    waited = Reply()
    begun = FailureOnly(waited)
    begun.send("begun")
    begun.fail(ValueError("too late"))
    assert not waited.is_settled
