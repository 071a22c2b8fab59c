"""The account of one world: what its services were asked, what they did, and in which order.

It outlives the orchestrator's crashes. Each service has a ledger of its own for each world, so that many worlds
can be played side by side and none sees another.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sagakeep.proof.saga_ledger import SagaLedger
from sagakeep.proof.scenario import Scenario
from sagakeep.proof.script import Script
from sagakeep.service import AttemptResult, Call, Phase
from sagakeep.simulation.service import Behaviour, Reaction

LATE_AGAIN_S: Final = 0.25  # how long after the first a request that comes twice comes again


class Asked(NamedTuple):
    """A call was made; `number` counts those of its step and phase over crashes."""

    at_s: float
    step_id: str
    phase: Phase
    number: int
    behaviour: Behaviour
    attempt: int
    is_cut: bool  # the orchestrator is killed before it arrives, or before its answer is read


class Answered(NamedTuple):
    """The answer to the call `number` was there."""

    at_s: float
    step_id: str
    phase: Phase
    number: int
    error: str


class Done(NamedTuple):
    """A request arrived and had an effect; `times` is how often that effect is there now."""

    at_s: float
    step_id: str
    phase: Phase
    attempt: int
    times: int


class Arrived(NamedTuple):
    """A request arrived and had none: it was done before, undone before, or there was nothing to undo."""

    at_s: float
    step_id: str
    phase: Phase
    attempt: int
    why: str


class Killed(NamedTuple):
    """The orchestrator was killed, and started again `down_s` later."""

    at_s: float
    down_s: float


Moment = Asked | Answered | Done | Arrived | Killed


class Account:
    """One world's part of all services. Times are seconds since its saga began."""

    def __init__(self, script: Script, scenario: Scenario) -> None:
        self.scenario = scenario
        self.moments: list[Moment] = []
        self.began_at_s = 0.0
        self.is_armed = scenario.crash is not None
        self._script = script
        self._plan = script.plan
        self._counts: dict[tuple[str, Phase], int] = {}
        self._numbers: dict[tuple[str, Phase, int], int] = {}
        self._ledgers: dict[str, SagaLedger] = {}

    def react(self, call: Call, at_s: float) -> Reaction:
        """Say what becomes of a call; the script of every service."""
        known = (call.step_id, call.phase)
        number = self._counts.get(known, 0) + 1
        behaviour = self.scenario.behaviour(*known, number)
        crash = self.scenario.crash if self.is_armed else None
        is_cut = crash is not None and crash[:3] == (*known, number) and crash.moment != "wait"
        if is_cut and crash is not None:
            behaviour = _cut(behaviour, crash.moment)
        if not (is_cut and behaviour is Behaviour.HANG):
            self._counts[known] = number
        self._numbers[(*known, call.attempt)] = number
        self.moments.append(
            Asked(at_s - self.began_at_s, *known, number, behaviour, call.attempt, is_cut)
        )
        latency_s = self.latency_s(call.step_id)
        return Reaction(behaviour, latency_s=latency_s, again_s=LATE_AGAIN_S)

    def answered(self, call: Call, result: AttemptResult, at_s: float) -> None:
        """An answer was there, however late."""
        number = self._numbers[(call.step_id, call.phase, call.attempt)]
        self.moments.append(
            Answered(at_s - self.began_at_s, call.step_id, call.phase, number, result.error)
        )

    def killed(self, at_s: float, down_s: float) -> None:
        """The orchestrator was killed; from now on nothing more is cut."""
        self.is_armed = False
        self.moments.append(Killed(at_s - self.began_at_s, down_s))

    def deliver(self, call: Call, at_s: float) -> AttemptResult:
        """A request arrives at its service."""
        ledger = self._ledgers.get(call.service)
        if ledger is None:
            ledger = SagaLedger(self._script, call.service)
            self._ledgers[call.service] = ledger
        before = len(ledger.entries)
        result = ledger.deliver(call, at_s)
        at_s -= self.began_at_s
        if len(ledger.entries) > before:
            count = ledger.net(call.saga_id, call.step_id)
            self.moments.append(Done(at_s, call.step_id, call.phase, call.attempt, count))
        elif call.phase != "probe" and not ledger.only_reads(call):
            why = result.error or ledger.why_nothing(call)
            self.moments.append(Arrived(at_s, call.step_id, call.phase, call.attempt, why))
        return result

    def latency_s(self, step_id: str) -> float:
        """How long a request of a step is on its way."""
        return self._script.latencies_s[step_id]

    def timeout_s(self, step_id: str) -> float:
        """How long one attempt of a step may take."""
        return self._plan.steps[step_id].timeout_s

    def retries_max(self, step_id: str, phase: Phase) -> int:
        """How often a call may be made again."""
        step = self._plan.steps[step_id]
        return step.compensation_retries_max if phase == "compensation" else step.retries_max

    def effects(self) -> list[Done]:
        """All effects, in order."""
        return [moment for moment in self.moments if isinstance(moment, Done)]

    def net(self, step_id: str) -> int:
        """How often a step's effect is there in the end."""
        counts = [one.times for one in self.effects() if one.step_id == step_id]
        return counts[-1] if counts else 0


def _cut(behaviour: Behaviour, moment: str) -> Behaviour:
    """What the service does with a call whose answer nobody will read."""
    if moment == "before" or behaviour not in HAVE_EFFECT:
        return Behaviour.HANG
    return behaviour if behaviour is Behaviour.SLOW else Behaviour.LATE


HAVE_EFFECT: Final = frozenset(
    {Behaviour.DONE, Behaviour.LOST, Behaviour.LATE, Behaviour.SLOW, Behaviour.TWICE}
)
