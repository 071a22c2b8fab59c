"""The world: what outlives every process of the product, and the way to let one live in it.

    world = World(seed=7)
    payment = world.service("payment", script)
    ending = world.live(main, ends_at=Point("disk", 12))      one process, until it ends
    world.cut_power()                                         or `kill`: the page cache survives
    ending = world.live(main)                                 the next one, on what is left

Inside, the product is the real one: engine, journal, recovery, facade. Its ports lead here. Everything that is
left to chance comes from the seed, so a world is the same whenever it is run.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple, Protocol, TypeVar, TypeVarTuple

import trio

from sagakeep import limits
from sagakeep.actors.engine import Ports
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.orchestrator import Orchestrator, open_orchestrator
from sagakeep.service import AttemptResult, Call
from sagakeep.simulation.agenda import Agenda
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.simulation.ledger import Entry, Ledger, Promise
from sagakeep.simulation.process import Crashed, Point, Process
from sagakeep.simulation.process_disk import DiskFault, DiskObserver, NoObserver, ProcessDisk
from sagakeep.simulation.rows import MemoryRows
from sagakeep.simulation.schedule import run_in_virtual_time
from sagakeep.simulation.service import NO_LIMIT, CallLimit, Script, SimulatedService
from sagakeep.simulation.trace import Trace

_log = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVarTuple("A")

DIRECTORY: Final = "data"
PIECE_S: Final = 0.02  # about how long a piece of recovery seems to take
BEGINNING_UTC_S: Final = 1_700_000_000.0


class How(StrEnum):
    """How a process ended."""

    FINISHED = "finished"  # `main` returned
    CRASHED = "crashed"  # at the point of our choice
    BROKE = "broke"  # the product raised


class Ending(NamedTuple):
    """The end of a process; `error` is what the product raised."""

    how: How
    error: ExceptionGroup[Exception] | None = None


class Observer(DiskObserver, Protocol):
    """Looks on; what it raises ends the process, and is the ending's error."""

    def called(self, call: Call) -> None:
        """An attempt begins."""

    def answered(self, call: Call, result: AttemptResult) -> None:
        """An attempt ended with an answer, late ones too."""

    def applied(self, entry: Entry) -> None:
        """A service did something."""


class Onlooker(NoObserver):
    """Looks at nothing; a base for those who look at some things."""

    def called(self, call: Call) -> None:
        pass

    def answered(self, call: Call, result: AttemptResult) -> None:
        pass

    def applied(self, entry: Entry) -> None:
        pass


class Shape(NamedTuple):
    """Sizes that decide how often a journal rolls and is snapshot, and how slow the disk is."""

    segment_bytes: int = 16 << 10
    snapshot_every_bytes: int = 64 << 10
    commit_bytes: int = 1 << 20
    archive_behind_bytes: int = 1
    erase_after_s: float = limits.ERASE_AFTER_S
    queue_ahead: int = 1
    disk_latency_s: float = 0.0  # the most that a blocking call takes
    wall_skew_s: float = 0.0  # of the system's clock
    never_stuck_every_s: float = 0.0  # between two rounds of it; 0 for never


class World:
    """Disk, rows, services, time and chance. `process` is the one that lives now, or lived last."""

    def __init__(
        self, seed: int, shape: Shape | None = None, observer: Observer | None = None
    ) -> None:
        self.trace = Trace(self._stamp)
        self.agenda = Agenda()
        self.disk = MemoryDisk()
        self.rows = MemoryRows()
        self.shape = shape or Shape()
        self.observer: Observer = observer or Onlooker()
        self.services: dict[str, SimulatedService] = {}
        self.effects: list[Entry] = []  # of all services, in order
        self.process = Process(self.trace)
        self.open_files = 0  # that the last process did not close
        self.lives = 0
        self._seed = seed
        self._random = self.chance("world")
        self._elapsed_s = 0.0
        self._is_living = False

    def chance(self, name: str) -> Random:
        """A source of chance of its own; the same for the same seed and name."""
        return Random(f"{self._seed}/{name}")

    def now_s(self) -> float:
        """Seconds since the world began."""
        return self._elapsed_s + (trio.current_time() if self._is_living else 0.0)

    def _stamp(self) -> str:
        return f"{self.now_s():.6f} {self.process.steps} "

    def service(
        self,
        name: str,
        script: Script,
        promise: Promise = Promise.BARRIER,
        late_reply_s: float = 0.0,
        limit: CallLimit = NO_LIMIT,
    ) -> SimulatedService:
        """Add a service; it outlives the processes that call it."""
        ledger = Ledger(name, promise, self._applied)
        self.services[name] = SimulatedService(self, ledger, script, late_reply_s, limit)
        return self.services[name]

    def _spec(self, service: SimulatedService, concurrency: int) -> ServiceSpec:
        per_s, burst = service.limit
        return ServiceSpec(service, concurrency, rate_limit_per_s=per_s, rate_burst=burst)

    def _applied(self, entry: Entry) -> None:
        self.trace.note(f"effect {entry.phase} {entry.key}")
        self.effects.append(entry)
        self.observer.applied(entry)

    def net(self, saga_id: str, step_id: str) -> int:
        """How often a step's effect is there, at all services."""
        return sum(service.ledger.net(saga_id, step_id) for service in self.services.values())

    # Crashes

    def kill(self) -> None:
        """End what the process left: its locks. What it wrote is in the page cache."""
        self.disk.kill()
        self.rows.crash()

    def cut_power(self) -> None:
        """Lose some of what was not synced."""
        self.disk = self.disk.cut_power(self._random)
        self.rows.crash(self._random)

    def sleep(self, seconds: float) -> None:
        """Let time pass while no process lives."""
        self._elapsed_s += seconds
        self.agenda.do_until(self._elapsed_s)

    def settle(self) -> None:
        """Let everything arrive that is on its way."""
        self.agenda.do_until(float("inf"))

    # Life

    def live(
        self,
        main: Callable[[Orchestrator], Awaitable[object]],
        *,
        ends_at: Point | None = None,
        faults: tuple[DiskFault, ...] = (),
        concurrency: int = 64,
    ) -> Ending:
        """Run an orchestrator, and `main` with it, until `main` returns, the point is reached or it breaks."""
        self.lives += 1
        self.process = Process(self.trace, ends_at)
        self.trace.note(f"life {self.lives}")
        disk = ProcessDisk(
            self.disk,
            self.process,
            self.trace,
            self.chance(f"disk {self.lives}"),
            faults,
            self.observer,
        )
        ports = self._ports(disk)
        services = {name: self._spec(one, concurrency) for name, one in self.services.items()}
        error = self._run(main, ports, services)
        self.open_files = disk.open_files
        if not self.process.is_alive and not self.process.is_endless:
            return Ending(How.CRASHED)
        return Ending(How.BROKE, error) if error else Ending(How.FINISHED)

    def _run(
        self,
        main: Callable[[Orchestrator], Awaitable[object]],
        ports: Ports,
        services: Mapping[str, object],
    ) -> ExceptionGroup[Exception] | None:
        """Return what the product raised."""
        error: ExceptionGroup[Exception] | None = None
        seed = self._random.getrandbits(32)
        self._is_living = True
        try:
            run_in_virtual_time(
                self._main, main, ports, services, seed=seed, instruments=[self.process]
            )
        except* Crashed:
            pass
        except* Exception as errors:  # how the product ends is what the world is to see
            error = errors
        finally:
            self._is_living = False
            self._elapsed_s += self.process.ended_at_s
        return error

    async def _main(
        self,
        main: Callable[[Orchestrator], Awaitable[object]],
        ports: Ports,
        services: Mapping[str, object],
    ) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.process.reap)
                nursery.start_soon(self.agenda.run, self.now_s)
                async with open_orchestrator(DIRECTORY, services, ports) as orchestrator:
                    await main(orchestrator)
                nursery.cancel_scope.cancel()
        finally:
            self.process.stop()

    def _ports(self, disk: ProcessDisk) -> Ports:
        random = self.chance(f"process {self.lives}")
        read_s = 0.0

        def stopwatch() -> float:
            nonlocal read_s
            read_s += random.random() * PIECE_S
            return read_s

        return Ports(
            disk=disk,
            wall=lambda: BEGINNING_UTC_S + self.now_s() + self.shape.wall_skew_s,
            draw=random.random,
            run_blocking=Blocking(self.process, random, self.shape.disk_latency_s),
            resident_bytes=lambda: 0,
            chance=random.randbytes,
            stopwatch=stopwatch,
            row_file=self.rows.file,
            segment_bytes=self.shape.segment_bytes,
            snapshot_every_bytes=self.shape.snapshot_every_bytes,
            commit_bytes=self.shape.commit_bytes,
            heartbeat_s=0.0,
            look_every_s=0.0,
            never_stuck_every_s=self.shape.never_stuck_every_s,
            archive_behind_bytes=self.shape.archive_behind_bytes,
            erase_after_s=self.shape.erase_after_s,
            queue_ahead=self.shape.queue_ahead,
        )


class Blocking:
    """The port `run_blocking`: makes a call on the loop, after a while, or answers after a while.

    As with a thread, a call that has begun is not given up, and one limiter lets one call in at a time.
    """

    def __init__(self, process: Process, random: Random, latency_s_max: float) -> None:
        self._process = process
        self._random = random
        self._latency_s_max = latency_s_max

    async def __call__(
        self,
        call: Callable[[*A], T],
        /,
        *arguments: *A,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        await trio.lowlevel.checkpoint()
        if not self._latency_s_max:
            self._process.check()
            return call(*arguments)
        async with limiter or trio.CapacityLimiter(1):
            with trio.CancelScope(shield=True):
                latency_s = self._random.uniform(-1.0, 1.0) * self._latency_s_max
                await trio.sleep(max(0.0, latency_s))
                self._process.check()
                result = call(*arguments)
                if latency_s < 0.0:
                    await trio.sleep(-latency_s)
        return result
