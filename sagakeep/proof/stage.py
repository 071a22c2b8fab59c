"""The stage: plays scenarios, many at a time, each a saga of its own in one orchestrator.

The orchestrator is the real one, on a simulated disk and in virtual time. Sagas do not see each other, so a
few hundred worlds cost one start of the engine. Where a crash belongs to the scenario, the sagas begin at such
times that each is at its own point when all of them are killed at once:

    saga 1   |--------------x                 x: killed here, before a call, after one, or between two
    saga 2        |---------x
    saga 3             |----x
    time     0              T     T + 1: a new process recovers, and all go on

Nothing is left to chance: waits are drawn at half their interval, and calls take next to no time unless the
scenario says so.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec
import trio

from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError
from sagakeep.events import Record
from sagakeep.orchestrator import Orchestrator
from sagakeep.proof.account import Account
from sagakeep.proof.promises import Promises
from sagakeep.proof.scenario import Scenario
from sagakeep.proof.script import Script
from sagakeep.proof.stage_world import StageWorld
from sagakeep.simulation.service import AFTER_TIMEOUT_S
from sagakeep.simulation.world import How, World
from sagakeep.state import SagaState

DOWN_S: Final = 1.0  # from a crash to the next start
CONCURRENCY: Final = 100_000  # no world waits for another


class Played(NamedTuple):
    """How a world ended. Without a `state` the saga was lost, or the orchestrator broke: `error` says how."""

    scenario: Scenario
    account: Account
    state: SagaState | None
    error: str
    records: Sequence[Record] = ()
    trace: Sequence[str] = ()


class Cue(NamedTuple):
    """A scenario, and when its crash comes, in seconds since its saga began; 0 without one."""

    scenario: Scenario
    crash_at_s: float = 0.0


class Stage:
    """Plays scenarios of one definition. `bound_s` is how long a world may take in virtual time."""

    def __init__(self, definition: SagaDefinition, promises: Promises, bound_s: float) -> None:
        self._definition = definition
        self._script = Script(definition, promises)
        self._bound_s = bound_s
        self._services = sorted({step.service for step in definition.steps})

    def play(self, cues: Sequence[Cue], *, with_records: bool = False) -> list[Played]:
        """Play some worlds side by side, all of them with a crash or none."""
        with _without_collector(), _in_silence():
            return self._play(cues, with_records)

    def _play(self, cues: Sequence[Cue], with_records: bool) -> list[Played]:
        world = StageWorld(is_traced=with_records)
        cast = {f"world-{at}": Account(self._script, cue.scenario) for at, cue in enumerate(cues)}
        for name in self._services:
            world.add_service(name, cast)
        show = _Show(self._definition, cast, cues, self._bound_s, with_records)
        if any(cue.scenario.crash for cue in cues):
            kill_at_s = max(cue.crash_at_s for cue in cues) + self._script.instant_s
            world.live(show.until_killed(world, kill_at_s), concurrency=CONCURRENCY)
            for account in cast.values():
                account.killed(world.now_s(), DOWN_S)
            world.kill()
            world.sleep(DOWN_S)
            ending = world.live(show.second_act, concurrency=CONCURRENCY)
        else:
            ending = world.live(show.first_act(world), concurrency=CONCURRENCY)
        error = "" if ending.how is How.FINISHED else f"the orchestrator ended: {ending.error!r}"
        return show.played(error, tuple(world.trace.lines))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Let garbage lie meanwhile: to look for it among all that is live is a fifth of what a world costs."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _in_silence() -> Iterator[None]:
    """Log nothing: what goes wrong here is meant to."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


class _Show:
    """One performance: the sagas that play side by side, and what became of them."""

    def __init__(
        self,
        definition: SagaDefinition,
        cast: dict[str, Account],
        cues: Sequence[Cue],
        bound_s: float,
        with_records: bool,
    ) -> None:
        self._definition = definition
        self._cast = cast
        self._cues = cues
        self._bound_s = bound_s
        self._with_records = with_records
        self._states: dict[str, SagaState] = {}
        self._errors: dict[str, str] = {}
        self._records: dict[str, Sequence[Record]] = {}

    def first_act(self, world: World) -> _Act:
        """Begin every saga at once, and wait for all."""

        async def main(orchestrator: Orchestrator) -> None:
            async with trio.open_nursery() as nursery:
                for saga_id in self._cast:
                    nursery.start_soon(self._play, orchestrator, world, saga_id)
            await self._let_arrive()

        return main

    def until_killed(self, world: World, kill_at_s: float) -> _Act:
        """Begin every saga so that its crash is at that time; then it comes."""

        async def begin(orchestrator: Orchestrator, saga_id: str, at_s: float) -> None:
            await trio.sleep_until(at_s)
            await self._begin(orchestrator, world, saga_id)

        async def main(orchestrator: Orchestrator) -> None:
            zero_s = trio.current_time()
            async with trio.open_nursery() as nursery:
                for saga_id, cue in zip(self._cast, self._cues, strict=True):
                    at_s = zero_s + max(one.crash_at_s for one in self._cues) - cue.crash_at_s
                    nursery.start_soon(begin, orchestrator, saga_id, at_s)
                await trio.sleep_until(zero_s + kill_at_s)
                world.process.end()

        return main

    async def second_act(self, orchestrator: Orchestrator) -> None:
        """Wait for every saga that was taken up again."""
        async with trio.open_nursery() as nursery:
            for saga_id in self._cast:
                nursery.start_soon(self._wait, orchestrator, saga_id)
        await self._let_arrive()

    async def _let_arrive(self) -> None:
        """Let everything arrive that is on its way; the sagas that stand still must not mind."""
        longest_s = max(step.timeout_s for step in self._definition.steps)
        await trio.sleep(longest_s + 2 * AFTER_TIMEOUT_S)

    def played(self, error: str, trace: Sequence[str]) -> list[Played]:
        """What became of each, in order."""
        return [
            Played(
                account.scenario,
                account,
                self._states.get(saga_id),
                error or self._errors.get(saga_id, ""),
                self._records.get(saga_id, ()),
                trace,
            )
            for saga_id, account in self._cast.items()
        ]

    async def _play(self, orchestrator: Orchestrator, world: World, saga_id: str) -> None:
        await self._begin(orchestrator, world, saga_id)
        await self._wait(orchestrator, saga_id)

    async def _begin(self, orchestrator: Orchestrator, world: World, saga_id: str) -> None:
        self._cast[saga_id].began_at_s = world.now_s()
        await orchestrator.start(msgspec.structs.replace(self._definition, id=saga_id))

    async def _wait(self, orchestrator: Orchestrator, saga_id: str) -> None:
        try:
            self._states[saga_id] = await orchestrator.wait(saga_id, self._bound_s)
            if self._with_records:
                self._records[saga_id] = await orchestrator.events(saga_id, limit=EVENTS_MAX)
        except SagakeepError as error:
            self._errors[saga_id] = str(error)


_Act = Callable[[Orchestrator], Awaitable[None]]
EVENTS_MAX: Final = 100_000
