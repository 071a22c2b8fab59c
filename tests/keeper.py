"""A whole orchestrator in virtual time on a disk in memory, and a service that writes down what it was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from shop import saga as document

from sagakeep import limits
from sagakeep.actors.registry import Deliver
from sagakeep.codec import decode_records
from sagakeep.messages import Message
from sagakeep.orchestrator import Orchestrator, Ports, Webhook, open_orchestrator
from sagakeep.retention_rule import RetentionRule
from sagakeep.runtime.blocking import in_turn
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_check import verify_journal
from sagakeep.service import Call, ServiceRefused, ServiceUnavailable
from sagakeep.simulation.disk import MemoryDisk, MemoryFile
from sagakeep.simulation.schedule import run_in_virtual_time
from sagakeep.state import SagaState, SagaStatus
from sagakeep.thresholds import Thresholds
from sagakeep.tracer import Tracer
from sagakeep.transitions import fold
from sagakeep.validation import parse_definition

NOON = 1_700_000_000.0


class LeanDisk(MemoryDisk):
    """Reserves room without filling it with zeros, which would be most of a test's time."""

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        super().open(path, create=create)
        return LeanFile(self.names[path])


class LeanFile(MemoryFile):
    def allocate(self, size: int) -> None:
        pass


class Ledger:
    """Knows `do` and `undo`, and others that are named for how they end; effects are counted by key."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.effects: Counter[str] = Counter()
        self.gate = trio.Event()

    def asked(self, action: str = "") -> list[str]:
        """The keys of the calls, in order."""
        return [call.idempotency_key for call in self.calls if action in ("", call.action)]

    async def do(self, call: Call) -> object:
        self.calls.append(call)
        self.effects[call.idempotency_key] += 1
        return {"of": call.step_id}

    async def undo(self, call: Call) -> object:
        return await self.do(call)

    async def fail(self, call: Call) -> object:
        self.calls.append(call)
        raise ServiceRefused("declined")

    async def flaky(self, call: Call) -> object:
        """Unavailable at its first attempt; knows nothing else of the past."""
        if call.attempt > 1:
            return await self.do(call)
        self.calls.append(call)
        raise ServiceUnavailable("busy")

    async def down(self, call: Call) -> object:
        self.calls.append(call)
        raise ServiceUnavailable("down")

    async def gated(self, call: Call) -> object:
        """Done once the gate is open."""
        self.calls.append(call)
        await self.gate.wait()
        self.effects[call.idempotency_key] += 1
        return {"of": call.step_id}

    async def slow(self, call: Call) -> object:
        """Done after a second."""
        self.calls.append(call)
        await trio.sleep(1)
        self.effects[call.idempotency_key] += 1
        return {"of": call.step_id}


@asynccontextmanager
async def keeping(
    directory: Path,
    disk: Disk | None = None,
    services: Mapping[str, object] | None = None,
    wall_s: float = NOON,
    snapshot_every_bytes: int = limits.SNAPSHOT_EVERY_BYTES,
    look_every_s: float = 0.0,
    thresholds: Thresholds | None = None,
    resident_bytes: Callable[[], int] = lambda: 0,
    segment_bytes: int = limits.SEGMENT_BYTES,
    archive_behind_bytes: int = limits.ARCHIVE_BEHIND_BYTES,
    retention: Sequence[RetentionRule] = (),
    erase_after_s: float = limits.ERASE_AFTER_S,
    wall: Callable[[], float] | None = None,
    queue_ahead: int = limits.QUEUE_AHEAD,
    webhooks: Mapping[str, Webhook] | None = None,
    tracer: Tracer | None = None,
) -> AsyncIterator[Orchestrator]:
    """Run an orchestrator; its disk is in memory, but for the rows."""
    ports = Ports(
        LeanDisk() if disk is None else disk,
        wall=wall or (lambda: wall_s),
        draw=lambda: 0.5,
        run_blocking=in_turn,
        snapshot_every_bytes=snapshot_every_bytes,
        resident_bytes=resident_bytes,
        heartbeat_s=0.0,
        look_every_s=look_every_s,
        never_stuck_every_s=look_every_s,
        segment_bytes=segment_bytes,
        archive_behind_bytes=archive_behind_bytes,
        erase_after_s=erase_after_s,
        queue_ahead=queue_ahead,
        tracer=tracer,
    )
    services = {"shop": Ledger()} if services is None else services
    async with open_orchestrator(
        str(directory), services, ports, thresholds, retention, webhooks
    ) as orchestrator:
        yield orchestrator


async def begin(sagas: Orchestrator, *steps: dict[str, object], **more: object) -> str:
    started = await sagas.start(parse_definition(document(*steps, **more), None))
    return started.saga.id


async def begin_and_wait(
    sagas: Orchestrator, *steps: dict[str, object], **more: object
) -> SagaState:
    return await sagas.wait(await begin(sagas, *steps, **more), timeout_s=3600)


async def send(sagas: Orchestrator, saga_id: str, message: Message) -> object:
    """Ask a saga's actor, past the Python API."""
    return await sagas._engine.registry.mailbox.ask(Deliver(saga_id, message))


async def history(sagas: Orchestrator, saga_id: str) -> list[object]:
    """All events of a saga."""
    records = await sagas.events(saga_id, limit=10_000)
    return [event for record in records for event in record.events]


async def kinds(sagas: Orchestrator, saga_id: str) -> list[str]:
    return [type(event).__name__ for event in await history(sagas, saga_id)]


def folded(disk: Disk, directory: Path) -> dict[str, SagaState]:
    """Every saga of a journal by the fold of its records alone, deleted ones too."""
    states: dict[str, SagaState] = {}
    for frame in verify_journal(disk, str(directory)):
        for _, record in decode_records(frame.body):
            states[record.saga_id] = fold(states.get(record.saga_id), record)
    return states


def statuses(states: Mapping[str, SagaState]) -> Counter[SagaStatus]:
    return Counter(state.status for state in states.values() if not state.deleted)


def run_the_same_way(main: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Run in virtual time with trio's tasks in the same order whenever it is called with the same."""
    run_in_virtual_time(main, *arguments, seed=0)
