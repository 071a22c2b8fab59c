"""The orchestrator: the composition root, and the Python API. The HTTP layer uses this and nothing else.

async with open_orchestrator("./data", {"payment": Payment()}) as sagas:
    started = await sagas.start(parse_definition(document, sagas.services))
    saga = await sagas.wait(started.saga.id, timeout_s=10)
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Final, cast

import trio

from sagakeep import limits
from sagakeep.actors.committed import Statistics
from sagakeep.actors.engine import Engine, Ports, open_files
from sagakeep.actors.health import Check
from sagakeep.actors.live_facts import live_facts
from sagakeep.actors.read_model import BadCursor, SagaQuery
from sagakeep.actors.recovery import RecoverySummary
from sagakeep.actors.registry import Chosen
from sagakeep.actors.saga_pages import SagaPage, page_of
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.actors.service_state import ServiceState, state_of
from sagakeep.actors.stream import StreamLagged, watch_records
from sagakeep.actors.webhooks import Webhook
from sagakeep.alert import Alert
from sagakeep.analytics import Analytics
from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError
from sagakeep.events import Record
from sagakeep.explanation import Explanation, explain
from sagakeep.fleet import Fleet
from sagakeep.messages import Create, Started
from sagakeep.moment import Moment
from sagakeep.retention_rule import RetentionRule
from sagakeep.runtime.journal_files import JournalStatistics
from sagakeep.runtime.mailbox import FailureOnly, Reply
from sagakeep.state import MOVING, SagaState
from sagakeep.thresholds import Thresholds
from sagakeep.wishes import Wishes

__all__ = [
    "Alert",
    "Analytics",
    "BadCursor",
    "Check",
    "Orchestrator",
    "RetentionRule",
    "SagaPage",
    "SagaQuery",
    "ServiceSpec",
    "ServiceState",
    "Started",
    "Statistics",
    "StreamLagged",
    "Thresholds",
    "Webhook",
    "open_orchestrator",
]

BEGINNINGS_BETWEEN_CHECKPOINTS: Final = 256


class Orchestrator(Wishes):
    """Sagas on one directory. Every method may wait but `statistics`, `health`, `alerts`, `service_states`,
    `is_at_rest` and `metrics`.

    What changes a saga is durable when it returns. While recovery lasts those methods raise Unavailable;
    `wait_recovered` waits for its end. What may be asked of a saga that is there is in `sagakeep.wishes`.
    """

    @property
    def stopping(self) -> trio.Event:
        """Set when the process stops; what streams should end then."""
        return self._engine.stopping

    @property
    def recovery(self) -> RecoverySummary | None:
        """What recovery did, None while it lasts."""
        return self._engine.recovery

    @property
    def services(self) -> Collection[str]:
        """The names that a definition may use."""
        return self._engine.gateways.keys()

    @cached_property
    def fleet(self) -> Fleet:
        """What is asked of all sagas, or of many, at once."""
        return Fleet(self._engine, self)

    async def wait_recovered(self) -> None:
        """Wait until every live saga of the directory runs again."""
        await self._engine.recovered.wait()

    # Sagas

    async def start(
        self,
        definition: SagaDefinition,
        *,
        by: str = "",
        idempotency_key: str = "",
        body_digest: bytes = b"",
        traceparent: str = "",
    ) -> Started:
        """Begin a saga; it is durable, and its first step under way, when this returns.

        Raises SagaExists, IdempotencyKeyReused or Unavailable.
        """
        reply = self._begin(definition, by, idempotency_key, body_digest, traceparent)
        return cast(Started, await reply.wait())

    async def start_many(
        self, definitions: Sequence[SagaDefinition], *, by: str = ""
    ) -> list[SagaState | SagakeepError]:
        """Begin many sagas, of which each succeeds or fails for itself; the answers are in their order.

        Of two with the same id the first is begun.
        """
        replies: list[Reply | SagakeepError] = []
        for count, definition in enumerate(definitions, start=1):
            try:
                replies.append(self._begin(definition, by))
            except SagakeepError as error:
                replies.append(error)
            if count % BEGINNINGS_BETWEEN_CHECKPOINTS == 0:
                await trio.lowlevel.checkpoint()
        return [await _saga_or_error(reply) for reply in replies]

    def _begin(
        self,
        definition: SagaDefinition,
        by: str,
        idempotency_key: str = "",
        body_digest: bytes = b"",
        traceparent: str = "",
        saga_id: str = "",
        reply: Reply | None = None,
    ) -> Reply:
        self._check_admission(definition)
        saga_id = saga_id or definition.id or self._engine.ids.next()
        wish = Create(saga_id, definition, by, idempotency_key, body_digest, traceparent)
        is_chosen = bool(definition.id or idempotency_key)
        message = Chosen(wish) if is_chosen else wish
        return self._engine.registry.mailbox.ask_nowait(message, reply)

    async def describe_at(self, saga_id: str, moment: Moment) -> SagaState:
        """The saga as it was. Raises SagaNotFound, and its SagaNotThen for a moment before its creation."""
        last = await self._last_position(saga_id)
        return await self._engine.history.state_at(saga_id, last, moment)

    async def explain(self, saga_id: str) -> Explanation:
        """What happened to a saga, what it waits for, and what can be done now. Raises SagaNotFound."""
        position = await self._last_position(saga_id)
        live = self._engine.committed.live.get(saga_id)
        if live is None:
            state = await self._engine.history.state(position)
        else:
            state, position = live
        engine = self._engine
        facts = live_facts(saga_id, engine.registry, engine.gateways, engine.clock)
        after = max(0, state.sequence - limits.STORY_EVENTS_MAX)
        records = await self._engine.history.records(position, after)
        now_utc_s = self._engine.clock.now_utc_s()
        return await self._engine.run_blocking(
            explain, state, records, facts, now_utc_s, limiter=self._explainers
        )

    async def wait(self, saga_id: str, timeout_s: float) -> SagaState:
        """The saga once it stands still (final, failed or compensation_failed), or when the time is up."""
        self._check_recovered()
        live = self._engine.committed.live.get(saga_id)
        if live is None or live[0].status not in MOVING:
            return await self.describe(saga_id)
        reply, forget = self._engine.committed.when_still(saga_id)
        timer = self._engine.timers.set_after(timeout_s, lambda: reply.send(None))
        try:
            still = await reply.wait()
        finally:
            timer.drop()
            forget()
        return await self.describe(saga_id) if still is None else cast(SagaState, still)

    async def run(self, definition: SagaDefinition, timeout_s: float, *, by: str = "") -> SagaState:
        """Begin a saga and return it once it stands still, or when the time is up.

        As `start` and then `wait`. Raises SagaExists or Unavailable.
        """
        saga_id = definition.id or self._engine.ids.next()
        still, forget = self._engine.committed.when_still(saga_id)
        timer = self._engine.timers.set_after(timeout_s, lambda: still.send(None))
        try:
            self._begin(definition, by, saga_id=saga_id, reply=FailureOnly(still))
            state = await still.wait()
        finally:
            timer.drop()
            forget()
        return await self.describe(saga_id) if state is None else cast(SagaState, state)

    async def list(self, query: SagaQuery) -> SagaPage:
        """The sagas that match, newest first, with all that was acknowledged. Raises BadCursor."""
        self._check_recovered()
        engine = self._engine
        return await page_of(query, engine.read_model, engine.committed.live, engine.history)

    async def analytics(self, query: SagaQuery) -> Analytics:
        """What the newest `query.limit` sagas that match have in common. Raises Unavailable."""
        self._check_recovered()
        return await self._engine.read_model.analyse(query)

    # History

    async def events(
        self, saga_id: str, *, after: int = 0, limit: int = limits.PAGE_DEFAULT
    ) -> Sequence[Record]:
        """The saga's records with events numbered above `after`: at least `limit` events, or all there are."""
        records = await self._engine.history.records(await self._last_position(saga_id), after)
        taken = 0
        for count, record in enumerate(records, start=1):
            taken += len(record.events)
            if taken >= limit:
                return records[:count]
        return records

    @asynccontextmanager
    async def watch(self, saga_id: str, *, after: int = 0) -> AsyncIterator[AsyncIterator[Record]]:
        """Every record with events numbered above `after`, in order and without a gap: what is there, then what
        comes. Ends when the saga is final or the orchestrator stops; raises StreamLagged to a slow reader."""
        live, history = self._engine.committed, self._engine.history
        async with watch_records(live, history, self._last_position, saga_id, after) as records:
            yield records

    # The process

    def statistics(self) -> Statistics:
        """Counts of the sagas that exist."""
        return self._engine.committed.counters.statistics()

    def journal_statistics(self) -> JournalStatistics:
        """What was written since the start."""
        return self._engine.files.statistics()

    def is_at_rest(self) -> bool:
        """Is there nothing to be decided or written at this moment, and little in flight?"""
        return self._engine.is_at_rest

    def health(self) -> dict[str, Check]:
        """What works and what does not: journal, registry, recovery, disk, capacity."""
        return self._engine.health.checks(self._engine.recovered.is_set(), self.stopping.is_set())

    def alerts(self) -> Sequence[Alert]:
        """What a person should know now, the worst first."""
        return self._engine.alerts.active

    def service_states(self) -> dict[str, ServiceState]:
        """What each service is asked, what waits for it, and why."""
        clock = self._engine.clock
        return {name: state_of(one, clock) for name, one in self._engine.gateways.items()}

    def metrics(self) -> bytes:
        """Everything counted, in Prometheus' text format."""
        return self._engine.numbers.text()

    async def drain(self, grace_s: float) -> None:
        """Take no new saga, begin no attempt, let those in flight end for at most `grace_s`, and stop."""
        await self._engine.drain(grace_s)


async def _saga_or_error(reply: Reply | SagakeepError) -> SagaState | SagakeepError:
    if isinstance(reply, SagakeepError):
        return reply
    try:
        return cast(Started, await reply.wait()).saga
    except SagakeepError as error:
        return error


@asynccontextmanager
async def open_orchestrator(
    directory: str | os.PathLike[str],
    services: Mapping[str, object],
    ports: Ports | None = None,
    thresholds: Thresholds | None = None,
    retention: Sequence[RetentionRule] = (),
    webhooks: Mapping[str, Webhook] | None = None,
) -> AsyncIterator[Orchestrator]:
    """Open a directory, recover what is in it, and run it until the block is left.

    `services` maps names to Python objects (see `sagakeep.service`) or to ServiceSpec; `thresholds` say when
    an alert is raised, `webhooks` who is told by name. Raises JournalLocked,
    JournalCorrupt or JournalError when the directory cannot be used.
    """
    async with opening_orchestrator(
        directory, services, ports, thresholds, retention, webhooks
    ) as orchestrator:
        await orchestrator.wait_recovered()
        yield orchestrator


@asynccontextmanager
async def opening_orchestrator(
    directory: str | os.PathLike[str],
    services: Mapping[str, object],
    ports: Ports | None = None,
    thresholds: Thresholds | None = None,
    retention: Sequence[RetentionRule] = (),
    webhooks: Mapping[str, Webhook] | None = None,
) -> AsyncIterator[Orchestrator]:
    """As `open_orchestrator`, but the block is entered while recovery still runs."""
    ports = ports or Ports()
    directory = os.fspath(directory)
    opened = await open_files(directory, ports)
    engine = Engine(
        opened, directory, services, ports, thresholds or Thresholds(), retention, webhooks
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            try:
                yield Orchestrator(engine)
            finally:
                engine.stopping.set()
    finally:
        await engine.close()
