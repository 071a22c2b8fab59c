"""Never stuck: each live saga has something that will move it, and one that has nothing is started again.

    awake     100 sagas | rest 200 ms | 100 sagas | ...    its actor: a turn to come, or for each thing that is
                                                           outstanding a job that is under way, or a timer
    asleep    100 sagas | rest 500 ms | ...               a time in the wake list, a place in a queue; an operator

What is missing is looked at a second time before it counts, because a look may fall between two steps that belong
together; and what the timers have yet to bring, when all of a night is due at once, is not missing. What is left
is a bug in here, which no restart of the process should have to cure: the saga is told of in
the log and by an alert, and its actor is started again from the journal, as after a crash; at most once in five
minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

import trio

from sagakeep.actors.job import Job
from sagakeep.actors.live_sagas import LiveSagas
from sagakeep.alert import SAGAS_NAMED_MAX, Severity, Trouble
from sagakeep.effects import RunCall, outstanding
from sagakeep.log_fields import fields_of
from sagakeep.runtime.clock import Clock
from sagakeep.runtime.timers import Timers
from sagakeep.saga_status import MOVING
from sagakeep.state import SagaState
from sagakeep.waits import Begun

_log: Final = logging.getLogger(__name__)

AWAKE_AT_ONCE: Final = 100
AWAKE_REST_S: Final = 0.2
# Some 20 us each, whatever their number: half a hundredth of a processor. In few steps, for each wakes the loop.
ASLEEP_AT_ONCE: Final = 100
ASLEEP_REST_S: Final = 0.5
SECOND_LOOK_S: Final = 2.0
LATE_S: Final = 30.0  # after which what should have happened at a time counts as missing
TOLD_S: Final = 300.0  # for so long a repair is an alert, and not done again


class NothingMoves(Exception):
    """A live saga had nothing that would move it."""


class Pulse(NamedTuple):
    """What an actor has that will move it. `is_busy`: a turn is to come, or the journal or its supervisor has it.

    `timer_due_s` is 0 without a timer, on trio's clock.
    """

    state: SagaState | None
    is_busy: bool
    has_news: bool
    jobs: Mapping[RunCall, Job]
    timer_due_s: float
    woken_utc_s: float


class Supervisor(Protocol):
    """The registry, as far as this module knows it."""

    def pulse(self, saga_id: str) -> Pulse | None: ...

    def will_wake(self, saga_id: str, at_utc_s: float) -> bool: ...

    def begun(self, saga_id: str) -> tuple[Begun, ...]: ...

    def repair(self, saga_id: str, flaw: NothingMoves) -> None: ...


class NeverStuck:
    """Goes round; `checked` and `repaired` are counted since the start."""

    def __init__(
        self, live: LiveSagas, supervisor: Supervisor, clock: Clock, timers: Timers
    ) -> None:
        self.checked = 0
        self.repaired = 0
        self._live = live
        self._supervisor = supervisor
        self._clock = clock
        self._timers = timers
        self._told: dict[
            str, float
        ] = {}  # by saga, until when on trio's clock; few, for each is a bug

    async def run(self, pause_s: float) -> None:
        """Go round until cancelled, with a pause between two rounds; not at all if that is 0."""
        if not pause_s:
            return
        awake = (self._live.awake_ids, AWAKE_AT_ONCE, AWAKE_REST_S)
        asleep = (self._live.asleep_ids, ASLEEP_AT_ONCE, ASLEEP_REST_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._go_round, *awake, pause_s)
            nursery.start_soon(self._go_round, *asleep, pause_s)

    def troubles(self) -> Iterator[Trouble]:
        """What was found in the last minutes."""
        self._forget_told()
        if self._told:
            sagas = "1 saga" if len(self._told) == 1 else f"{len(self._told)} sagas"
            yield Trouble(
                "saga_unmoved",
                Severity.WARNING,
                f"{sagas} would never have moved again, and began anew from the journal",
                "nothing is lost; report it with the log's lines about it: it is a bug of sagakeep",
                count=len(self._told),
                sagas=tuple(sorted(self._told)[:SAGAS_NAMED_MAX]),
            )

    async def _go_round(
        self, ids: Callable[[], Iterator[str]], at_once: int, rest_s: float, pause_s: float
    ) -> None:
        while True:
            suspects: dict[str, str] = {}
            for count, saga_id in enumerate(ids(), start=1):
                flaw = self._flaw(saga_id)
                if flaw:
                    suspects[saga_id] = flaw
                if count % at_once == 0:
                    await self._look_again(suspects)
                    await trio.sleep(rest_s)
            await self._look_again(suspects)
            await trio.sleep(pause_s)

    def _forget_told(self) -> None:
        now_s = trio.current_time()
        self._told = {name: until_s for name, until_s in self._told.items() if until_s > now_s}

    async def _look_again(self, suspects: dict[str, str]) -> None:
        self._forget_told()
        if not suspects:
            return
        await trio.sleep(SECOND_LOOK_S)
        for saga_id, flaw in suspects.items():
            if saga_id not in self._told and self._flaw(saga_id) == flaw:
                self.repaired += 1
                self._told[saga_id] = trio.current_time() + TOLD_S
                _log.error(
                    "saga %s had nothing to move it: %s; it is started again: report this line, it is a bug",
                    saga_id,
                    flaw,
                    extra=self._fields(saga_id),
                )
                self._supervisor.repair(saga_id, NothingMoves(flaw))
        suspects.clear()

    def _fields(self, saga_id: str) -> dict[str, object]:
        known = self._live.get(saga_id)
        return {"saga": saga_id} if known is None else fields_of(known[0])

    def _flaw(self, saga_id: str) -> str:
        self.checked += 1
        if self._live.is_asleep(saga_id):
            return self._flaw_asleep(saga_id)
        if saga_id not in self._live:
            return ""
        pulse = self._supervisor.pulse(saga_id)
        if pulse is None:
            return "it is live, and has no actor"
        behind_s = self._timers.behind_s()
        return flaw_of(pulse, self._clock.now_utc_s() - behind_s, trio.current_time() - behind_s)

    def _flaw_asleep(self, saga_id: str) -> str:
        at_utc_s = self._live.wakes_at_utc_s(saga_id)
        if at_utc_s is None:
            is_queued = self._supervisor.begun(saga_id)
            return "" if is_queued else "it sleeps, and has its place in no queue"
        if at_utc_s and not self._supervisor.will_wake(saga_id, at_utc_s):
            return f"it sleeps until {at_utc_s:.3f}, and nothing will wake it"
        return ""


def flaw_of(pulse: Pulse, now_utc_s: float, now_s: float) -> str:
    """Say what is missing that should have moved an actor by then, "" when nothing is."""
    if pulse.is_busy or pulse.state is None:
        return ""
    if pulse.has_news:
        return "something has come for it, and no turn will"
    effects = outstanding(pulse.state)
    if pulse.state.paused is not None:
        effects = [one for one in effects if one in pulse.jobs]  # what has begun ends
    elif not effects and pulse.state.status in MOVING:
        return f"nothing is outstanding for it, and it is {pulse.state.status}"
    if pulse.timer_due_s and pulse.timer_due_s < now_s - LATE_S:
        return "its timer was due long ago"
    for effect in effects:
        at_utc_s = effect.not_before_utc_s if isinstance(effect, RunCall) else effect.at_utc_s
        if isinstance(effect, RunCall) and effect in pulse.jobs:
            flaw = _flaw_of_job(pulse.state, effect, pulse.jobs[effect], now_s)
        elif isinstance(effect, RunCall) and at_utc_s <= now_utc_s - LATE_S:
            flaw = f"no attempt of step {effect.step_id!r} is under way"
        else:
            is_timed = pulse.timer_due_s or at_utc_s <= pulse.woken_utc_s
            flaw = "" if is_timed else "no timer is set for what it waits for"
        if flaw:
            return flaw
    return ""


def _flaw_of_job(state: SagaState, effect: RunCall, job: Job, now_s: float) -> str:
    step = f"step {effect.step_id!r}"
    if job.is_reported or not job.is_wanted:
        return f"the answer of {step} has gone astray"
    if job.queue is None and now_s > job.began_s + state.step(effect.step_id).timeout_s + LATE_S:
        return f"an attempt of {step} is in no queue, and has not ended with its timeout"
    return ""
