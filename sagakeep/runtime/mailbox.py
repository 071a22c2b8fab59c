"""Mailboxes: how actors are told and asked.

A mailbox has one reader, its actor, and two lanes, both in order of arrival. The actor either is a task, which
waits in `receive`, or is told by `arrived` and takes with `take_nowait`:

    ordinary   bounded; `tell_nowait` and `ask` raise MailboxFull beyond it
    control    what the actor itself has called for (outcomes, timers); bounded by what is outstanding,
               so it is never refused; it is read first

An ask gets exactly one answer: a value, an error, or MailboxClosed when the actor ends without one. Nobody is
left waiting for an actor that is gone.

`receive` does not yield to other tasks while messages are there; a reader that handles messages without
awaiting anything else is bounded by what the mailbox holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
import trio

from sagakeep.errors import InDoubt, Unavailable

M = TypeVar("M")
T = TypeVar("T")


class MailboxFull(Unavailable):
    """The actor has too much to do already; nothing was queued, try again later."""


class MailboxClosed(InDoubt):
    """The actor ended before it answered; whether it handled the message is unknown."""


class Reply:
    """The one answer to an ask. The first answer counts, later ones are ignored."""

    __slots__ = ("_error", "_task", "_value", "is_settled")

    def __init__(self) -> None:
        self.is_settled = False
        self._value: object = None
        self._error: Exception | None = None
        self._task: trio.lowlevel.Task | None = None

    def send(self, value: object) -> None:
        if not self.is_settled:
            self._value = value
            self._settle()

    def fail(self, error: Exception) -> None:
        if not self.is_settled:
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self.is_settled = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    async def wait(self) -> object:
        """Wait for the answer; raise it when it is an error. May be awaited once."""
        if not self.is_settled:
            self._task = trio.lowlevel.current_task()

            def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
                self._task = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
            self._task = None
        if self._error is not None:
            raise self._error
        return self._value


class FailureOnly(Reply):
    """Passes errors on to another reply, and nothing else: for who waits for something that comes later."""

    __slots__ = ("_other",)

    def __init__(self, other: Reply) -> None:
        super().__init__()
        self._other = other

    def fail(self, error: Exception) -> None:
        if not self.is_settled:
            self._other.fail(error)
        super().fail(error)


class Envelope(msgspec.Struct, Generic[M], frozen=True, eq=False):
    """A message, and where its answer goes, if anybody waits for one."""

    message: M
    _reply: Reply | None = None

    @property
    def is_asked(self) -> bool:
        """Does anybody wait for an answer?"""
        return self._reply is not None

    def around(self, message: T) -> Envelope[T]:
        """Another message whose answer goes to the same place."""
        return Envelope(message, self._reply)

    def reply(self, value: object) -> None:
        if self._reply is not None:
            self._reply.send(value)

    def fail(self, error: Exception) -> None:
        if self._reply is not None:
            self._reply.fail(error)

    def abandon(self) -> None:
        """Answer with MailboxClosed, unless it was answered."""
        if self._reply is not None and not self._reply.is_settled:
            self._reply.fail(MailboxClosed("the actor ended before it answered"))


class Mailbox(Generic[M]):
    """Two lanes and one reader.

    `bound` is the most ordinary messages that may wait; `arrived` is called for each message that comes.
    """

    __slots__ = ("_arrived", "_bound", "_closed", "_control", "_ordinary", "_reader")

    def __init__(self, bound: int, arrived: Callable[[], None] | None = None) -> None:
        self._bound = bound
        self._arrived = arrived or self._wake_reader
        self._control: list[
            Envelope[M]
        ] = []  # a list, for it is short: what one actor has called for
        self._ordinary: deque[Envelope[M]] | None = None  # made when it is used: most are empty
        self._reader: trio.lowlevel.Task | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._control) + len(self._ordinary or ())

    def __bool__(self) -> bool:
        return bool(self._control or self._ordinary)

    def tell_nowait(self, message: M) -> None:
        """Queue a message. Raises MailboxFull or MailboxClosed."""
        self.forward(Envelope(message))

    def nudge(self) -> None:
        """Call the actor without a message."""
        self._arrived()

    def tell_control(self, message: M) -> bool:
        """Queue what the actor has called for; False, and nothing queued, once the mailbox is closed."""
        if self._closed:
            return False
        self._control.append(Envelope(message))
        self._arrived()
        return True

    def ask_nowait(self, message: M, reply: Reply | None = None) -> Reply:
        """Queue a message whose answer can be waited for later. Raises MailboxFull or MailboxClosed."""
        reply = reply or Reply()
        self.forward(Envelope(message, reply))
        return reply

    async def ask(self, message: M) -> object:
        """Queue a message and wait for its answer. Raises what the actor answers, MailboxFull, MailboxClosed."""
        return await self.ask_nowait(message).wait()

    def forward(self, envelope: Envelope[M]) -> None:
        """Queue somebody else's envelope. Raises MailboxFull or MailboxClosed."""
        if self._closed:
            raise MailboxClosed("the actor has ended")
        if self._ordinary is None:
            self._ordinary = deque()
        if len(self._ordinary) >= self._bound:
            raise MailboxFull(f"{self._bound} messages wait already")
        self._ordinary.append(envelope)
        self._arrived()

    def take_nowait(self) -> Envelope[M] | None:
        """Take the next message, control first; None when there is none."""
        if self._control:
            return self._control.pop(0)
        if not self._ordinary:
            return None
        envelope = self._ordinary.popleft()
        if not self._ordinary:
            self._ordinary = None
        return envelope

    async def receive(self) -> Envelope[M]:
        """Take the next message, control first; waits for one."""
        if not self._control and not self._ordinary:
            assert self._reader is None, "a mailbox has one reader"
            self._reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        envelope = self.take_nowait()
        assert envelope is not None, "a mailbox has one reader"
        return envelope

    def close(self) -> None:
        """Refuse what comes, and answer what waits with MailboxClosed; the actor is let go of."""
        self._closed = True
        self._arrived = _nobody
        while (envelope := self.take_nowait()) is not None:
            envelope.abandon()

    def _wake_reader(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            trio.lowlevel.reschedule(reader)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED


def _nobody() -> None:
    """Whom a closed mailbox tells: its actor and it would otherwise keep each other."""
