"""A job: one attempt on its way from a saga to a service, and the news of it on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from sagakeep.classification import WITHDRAWN
from sagakeep.effects import RunCall
from sagakeep.messages import AttemptEnded, Message
from sagakeep.runtime.mailbox import Mailbox
from sagakeep.service import AttemptResult, Call, Outcome

Undelivered = Callable[[str, AttemptEnded], None]

NOT_SENT: Final = AttemptResult(
    Outcome.NOT_DONE,
    error="not sent: it still waited for its turn when the saga turned back",
    permanent=True,
    rule=WITHDRAWN,
)


class Queue(Protocol):
    """Where a job waits."""

    def dropped(self, job: Job) -> None:
        """One that waits here is no longer wanted."""

    def may_sleep(self, job: Job) -> bool:
        """Need its saga not stay awake for it?"""

    def leave_place(self, job: Job) -> None:
        """Keep its place, and forget the job."""


class Job(msgspec.Struct, eq=False):
    """One attempt on its way. `drop` tells that nobody wants it any more: it is not begun, but if it was, it
    settles. `queue` is where it waits, None once it has begun."""

    call: Call
    effect: RunCall
    _mailbox: Mailbox[Message]
    _undelivered: Undelivered
    repeated: bool = False
    is_wanted: bool = True
    is_reported: bool = False
    queue: Queue | None = None
    place: Place | None = None
    began_s: float = 0.0  # on trio's clock; 0 while it waits

    def drop(self) -> None:
        if self.is_wanted:
            self.is_wanted = False
            if self.queue is not None:
                self.queue.dropped(self)

    @property
    def may_sleep(self) -> bool:
        """Is it so far behind in a queue that its saga need not stay awake?"""
        return self.is_wanted and self.queue is not None and self.queue.may_sleep(self)

    def leave_place(self) -> None:
        """Let its saga sleep, which makes another one when its turn is near."""
        assert self.queue is not None, "it may sleep"
        self.queue.leave_place(self)

    def nudge(self) -> None:
        """Let its saga look whether it may sleep: the job has moved to a queue."""
        self._mailbox.nudge()

    def withdraw(self, draw: float) -> None:
        """Do not make it, if it still waits and was never made before; the saga is told that nothing was done."""
        if self.is_wanted and self.queue is not None and not self.repeated:
            self.drop()
            self.report(NOT_SENT, draw)

    def report(self, result: AttemptResult, draw: float) -> None:
        """Tell the saga; the second report is a late reply."""
        effect = self.effect
        late, self.is_reported = self.is_reported, True
        news = AttemptEnded(
            effect.step_id,
            effect.phase,
            effect.epoch,
            effect.attempt,
            result,
            draw,
            late,
            self.repeated,
        )
        if not self._mailbox.tell_control(news):
            self._undelivered(self.call.saga_id, news)


class Place(msgspec.Struct, eq=False):
    """Where a job belongs whose saga sleeps; `job` when it is back. It is called once, and kept from then."""

    saga_id: str
    effect: RunCall
    repeated: bool
    job: Job | None = None
    is_called: bool = False
    is_forgotten: bool = False

    @property
    def is_wanted(self) -> bool:
        return not self.is_forgotten

    def forget(self) -> None:
        self.is_forgotten = True
        self.job = None
