"""The proof: plays the programme of a definition and says which worlds do not hold.

The number of worlds is bounded by the calls that they make, so that it is the same on every machine; what is left
out is counted. Of a family that is too large some are chosen, always the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple, TypeVar

import msgspec

from sagakeep.definition import SagaDefinition
from sagakeep.findings.worst_case import worst_case_of
from sagakeep.proof.account import Asked
from sagakeep.proof.programme import (
    ATTEMPTS_MAX,
    Programme,
    crashes_of,
    is_to_be_crashed,
    probe_faults_in,
    undo_faults_in,
)
from sagakeep.proof.promises import Promises
from sagakeep.proof.scenario import BadReplay, Scenario
from sagakeep.proof.stage import Cue, Played, Stage
from sagakeep.proof.verdict import Breach, Broken, judge
from sagakeep.saga_status import SagaStatus

CALLS_MAX: Final = 8_000  # of all worlds together: some seconds
SIDE_BY_SIDE_MAX: Final = 200  # worlds in one orchestrator
SIDE_BY_SIDE_BYTES_MAX: Final = (
    8 << 20
)  # of their definitions, each of which is in memory a few times
BOUND_SLACK_S: Final = 120.0

T = TypeVar("T")
Progress = Callable[[int], None]


class Family(StrEnum):
    """What goes wrong in some worlds, for people."""

    WELL = "nothing"
    TURN = "an action, for good"
    CALL = "one attempt of an action"
    PROBE = "an action and its probe"
    UNDO = "an action and an undo"
    CRASH = "the orchestrator is killed"


class Failure(NamedTuple):
    """A world that does not hold, and why."""

    family: Family
    played: Played
    broken: list[Broken]


class Proof(NamedTuple):
    """What was played. `left_out` worlds were not; `ends` and `families` count those that were.

    `well` is the one in which nothing goes wrong; `unreached` are the expected ends that none of them had;
    `bound_s` is the virtual time that a world had.
    """

    well: Played
    worlds: int
    held: int
    left_out: int
    ends: Counter[str]
    families: Counter[Family]
    failures: list[Failure]
    unreached: tuple[SagaStatus, ...]
    bound_s: float


class Prover:
    """Proves one definition with about `calls_max` calls, or with `everything` in every world there is.

    `progress` is told how many worlds were played since it was told last.
    """

    def __init__(
        self,
        definition: SagaDefinition,
        promises: Promises,
        *,
        everything: bool = False,
        calls_max: int = CALLS_MAX,
        progress: Progress = lambda _: None,
    ) -> None:
        self.bound_s = bound_s_of(definition)
        self._definition = definition
        self._promises = promises
        self._everything = everything
        self._progress = progress
        self._stage = Stage(definition, promises, self.bound_s)
        self._programme = Programme(definition, promises)
        size = len(msgspec.json.encode(definition))
        self._side_by_side = max(1, min(SIDE_BY_SIDE_MAX, SIDE_BY_SIDE_BYTES_MAX // size))
        self._played = self._left_out = 0
        self._calls_left = calls_max
        self._ends: Counter[str] = Counter()
        self._families: Counter[Family] = Counter()
        self._failures: list[Failure] = []

    def prove(self) -> Proof:
        """Play all that is to be played."""
        well = self._play_all()
        return Proof(
            well,
            self._played,
            self._played - len(self._failures),
            self._left_out,
            self._ends,
            self._families,
            self._failures,
            tuple([end for end in self._promises.expect if not self._ends[end]]),
            self.bound_s,
        )

    def _play_all(self) -> Played:
        """Play every family; return the world in which nothing goes wrong."""
        (well,) = self._play(Family.WELL, [Scenario()], 1.0)
        turns = self._play(Family.TURN, self._programme.turns(), 0.3)
        calls = self._play(Family.CALL, self._programme.calls(), 0.3)
        probe_faults = [one for turn in turns for one in _probe_faults(turn)]
        probes = self._play(Family.PROBE, probe_faults, 0.3)
        undo_faults = [one for turn in turns for one in self._undo_faults(turn)]
        undos = self._play(Family.UNDO, undo_faults, 0.4)
        self._play_crashes([well])
        self._play_crashes([*turns, *calls, *probes, *undos])
        return well

    def replay(self, scenario: Scenario) -> tuple[Played, list[Broken]]:
        """Play one world by itself, with its events and its trace. Raises BadReplay."""
        crash_at_s = 0.0
        if scenario.crash is not None:
            base = scenario._replace(crash=None)
            (before,) = self._stage.play([Cue(base)])
            cues = [one for one in crashes_of(base, before.account) if one.scenario == scenario]
            if not cues:
                raise BadReplay(f"{scenario.crash}: in that world there is no such moment")
            crash_at_s = cues[0].crash_at_s
        (played,) = self._stage.play([Cue(scenario, crash_at_s)], with_records=True)
        return played, self._judge(played)

    def _undo_faults(self, played: Played) -> list[Scenario]:
        found = undo_faults_in(played.scenario, played.account, everything=True)
        if self._everything:
            return found
        core = undo_faults_in(played.scenario, played.account)
        self._left_out += len(found) - len(core)
        return core

    def _play(self, family: Family, scenarios: Sequence[Scenario], share: float) -> list[Played]:
        """Play a family that may take this share of what is left."""
        each = 2 * len(self._definition.steps)
        chosen = self._choose(scenarios, int(self._calls_left * share / each))
        return self._perform(family, [Cue(scenario) for scenario in chosen])

    def _play_crashes(self, played: Sequence[Played]) -> None:
        """Play the crashes of these worlds; without `everything` those of some, which stand for the others."""
        cues: list[Cue] = []
        calls = 0
        for one in played:
            crashes = crashes_of(one.scenario, one.account)
            if self._everything or is_to_be_crashed(one.scenario):
                cues += crashes
                calls += len(crashes) * _calls_of(one)
            else:
                self._left_out += len(crashes)
        count_max = self._calls_left * len(cues) // max(calls, 1)
        self._perform(Family.CRASH, self._choose(cues, count_max))

    def _choose(self, found: Sequence[T], count_max: int) -> list[T]:
        count = max(count_max, 1)
        if self._everything or len(found) <= count:
            return list(found)
        self._left_out += len(found) - count
        chosen = sorted(Random(len(found)).sample(range(len(found)), count))
        return [found[at] for at in chosen]

    def _perform(self, family: Family, cues: Sequence[Cue]) -> list[Played]:
        played: list[Played] = []
        for at in range(0, len(cues), self._side_by_side):
            some = cues[at : at + self._side_by_side]
            for one in self._play_side_by_side(some):
                played.append(one)
                self._count(family, one)
            self._progress(len(some))
        return played

    def _play_side_by_side(self, cues: Sequence[Cue]) -> list[Played]:
        """Play some worlds; when the orchestrator breaks, each by itself, to see whose fault it is."""
        played = self._stage.play(cues)
        if len(cues) > 1 and any(one.state is None for one in played):
            return [one for cue in cues for one in self._stage.play([cue])]
        return played

    def _count(self, family: Family, played: Played) -> None:
        self._played += 1
        self._calls_left -= _calls_of(played)
        self._families[family] += 1
        self._ends[end_of(played)] += 1
        broken = self._judge(played)
        if broken:
            self._failures.append(Failure(family, played, broken))

    def _judge(self, played: Played) -> list[Broken]:
        broken = judge(self._definition, played)
        end = end_of(played)
        if end in self._promises.never:
            broken.append(
                Broken(Breach.FORBIDDEN_END, "", f"the saga ends {end}, and never should")
            )
        return broken


def bound_s_of(definition: SagaDefinition) -> float:
    """How long a world may take: what the definition allows, and as much again."""
    worst = worst_case_of(definition)
    endless = [step for step in definition.steps if step.id in worst.endless]
    endless_s = sum(
        (1 + ATTEMPTS_MAX) * (step.timeout_s + step.retry.interval_s_max) for step in endless
    )
    return 2 * (definition.timeout_s + worst.forward_s + worst.backward_s + endless_s) + (
        BOUND_SLACK_S
    )


def shortest_first(failures: Sequence[Failure]) -> list[Failure]:
    """The failures, simple worlds before the others, and one of each kind before the next of its like."""
    ordered = sorted(failures, key=_simplicity)
    seen: Counter[tuple[object, ...]] = Counter()
    ranked: list[tuple[int, int]] = []
    for at, failure in enumerate(ordered):
        scenario = failure.played.scenario
        last = scenario.faults[-1].behaviour if scenario.faults else None
        kind = (last, scenario.crash is None, *[one.breach for one in failure.broken])
        ranked.append((seen[kind], at))
        seen[kind] += 1
    return [ordered[at] for _, at in sorted(ranked)]


def _simplicity(failure: Failure) -> tuple[bool, int, int]:
    scenario = failure.played.scenario
    calls = sum(1 + fault.last - fault.first for fault in scenario.faults)
    return scenario.crash is not None, calls, len(failure.played.account.moments)


def _probe_faults(played: Played) -> list[Scenario]:
    return probe_faults_in(played.scenario, played.account)


def end_of(played: Played) -> str:
    """What the saga came to."""
    return "lost" if played.state is None else str(played.state.status)


def _calls_of(played: Played) -> int:
    return sum(isinstance(moment, Asked) for moment in played.account.moments)
