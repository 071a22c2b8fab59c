"""A gateway that runs, a service behind it that does what a test says, and one mailbox for all outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from sagakeep.actors.gateway import Gateway
from sagakeep.actors.job import Job
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.effects import RunCall
from sagakeep.messages import AttemptEnded, Message
from sagakeep.runtime.mailbox import Mailbox
from sagakeep.runtime.timers import Timers
from sagakeep.service import AttemptResult, Call, Outcome

DONE = AttemptResult(Outcome.DONE)
Attempt = Callable[[Call], Awaitable[AttemptResult]]


class Service:
    """A caller; `attempt` does what the test says and writes down what came and what was cancelled."""

    def __init__(self, do: Attempt | None = None, late_reply_s: float = 0.0) -> None:
        self.late_reply_s = late_reply_s
        self.began: list[str] = []
        self.cancelled: list[str] = []
        self.in_flight = self.in_flight_max = 0
        self.is_closed = False
        self._do = do or self.done_at_once

    async def done_at_once(self, call: Call) -> AttemptResult:
        return DONE

    async def attempt(self, call: Call) -> AttemptResult:
        self.began.append(call.step_id)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)
        try:
            return await self._do(call)
        except trio.Cancelled:
            self.cancelled.append(call.step_id)
            raise
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        self.is_closed = True


class Desk:
    """A gateway that runs, one mailbox for all its outcomes, and what could not be delivered."""

    def __init__(self, service: Service, concurrency: int, **rules: float) -> None:
        self.timers = Timers()
        self.undelivered: list[tuple[str, AttemptEnded]] = []
        self.mailbox: Mailbox[Message] = Mailbox(10)
        self.gateway = Gateway(
            "shop",
            ServiceSpec(service, concurrency, **rules),  # type: ignore[arg-type] # some are counts
            self.timers,
            lambda: 0.25,
            lambda saga_id, news: self.undelivered.append((saga_id, news)),
        )

    def submit(
        self,
        name: str,
        phase: str = "action",
        timeout_s: float = 30.0,
        saga_id: str = "s",
        **more: bool,
    ) -> Job:
        key = f"{saga_id}/{name}/{phase}/1"
        call = Call(saga_id, "order", name, "shop", "do", phase, 1, key, {}, timeout_s)  # type: ignore[arg-type]
        return self.gateway.submit(call, RunCall(name, phase, 1, 1), self.mailbox, **more)  # type: ignore[arg-type]

    def news(self) -> list[AttemptEnded]:
        news = []
        while (envelope := self.mailbox.take_nowait()) is not None:
            assert isinstance(envelope.message, AttemptEnded)
            news.append(envelope.message)
        return news

    def outcomes(self) -> list[tuple[str, str, bool]]:
        return [(one.step_id, one.result.outcome.value, one.late) for one in self.news()]


@asynccontextmanager
async def serving(service: Service, concurrency: int = 4, **rules: float) -> AsyncIterator[Desk]:
    desk = Desk(service, concurrency, **rules)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.timers.run)
        await nursery.start(desk.gateway.run)
        yield desk
        nursery.cancel_scope.cancel()
