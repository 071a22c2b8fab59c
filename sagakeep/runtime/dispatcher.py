"""The dispatcher: gives turns to actors that have something to do, all of them in one task.

    something arrives -> schedule(actor) -> ready -> actor.turn()          64 turns, then everybody else's turn

A turn is plain synchronous code: it takes what is there, decides, and hands on what has to wait (an append, a
call, a timer) to somebody who will schedule the actor again, or give it its turn in passing (`turn`), as the
journal does while what it has just made durable is still in the cache. So an actor that waits is an object and
no task; a task for each, woken for each message and again for each append, was a third of what a saga cost.
What an actor gives up for that is `await`; what it keeps is its own mailbox, one turn at a time, and that a
crash ends its turn and nothing else: `crashed` is told.

The idea is that of Akka's dispatchers and of Erlang's run queues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import trio

TURNS_BETWEEN_CHECKPOINTS: Final = (
    64  # a turn takes tens of microseconds; the loop is held for 10 ms at most
)


class Actor(Protocol):
    """`turn` does one piece of work; must not block. `is_scheduled` is the dispatcher's: a turn is to come."""

    is_scheduled: bool

    def turn(self) -> None: ...


A = TypeVar("A", bound=Actor)


class Dispatcher(Generic[A]):
    """Runs turns in the order in which they were scheduled. `crashed` must not raise."""

    def __init__(self, crashed: Callable[[A, Exception], None]) -> None:
        self._crashed = crashed
        self._ready: deque[A] = deque()
        self._is_running = False
        self._task: trio.lowlevel.Task | None = None  # set while it waits for work

    def __len__(self) -> int:
        """How many actors wait for their turn."""
        return len(self._ready)

    def schedule(self, actor: A) -> None:
        """Give the actor a turn soon, if none is to come already."""
        if actor.is_scheduled:
            return
        actor.is_scheduled = True
        self._ready.append(actor)
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def turn(self, actor: A) -> None:
        """Give the actor a turn now, in the task that asks for it, unless `run` has ended; never from within a
        turn."""
        if not self._is_running:
            return
        try:
            actor.turn()
        except Exception as error:  # the supervisor's place: one actor's bug is not its siblings'
            self._crashed(actor, error)

    async def run(self) -> None:
        """Run turns, until cancelled."""
        self._is_running = True
        try:
            while True:
                if not self._ready:
                    await self._wait_for_work()
                for _ in range(min(len(self._ready), TURNS_BETWEEN_CHECKPOINTS)):
                    actor = self._ready.popleft()
                    actor.is_scheduled = False
                    self.turn(actor)
                await trio.lowlevel.checkpoint()
        finally:
            self._is_running = False

    async def _wait_for_work(self) -> None:
        self._task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
