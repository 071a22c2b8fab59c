"""An orchestrator of one saga that a test moves by hand, for what a real one does only under duress."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import trio

from sagakeep.alert import Alert
from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError, SagaNotFound
from sagakeep.events import Record
from sagakeep.machine import create, decide
from sagakeep.messages import Create, Message, Started
from sagakeep.orchestrator import Check, ServiceState
from sagakeep.state import FINAL, SagaState
from sagakeep.validation import parse_definition


class FakeOrchestrator:
    """Its events are those of the real machine; its clock goes one second with every message."""

    def __init__(self, document: object) -> None:
        self.services = {"shop"}
        self.stopping = trio.Event()
        self.checks = {"journal": Check(True, "writing"), "disk": Check(False, "full")}
        self.start_error: SagakeepError | None = None
        self.watch_error: SagakeepError | None = None
        self.watchers = 0
        self.now_utc_s = 1_700_000_000.0
        self._arrived = trio.Event()
        events, self.state = create(
            Create("s-1", parse_definition(document, self.services)), self.now_utc_s
        )
        self.records = [Record("s-1", 1, self.now_utc_s, None, tuple(events))]

    def tell(self, message: Message) -> None:
        self.now_utc_s += 1.0
        sequence = self.state.sequence + 1
        events, self.state = decide(self.state, message, self.now_utc_s)
        self.records.append(Record("s-1", sequence, self.now_utc_s, None, tuple(events)))
        self._wake()

    def fail_watchers(self, error: SagakeepError) -> None:
        self.watch_error = error
        self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    async def start(self, definition: SagaDefinition, **_: object) -> Started:
        if self.start_error is not None:
            raise self.start_error
        return Started(self.state, True)

    async def describe(self, saga_id: str) -> SagaState:
        if saga_id != self.state.id:
            raise SagaNotFound(saga_id)
        return self.state

    async def events(self, saga_id: str, *, after: int, limit: int) -> Sequence[Record]:
        return self.records

    def health(self) -> dict[str, Check]:
        return self.checks

    def service_states(self) -> dict[str, ServiceState]:
        return {}

    def alerts(self) -> list[Alert]:
        return []

    @asynccontextmanager
    async def watch(self, saga_id: str, *, after: int) -> AsyncIterator[AsyncIterator[Record]]:
        self.watchers += 1
        async with aclosing(self._in_order(after)) as records:
            yield records
        self.watchers -= 1

    async def _in_order(self, after: int) -> AsyncIterator[Record]:
        while True:
            for record in self.records:
                last = record.sequence + len(record.events) - 1
                if last > after:
                    after = last
                    yield record
            if self.state.status in FINAL:
                return
            await self._arrived.wait()
            if self.watch_error is not None:
                raise self.watch_error
