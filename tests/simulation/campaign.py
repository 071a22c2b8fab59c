"""One configuration, life after life: crashes as planned, then a last process without any trouble."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, NamedTuple

import trio

from sagakeep.effects import RunCall, call_of
from sagakeep.errors import JournalCorrupt, SagakeepError
from sagakeep.http.app import make_app
from sagakeep.messages import Compensate
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime.journal_files import open_journal
from sagakeep.saga_status import COMPENSATION_FAILED, COMPLETED, FINAL, HELD
from sagakeep.service import Call
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.simulation.ledger import Promise
from sagakeep.simulation.service import Behaviour, Reaction, Script
from sagakeep.simulation.world import BEGINNING_UTC_S, DIRECTORY, World
from sagakeep.state import SagaState
from sagakeep.steering import editable, plan_id_of, resolutions, skippable
from simulation import invariants
from simulation.client import EDITED, STILL_WITHIN_S, Client
from simulation.configuration import Configuration, Crash, ServicePlan, configure
from simulation.durable import Placed, read_journal
from simulation.judge import Judge

ERASED_WITHIN_S = 400.0  # a deletion is old after less, and then it is looked at once a minute
REST_WITHIN_S = 20_000.0  # the longest retries of a small saga take minutes
PAUSE_S_MAX = 40.0  # between two wishes about services
LATE_S_MAX = 200.0  # after it nothing is on its way to a service any more


class Verdict(NamedTuple):
    """What came of one world."""

    seed: int
    broken: tuple[str, ...]
    digest: str
    lives: int
    crashes: int
    checks: int
    steps: int
    disk_operations: tuple[int, ...]  # of each life
    calls: tuple[int, ...]
    life_steps: tuple[int, ...]
    tail: tuple[str, ...]


def run_seed(seed: int) -> Verdict:
    return run(configure(seed))


def run(configuration: Configuration) -> Verdict:
    """Let a world go by and judge it."""
    with quiet() as said:
        campaign = Campaign(configuration)
        said.listener = partial(invariants.i37_something_moves_each_saga, campaign.judge)
        campaign.run()
        for text in said.texts:
            invariants.i24_secrets_are_not_shown(campaign.judge, text)
        return campaign.verdict()


class Campaign:
    """A world, its clients and its judge."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.judge = Judge(configuration)
        self.world = World(configuration.seed, configuration.shape, self.judge)
        self.judge.world = self.world
        self.random = self.world.chance("campaign")
        self.has_trouble = True
        self.steers_services = self.world.chance("steers").random() < 0.3
        self.crash = Crash(None)
        self.clients = [Client(n, plan) for n, plan in enumerate(configuration.sagas)]
        self.crashes = 0
        self.counts: list[tuple[int, int, int]] = []
        services = self.world.chance("services")
        for name, plan in configuration.services.items():
            script = self._script(plan, services)
            self.world.service(name, script, plan.promise, plan.late_reply_s, plan.limit)

    def run(self) -> None:
        for crash in self.configuration.crashes:
            self._live(crash)
            if self.judge.broken:
                return
            if crash.flips_bit and not self._flip():
                return
        self.has_trouble = False
        self._live(Crash(None, cuts_power=False))
        if not self.judge.broken:
            self.world.settle()
            self.judge.closes()

    def verdict(self) -> Verdict:
        operations, calls, steps = zip(*self.counts, strict=True)
        return Verdict(
            self.configuration.seed,
            tuple(self.judge.broken),
            self.world.trace.digest(),
            self.world.lives,
            self.crashes,
            self.judge.checks,
            sum(steps),
            operations,
            calls,
            steps,
            tuple(self.world.trace.tail(60)) if self.judge.broken else (),
        )

    def _script(self, plan: ServicePlan, random: Random) -> Script:
        kinds = {
            phase: (list(map(Behaviour, weights)), list(weights.values()))
            for phase, weights in (
                ("action", plan.weights),
                ("probe", plan.weights),
                ("compensation", plan.undo_weights),
            )
        }
        travels = plan.promise is Promise.BARRIER

        def script(call: Call) -> Reaction:
            if not self.has_trouble:
                return Reaction()
            behaviour = random.choices(*kinds[call.phase])[0]
            there_s = plan.latency_s * random.random() if travels else 0.0
            back_s = plan.latency_s * random.random()
            again_s = random.choice((0.0, 0.5, 20.0))
            retry_after_s = random.choice((0.0, 1.5, 90.0))  # longer than a service is held off
            is_nonsense = random.random() < plan.poison
            return Reaction(behaviour, there_s, back_s, again_s, retry_after_s, is_nonsense)

        return script

    # Lives

    def _live(self, crash: Crash) -> None:
        world, judge = self.world, self.judge
        judge.begins()
        self.crash = crash
        chance = world.chance(f"rows {world.lives}")
        world.rows.fails = lambda: chance.random() < crash.rows_fail
        world.shape = self.configuration.shape._replace(wall_skew_s=crash.wall_skew_s)
        if not self.has_trouble:
            world.shape = world.shape._replace(disk_latency_s=0.0)
        ending = world.live(
            self._main,
            ends_at=crash.ends_at,
            faults=crash.faults,
            concurrency=self.configuration.concurrency,
        )
        process = world.process
        self.counts.append((process.disk_operations, process.calls, process.steps))
        world.trace.note(f"{ending.how} {ending.error!r}")
        if judge.broken:
            return
        judge.ended(ending)
        self.crashes += ending.how != "finished"
        if crash.cuts_power:
            world.cut_power()
        else:
            world.kill()
        self._look_at_disk()
        world.sleep(crash.down_s)

    async def _main(self, orchestrator: Orchestrator) -> None:
        await self.judge.recovered(orchestrator)
        by_http = any(client.plan.by_http for client in self.clients)
        app: Any = make_app(orchestrator) if by_http else None
        if not self.has_trouble:
            await self._open_services(orchestrator)
        with trio.move_on_after(REST_WITHIN_S) as waiting:
            async with trio.open_nursery() as beside:
                if self.has_trouble and self.steers_services:
                    beside.start_soon(self._steer_services, orchestrator)
                await self._let_clients(orchestrator, app)
                beside.cancel_scope.cancel()
            if not self.has_trouble:
                await self._help(orchestrator)
                await self._rest(orchestrator)
                await trio.sleep(3)  # timers that were dropped, rows that were not written
                if any(state.deleted for state in self.judge.log.states.values()):
                    await trio.sleep(ERASED_WITHIN_S)
        if waiting.cancelled_caught and not self.has_trouble:
            self.judge.fail("I25", f"no rest within {REST_WITHIN_S} s")
        if not self.has_trouble:
            await self.judge.rests(orchestrator)

    async def _let_clients(self, orchestrator: Orchestrator, app: Any) -> None:
        async with trio.open_nursery() as nursery:
            for client in self.clients:
                nursery.start_soon(client.run, orchestrator, app, self.judge)
            if self.crash.drains_after_s is not None:
                await trio.sleep(self.crash.drains_after_s)
                await orchestrator.drain(self.crash.grace_s)
                nursery.cancel_scope.cancel()

    async def _steer_services(self, orchestrator: Orchestrator) -> None:
        """Pause a service for a while, and retry all that waits for one, now and then."""
        chance = self.world.chance(f"services {self.world.lives}")
        names = sorted(self.world.services)
        while True:
            await trio.sleep(chance.uniform(0.0, PAUSE_S_MAX))
            name = chance.choice(names)
            try:
                if chance.random() < 0.3:
                    await orchestrator.fleet.retry_service(name, by="op")
                elif name in self.judge.paused_services:
                    self.judge.paused_services.discard(name)
                    await orchestrator.fleet.resume_service(name, by="op")
                else:
                    await orchestrator.fleet.pause_service(name, by="op")
                    self.judge.paused_services.add(name)
            except SagakeepError as error:
                self.world.trace.note(f"operator: {error}")

    async def _open_services(self, orchestrator: Orchestrator) -> None:
        """What is still paused at the end of the day is resumed."""
        for name in sorted(self.world.services):
            is_paused = orchestrator.service_states()[name].paused is not None
            self.judge.expect(
                is_paused or name not in self.judge.paused_services,
                "I36",
                f"the pause of {name} is forgotten",
            )
            self.judge.paused_services.discard(name)
            await orchestrator.fleet.resume_service(name, by="op")

    async def _help(self, orchestrator: Orchestrator) -> None:
        """Do what an operator does at the end of the day: what is held goes on, or back, or ends."""
        for saga_id, state in list(self.judge.log.states.items()):
            if state.paused is not None and not state.deleted:
                await orchestrator.resume(saga_id, by="op")
        for saga_id, state in list(self.judge.log.states.items()):
            await self._rest(orchestrator)
            still = self.judge.log.states[saga_id]
            if state.deleted:
                continue
            try:
                if still.status in HELD:
                    await self._help_held(orchestrator, still)
                elif still.status in FINAL:
                    await self._help_ended(orchestrator, still)
            except SagakeepError as error:
                self.world.trace.note(f"operator: {error}")

    async def _help_held(self, orchestrator: Orchestrator, held: SagaState) -> None:
        moves = ("retry", "retry", "compensate", "resolve", "skip", "edit", "down", "finish", "")
        move = self.random.choice(moves)
        edits = editable(held)
        if move == "resolve" and resolutions(held):
            await self._resolve(orchestrator, held)
        elif move == "skip" and (found := skippable(held)):
            await orchestrator.skip(held.id, self.random.choice(found), by="op")
        elif move == "edit" and edits:
            await orchestrator.edit(held.id, self.random.choice(edits)[0], EDITED, by="op")
        elif move == "finish":
            await orchestrator.finish(held.id, by="op")
        elif move == "retry" or held.status is COMPENSATION_FAILED:
            await orchestrator.retry(held.id, by="op")
        elif move == "compensate":
            await orchestrator.compensate(held.id, by="op")
        elif move == "down":
            step_id = self.random.choice(list(held.steps))
            await orchestrator.compensate(held.id, down_to=step_id, by="op")

    async def _help_ended(self, orchestrator: Orchestrator, ended: SagaState) -> None:
        """Run it again, or part of it: seldom, for both is much to do."""
        chance = self.random.random()
        if chance < 0.1:
            await orchestrator.rerun(ended.id, by="op")
        elif chance < 0.2 and ended.status is COMPLETED:
            step_id = self.random.choice(list(ended.steps))
            plan, planned = await orchestrator.plan_compensation(ended.id, down_to=step_id)
            plan_id = plan_id_of(planned, Compensate(down_to=step_id))
            self.world.trace.note(f"operator: plans {[one.call.step_id for one in plan.calls]}")
            await orchestrator.compensate(ended.id, down_to=step_id, plan_id=plan_id, by="op")

    async def _resolve(self, orchestrator: Orchestrator, held: SagaState) -> None:
        """Look what is there of a step, undo by hand what could not be undone, and say so."""
        step_id, resolution = self.random.choice(resolutions(held))
        await trio.sleep(LATE_S_MAX)
        ledger = self.world.services[held.step(step_id).service].ledger
        is_there = ledger.net(held.id, step_id) > 0
        if resolution == "undone" and is_there:
            call = held.steps[step_id].compensation
            undo = RunCall(step_id, "compensation", call.epoch, call.attempt)
            ledger.deliver(call_of(held, undo), self.world.now_s())
        elif resolution != "undone":
            resolution = "done" if is_there else "not_done"
        await orchestrator.resolve(held.id, step_id, resolution, by="op")

    async def _rest(self, orchestrator: Orchestrator) -> None:
        for state in list(self.judge.log.states.values()):
            if not state.deleted:
                await orchestrator.wait(state.id, STILL_WITHIN_S)

    # The disk between two lives

    def _look_at_disk(self) -> None:
        """All that was durable must be there, and at most the frame that was in doubt."""
        try:
            found = read_journal(self.world.disk)
        except JournalCorrupt as error:
            self.judge.fail("I18", f"nothing was damaged, and: {error}")
            return
        self.judge.beyond_known(found)
        invariants.i31_a_snapshot_ends_where_it_says(self.judge, self.world.disk)
        if self.random.random() < 0.1:
            self._recover_twice(found)

    def _recover_twice(self, found: list[Placed]) -> None:
        disk = self.world.disk.copy()
        for _ in range(2):
            salt = self.random.randbytes
            opened = open_journal(
                disk,
                DIRECTORY,
                now_ns=int(BEGINNING_UTC_S * 1e9),
                segment_bytes=4 << 10,
                salt=lambda: salt(16),
                uuid=lambda: salt(16),
            )
            opened.files.close(clean=False)
            self.judge.expect(
                read_journal(disk) == found,
                "I17",
                "a recovery that was repeated found something else",
            )

    # Damage

    def _flip(self) -> bool:
        """Flip one bit at rest. The world goes on (True) if nothing was lost of it; else it must be refused."""
        disk, before = self.world.disk, self.world.disk.copy()
        files = [path for path in disk.paths() if disk.get(path)]
        if not files:
            return True
        path = self.random.choice(files)
        data = bytearray(disk.get(path))
        bit = self.random.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        disk.put(path, bytes(data))
        self.world.trace.note(f"bit {bit} of {path}")
        was = read_journal(before)
        try:
            found = self._opened(disk.copy())
        except SagakeepError as error:
            self.world.trace.note(f"refused: {error}")
        else:
            self.judge.expect(
                found == was, "I18", f"bit {bit} of {path} was accepted, and records are gone"
            )
        if path.endswith(".snap"):
            return not self.judge.broken  # a snapshot that is damaged is passed over
        self.world.disk = before
        return not self.judge.broken

    def _opened(self, disk: MemoryDisk) -> list[Placed]:
        """The records after a recovery of the journal."""
        salt = self.random.randbytes
        opened = open_journal(
            disk,
            DIRECTORY,
            now_ns=int(BEGINNING_UTC_S * 1e9),
            salt=lambda: salt(16),
            uuid=lambda: salt(16),
            segment_bytes=4 << 10,
        )
        opened.files.close(clean=False)
        return read_journal(disk)


class _Said(logging.Handler):
    """Keeps what is logged, to be searched for secrets; a listener hears it at once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self.listener: Callable[[str], None] = lambda text: None

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self.texts.append(text)
        self.listener(text)


@contextmanager
def quiet() -> Iterator[_Said]:
    """Keep the log to ourselves."""
    logger = logging.getLogger("sagakeep")
    handler, was = _Said(), (logger.propagate, logger.level)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.propagate = was[0]
        logger.setLevel(was[1])
