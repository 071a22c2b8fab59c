"""The engine: all actors of a process, wired together, and the tree of tasks that runs them.

    read model, timers, snapshots
    `-- journal                        one that breaks ends everything: the restart is the cure
        `-- gateways
            `-- registry, dispatcher   give the sagas their turns, and supervise them one for one

What is further out ends later: a saga can always call, and always learns whether its last fact is durable.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from sagakeep import limits
from sagakeep.actors.alerts import Alerts
from sagakeep.actors.archiver import Archiver
from sagakeep.actors.committed import Committed, Note
from sagakeep.actors.eraser import Eraser
from sagakeep.actors.eraser import Parts as ErasedParts
from sagakeep.actors.event_feed import EventFeed
from sagakeep.actors.gateway import Gateway
from sagakeep.actors.health import Health
from sagakeep.actors.history import History
from sagakeep.actors.journal import Journal
from sagakeep.actors.memory import Memory
from sagakeep.actors.never_stuck import NeverStuck
from sagakeep.actors.numbers import Numbers, Parts
from sagakeep.actors.outbox import Outbox
from sagakeep.actors.ports import Ports as Ports
from sagakeep.actors.read_model import ReadModel
from sagakeep.actors.recovery import RecoverySummary, recover
from sagakeep.actors.registry import Deliver, Registry
from sagakeep.actors.retention import Retention
from sagakeep.actors.saga import World
from sagakeep.actors.service_pauses import ServicePauses
from sagakeep.actors.service_queues import ServiceQueues
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.actors.snapshots import Snapshots
from sagakeep.actors.tally import SagaTally
from sagakeep.actors.tracing import Tracing
from sagakeep.actors.webhooks import Webhook, Webhooks, make_webhooks
from sagakeep.codec import glance_at_state
from sagakeep.messages import AttemptEnded
from sagakeep.python_caller import PythonCaller
from sagakeep.retention_rule import RetentionRule
from sagakeep.runtime.clock import Clock
from sagakeep.runtime.cursor_file import CursorFile
from sagakeep.runtime.ids import Ids
from sagakeep.runtime.journal_files import OpenedJournal, RecoveryReport, open_journal
from sagakeep.runtime.loop_lag import LoopLag
from sagakeep.runtime.resident import available_bytes
from sagakeep.runtime.timers import Timers
from sagakeep.thresholds import Thresholds
from sagakeep.webhook import WebhookSpec, source_of

_log = logging.getLogger(__name__)

ADOPTED_BETWEEN_CHECKPOINTS: Final = 100  # of the live sagas of a start; 10 us each


class Engine:
    """Every part of a process but its faces. `stopping` ends it; `recovered` is set when all sagas run again."""

    def __init__(
        self,
        opened: OpenedJournal,
        directory: str,
        services: Mapping[str, object],
        ports: Ports,
        thresholds: Thresholds,
        retention: Sequence[RetentionRule] = (),
        webhooks: Mapping[str, Webhook] | None = None,
    ) -> None:
        self._ports = ports
        self._directory = directory
        self.stopping, self.recovered = trio.Event(), trio.Event()
        self.recovery: RecoverySummary | None = None
        self.report, self.files = opened.report, opened.files
        self.clock = Clock(ports.wall)
        self.ids = Ids(self.clock.now_utc_s, ports.chance)
        self.timers = Timers()
        self.read_model = ReadModel(
            f"{directory}/index.sqlite", run_blocking=ports.run_blocking, row_file=ports.row_file
        )
        self.committed = Committed(self.read_model)
        self.tracing = Tracing(ports.tracer, self.clock) if ports.tracer is not None else None
        self.journal = self._journal(ports)
        self.history = History(opened.files, ports.run_blocking)
        self.feed = EventFeed(opened.files, self.history, self.committed, ports.run_blocking)
        crowded: set[str] = set()
        self.gateways = {
            name: self._gateway(name, _spec(name, service), ports, crowded)
            for name, service in services.items()
        }
        self.pauses = self._pauses(ports, directory)
        world = World(self.journal, self.gateways, self.timers, self.clock, ports.draw)
        self.registry = Registry(world, self.committed, self.read_model, self.history)
        self.snapshots = Snapshots(
            ports.disk, directory, self.committed, ports.run_blocking, ports.snapshot_every_bytes
        )
        self.health = self._health(ports, crowded)
        self.archiver = self._archiver(ports, directory)
        self.eraser = self._eraser(ports, directory)
        self.tally = SagaTally()
        self.loop_lag = LoopLag(ports.heartbeat_s)
        self.alerts = self._alerts(thresholds)
        self.retention = self._retention(retention)
        self.webhooks = self._webhooks(webhooks or {})
        self.alerts.listeners.append(self.webhooks.changed)
        self.never_stuck = NeverStuck(self.committed.live, self.registry, self.clock, self.timers)
        self.alerts.sources.append(self.never_stuck.troubles)
        self.numbers = Numbers(self._parts())
        self.run_blocking = ports.run_blocking

    def _gateway(self, name: str, spec: ServiceSpec, ports: Ports, crowded: set[str]) -> Gateway:
        def wake(saga_id: str) -> None:
            self.registry.wake_soon(saga_id)

        return Gateway(
            name,
            spec,
            self.timers,
            ports.draw,
            self._post_late,
            crowded,
            wake,
            ports.queue_ahead,
            self.tracing,
        )

    def _pauses(self, ports: Ports, directory: str) -> ServicePauses:
        now_utc_s = self.clock.now_utc_s
        return ServicePauses(ports.disk, directory, self.gateways, now_utc_s, ports.run_blocking)

    def _journal(self, ports: Ports) -> Journal[Note]:
        note, synced = self.committed.note, self.committed.synced
        return Journal(self.files, note, synced, ports.run_blocking, ports.commit_bytes)

    def _archiver(self, ports: Ports, directory: str) -> Archiver:
        behind_bytes = ports.archive_behind_bytes
        archiver = Archiver(self.files, ports.disk, directory, ports.run_blocking, behind_bytes)
        self.snapshots.on_saved = archiver.wake
        return archiver

    def _eraser(self, ports: Ports, directory: str) -> Eraser:
        parts = ErasedParts(
            self.files,
            ports.disk,
            directory,
            self.read_model,
            self.journal,
            self.snapshots,
            self.archiver,
        )
        now_utc_s = self.clock.now_utc_s
        eraser = Eraser(parts, now_utc_s, ports.run_blocking, ports.erase_after_s)
        self.archiver.on_archived = eraser.wake
        return eraser

    def _retention(self, rules: Sequence[RetentionRule]) -> Retention:
        now_utc_s = self.clock.now_utc_s
        return Retention(rules, self.read_model, self.registry, now_utc_s, self._is_calm)

    def _alerts(self, thresholds: Thresholds) -> Alerts:
        return Alerts(
            thresholds,
            self.health,
            self.committed,
            self.read_model,
            self.gateways,
            self.clock.now_utc_s,
            self.pauses,
        )

    def _health(self, ports: Ports, crowded: set[str]) -> Health:
        available = int(available_bytes() * limits.MEMORY_SHARE_MAX)
        memory = Memory(ports.resident_bytes, min(limits.MEMORY_BYTES_MAX, available))
        queues = ServiceQueues(self.gateways, crowded)
        return Health(self.journal, self.registry, self.read_model, memory, queues)

    def _webhooks(self, webhooks: Mapping[str, Webhook]) -> Webhooks:
        def outbox_of(name: str, spec: WebhookSpec) -> Outbox:
            cursor = CursorFile(
                self._ports.disk, f"{self._directory}/webhooks", name, self.files.uuid
            )
            run_blocking = self._ports.run_blocking
            return Outbox(spec, self.files, self.history, self.committed, cursor, run_blocking)

        source, now_utc_s = source_of(self.files.uuid), self.clock.now_utc_s
        return make_webhooks(webhooks, outbox_of, source, now_utc_s, self._ports.draw)

    def _parts(self) -> Parts:
        return Parts(
            self.journal,
            self.registry,
            self.committed,
            self.read_model,
            self.gateways,
            self.health,
            self.tally,
            self.loop_lag,
            self.alerts,
            self.eraser,
            self.retention,
            self.webhooks,
            self.never_stuck,
            lambda: self.recovery,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `stopping` is set and what is in flight has ended; started once it takes calls.

        Raises JournalBroken when the disk fails, JournalCorrupt when a record does not follow from others.
        """
        await self.pauses.begin()
        async with trio.open_nursery() as outer:
            self.read_model.open(self.files.uuid, journal_end=self.files.end_found)
            await outer.start(self.read_model.run)
            outer.start_soon(self.timers.run)
            outer.start_soon(self.snapshots.run)
            async with trio.open_nursery() as writing:
                writing.start_soon(self.journal.run)
                await self._run_gateways(task_status)
                writing.cancel_scope.cancel()  # it ends when all that is queued is written
            with trio.CancelScope(shield=True):
                await self.snapshots.save()
            outer.cancel_scope.cancel()

    async def _run_gateways(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as middle:
            for gateway in self.gateways.values():
                await middle.start(gateway.run)
            try:
                await self._run_sagas(task_status)
            finally:
                self.committed.end()
                self.feed.end()
            middle.cancel_scope.cancel()

    async def _run_sagas(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as inner:
            await inner.start(self.registry.run)
            inner.start_soon(self.health.run)
            inner.start_soon(self.loop_lag.run)
            task_status.started()
            await self._recover()
            inner.start_soon(self.alerts.run, self._ports.look_every_s)
            inner.start_soon(self.archiver.run)
            inner.start_soon(self.eraser.run)
            inner.start_soon(self.retention.run)
            inner.start_soon(self.never_stuck.run, self._ports.never_stuck_every_s)
            inner.start_soon(self.webhooks.run)
            await self.stopping.wait()
            inner.cancel_scope.cancel()

    @property
    def is_at_rest(self) -> bool:
        """Is there nothing to be decided or written at this moment, and little in flight?"""
        return (
            not self.registry.turns_queued
            and not self.journal.queued[0]
            and self.registry.awake_count <= limits.AWAKE_AT_REST
        )

    async def drain(self, grace_s: float) -> None:
        """Take no new saga, begin no attempt, let those in flight end for at most `grace_s`, and stop.

        What is cut off is in doubt, as after a crash: it is made again under the same key at the next start.
        """
        self.health.draining = True
        with trio.move_on_after(grace_s):
            async with trio.open_nursery() as nursery:
                for gateway in self.gateways.values():
                    nursery.start_soon(gateway.drain)
            await self.registry.settle()
        self.stopping.set()

    async def close(self) -> None:
        """Flush and close the files; after `run` has ended."""
        with trio.CancelScope(shield=True):
            try:
                for gateway in self.gateways.values():
                    await gateway.aclose()
                await self.webhooks.aclose()
            finally:
                await self._ports.run_blocking(self.files.close)

    async def _recover(self) -> None:
        self.recovery = await recover(
            self.files,
            self._ports.disk,
            self._directory,
            self.committed,
            self.read_model,
            self._ports.run_blocking,
            self._ports.stopwatch,
        )
        await self.webhooks.begin()
        moved = (self.tally.moved, self.alerts.sagas.moved, self.eraser.moved)
        traced = () if self.tracing is None else (self.tracing.moved,)
        self.committed.on_moved = (*moved, *self.webhooks.on_moved, *traced)
        live = self.committed.live.cut()
        self.clock.advance_to(self.committed.counters.latest_utc_s)
        for gateway in self.gateways.values():
            gateway.hold_back()
        for count, known in enumerate(live.awake()):
            self.registry.adopt(*known)
            if count % ADOPTED_BETWEEN_CHECKPOINTS == 0:
                await trio.lowlevel.checkpoint()
        for count, data in enumerate(live.asleep()):
            glance = glance_at_state(data)
            self.registry.adopt_asleep(glance.saga_id, glance.wakes_at_utc_s or 0.0)
            if count % ADOPTED_BETWEEN_CHECKPOINTS == 0:
                await trio.lowlevel.checkpoint()
        await self.registry.settle()  # each has asked for what is outstanding
        for gateway in self.gateways.values():
            gateway.release()
        self.recovered.set()
        _log.info("recovered %d live sagas in %.2f s", len(live), self.recovery.seconds)

    def _is_calm(self) -> bool:
        """May what is not urgent be done?"""
        return not self.health.draining and not self.journal.full

    def _post_late(self, saga_id: str, news: AttemptEnded) -> None:
        self.registry.mailbox.tell_control(Deliver(saga_id, news))


def _spec(name: str, service: object) -> ServiceSpec:
    if isinstance(service, ServiceSpec):
        service.check(name)
        return service
    concurrency = getattr(service, "max_concurrency", limits.SERVICE_CONCURRENCY)
    return ServiceSpec(PythonCaller(service), concurrency)


async def open_files(directory: str, ports: Ports) -> OpenedJournal:
    """Open the journal of a directory, and tell in the log what was found. Raises as `open_journal` does."""
    opened = await ports.run_blocking(_open_journal, directory, ports)
    _log_report(opened.report)
    return opened


def _open_journal(directory: str, ports: Ports) -> OpenedJournal:
    def random_16() -> bytes:
        return ports.chance(16)

    return open_journal(
        ports.disk,
        directory,
        now_ns=int(ports.wall() * 1e9),
        segment_bytes=ports.segment_bytes,
        salt=random_16,
        uuid=random_16,
    )


def _log_report(report: RecoveryReport) -> None:
    """Tell what the start found at the end of the journal and beside it."""
    for note in report.notes:
        _log.warning("%s", note)
    if report.cut_bytes:
        _log.warning(
            "%d bytes were cut from the journal's end and kept in %s",
            report.cut_bytes,
            report.quarantined,
        )
