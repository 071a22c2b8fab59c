"""The programme: which worlds are played, from the definition alone or from how a world without a crash went.

    well      nothing goes wrong
    call      each fault of each attempt of each action; the attempts before it are unavailable
    turn      each action fails for good: refused, in doubt with and without its effect, used up
    undo      each turn x each fault of each undo that it leads to
    probe     each turn x each fault of each probe that it leads to
    crash     the orchestrator is killed before and after each call, and in each wait: of the world where all goes
              well, and of turns; with everything of all others too

Faults of two calls are combined where one leads to the other, and not beyond. What a turn leads to is taken from
how that world went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sagakeep.definition import SagaDefinition, Step, StepKind
from sagakeep.plan import plan_of
from sagakeep.proof.account import HAVE_EFFECT, Account, Answered, Asked
from sagakeep.proof.promises import Promises
from sagakeep.proof.scenario import FAULTS, Crash, Fault, Scenario
from sagakeep.proof.stage import Cue
from sagakeep.service import Phase
from sagakeep.simulation.service import Behaviour

ATTEMPTS_MAX: Final = 5  # of a call that go wrong, where it has no maximum or a larger one
WAIT_S_MIN: Final = 1e-3  # a shorter wait is none to be killed in

_ONCE: Final = tuple(one for one in FAULTS if one is not Behaviour.REFUSED)
_FOR_EVER: Final = tuple(one for one in _ONCE if one is not Behaviour.TWICE)
_DOUBTS: Final = (Behaviour.LOST, Behaviour.SLOW, Behaviour.HANG)


class Programme:
    """The worlds of one definition, in families. All are lists in a fixed order."""

    def __init__(self, definition: SagaDefinition, promises: Promises) -> None:
        self._definition = definition
        self._promises = promises
        plan = plan_of(definition)
        self._after = plan.graph.dependents(plan.pivot) if plan.pivot is not None else frozenset()

    def turns(self) -> list[Scenario]:
        """Each action fails for good, in each way that it can."""
        return [
            Scenario((*faults,))
            for step in self._definition.steps
            for faults in self._turns_of(step)
        ]

    def calls(self) -> list[Scenario]:
        """One attempt of one action goes wrong, after others that were unavailable."""
        found: list[Scenario] = []
        for step in self._definition.steps:
            for number in range(1, self._attempts(step) + 1):
                before = _before(step, number)
                faults = [*_ONCE, Behaviour.REFUSED] if number > 1 else _ONCE
                found += [
                    Scenario((*before, Fault(step.id, "action", number, number, behaviour)))
                    for behaviour in faults
                    if behaviour is not Behaviour.REFUSED or self._may_refuse(step)
                ]
        return found

    def _turns_of(self, step: Step) -> Iterator[list[Fault]]:
        last = self._attempts(step)
        if self._may_refuse(step):
            yield [Fault(step.id, "action", 1, 1, Behaviour.REFUSED)]
        for behaviour in _FOR_EVER:
            yield [Fault(step.id, "action", 1, last, behaviour)]
        if last > 1 and self._may_refuse(step):
            for behaviour in (Behaviour.LOST, Behaviour.SLOW, Behaviour.HANG):
                doubt = Fault(step.id, "action", 1, 1, behaviour)
                yield [doubt, Fault(step.id, "action", 2, 2, Behaviour.REFUSED)]

    def _attempts(self, step: Step) -> int:
        """How many attempts of a step may go wrong in a row."""
        if step.kind is StepKind.RETRIABLE or step.id in self._after:
            return ATTEMPTS_MAX
        return 1 + step.retries_max

    def _may_refuse(self, step: Step) -> bool:
        told = self._promises.of(step.service).refuses
        if told is not None:
            return step.action in told
        return step.kind is not StepKind.RETRIABLE and step.id not in self._after


def _before(step: Step, number: int) -> tuple[Fault, ...]:
    if number == 1:
        return ()
    return (Fault(step.id, "action", 1, number - 1, Behaviour.UNAVAILABLE),)


def _undo_faults(step_id: str, last: int) -> Iterator[Fault]:
    for behaviour in (*_ONCE, Behaviour.REFUSED):
        yield Fault(step_id, "compensation", 1, 1, behaviour)
    for behaviour in _DOUBTS:
        yield Fault(step_id, "compensation", 1, last, behaviour)


def _probe_faults(step_id: str, last: int) -> Iterator[Fault]:
    for behaviour in (Behaviour.UNAVAILABLE, Behaviour.LOST, Behaviour.HANG, Behaviour.REFUSED):
        yield Fault(step_id, "probe", 1, 1, behaviour)
    if last > 1:
        yield Fault(step_id, "probe", 1, last, Behaviour.HANG)


# What follows from how a world went


def undo_faults_in(turn: Scenario, account: Account, *, everything: bool = False) -> list[Scenario]:
    """One undo that was called goes wrong, in each way.

    How the saga came to turn is of no matter to the undo of another step: without `everything` those are
    combined with a refusal only.
    """
    failed = turn.faults[0].step_id
    found: list[Scenario] = []
    for step_id in _called(account, "compensation"):
        own = step_id == failed and _is_plain(turn, _DOUBTS)
        if everything or own or _is_plain(turn, (Behaviour.REFUSED,)):
            last = account.retries_max(step_id, "compensation") + 1
            found += [Scenario((*turn.faults, fault)) for fault in _undo_faults(step_id, last)]
    return found


def probe_faults_in(turn: Scenario, account: Account) -> list[Scenario]:
    """One probe that was called goes wrong, or all of them."""
    return [
        Scenario((*turn.faults, fault))
        for step_id in _called(account, "probe")
        for fault in _probe_faults(step_id, account.retries_max(step_id, "probe") + 1)
    ]


def is_to_be_crashed(scenario: Scenario) -> bool:
    """Is every crash of this world played? Of other turns they are much the same."""
    return not scenario.faults or _is_plain(
        scenario, (Behaviour.REFUSED, Behaviour.LOST, Behaviour.SLOW)
    )


def _is_plain(turn: Scenario, behaviours: Sequence[Behaviour]) -> bool:
    return len(turn.faults) == 1 and turn.faults[0].behaviour in behaviours


def _called(account: Account, phase: Phase) -> list[str]:
    asked = (moment for moment in account.moments if isinstance(moment, Asked))
    return list(dict.fromkeys([one.step_id for one in asked if one.phase == phase]))


# Crashes


def crashes_of(scenario: Scenario, account: Account) -> list[Cue]:
    """Every crash of a world, from how it went without one."""
    cues: list[Cue] = []
    asked = [moment for moment in account.moments if isinstance(moment, Asked)]
    for call in asked:
        where: tuple[str, Phase, int] = (call.step_id, call.phase, call.number)
        cues.append(Cue(scenario._replace(crash=Crash(*where, "before")), call.at_s))
        if call.behaviour in HAVE_EFFECT:
            answer_s = call.at_s + account.latency_s(call.step_id)
            cues.append(Cue(scenario._replace(crash=Crash(*where, "after")), answer_s))
        wait = _wait_after(call, account)
        if wait is not None:
            begins_s, ends_s = wait
            crash = Crash(*where, "wait")
            cues.append(Cue(scenario._replace(crash=crash), (begins_s + ends_s) / 2))
    return cues


def _wait_after(call: Asked, account: Account) -> tuple[float, float] | None:
    """From when to when nothing of this call is out before it is made again; None if it is not."""
    ends_s = call.at_s + account.timeout_s(call.step_id)
    next_s = None
    for moment in account.moments:
        if isinstance(moment, Answered) and _is_same(moment, call) and moment.number == call.number:
            ends_s = min(ends_s, moment.at_s)
        if (
            isinstance(moment, Asked)
            and _is_same(moment, call)
            and moment.number == call.number + 1
        ):
            next_s = moment.at_s
    if next_s is None or next_s - ends_s < WAIT_S_MIN:
        return None
    return ends_s, next_s


def _is_same(moment: Asked | Answered, call: Asked) -> bool:
    return (moment.step_id, moment.phase) == (call.step_id, call.phase)
