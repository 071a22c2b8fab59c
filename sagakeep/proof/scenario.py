"""A scenario: what goes wrong in one world, as a value and as a line of text that replays it.

    charge/action/2=lost                   the second call of the action of step `charge` is done, its reply lost
    charge/action/1-4=hang                 the first four calls hang
    ship/action/1=refused crash@charge/compensation/1/before
    all-well

Calls of a step are counted over crashes: a call that is made again after one is the next. What no fault is about
goes well.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, get_args

from sagakeep import limits
from sagakeep.definition import SagaDefinition
from sagakeep.errors import SagakeepError
from sagakeep.service import Phase
from sagakeep.simulation.service import Behaviour

ALL_WELL: Final = "all-well"
_CALL: Final = rf"({limits.NAME_PATTERN[1:-1]})/(action|compensation|probe)"
_FAULT: Final = re.compile(rf"{_CALL}/(\d{{1,4}})(?:-(\d{{1,4}}))?=([a-z]+)")
_CRASH: Final = re.compile(rf"crash@{_CALL}/(\d{{1,4}})/(before|after|wait)")
_PHASES: Final[dict[str, Phase]] = {str(phase): phase for phase in get_args(Phase)}

# What can go wrong with one call, in the words of the simulated service.
FAULTS: Final = (
    Behaviour.REFUSED,
    Behaviour.UNAVAILABLE,
    Behaviour.ERROR,
    Behaviour.LOST,
    Behaviour.LATE,
    Behaviour.SLOW,
    Behaviour.TWICE,
    Behaviour.HANG,
)


class BadReplay(SagakeepError):
    """The text is no scenario of this saga; copy it from what `sagakeep prove` printed."""


class Fault(NamedTuple):
    """What goes wrong with the calls of a step from the `first` to the `last`, both counted from 1."""

    step_id: str
    phase: Phase
    first: int
    last: int
    behaviour: Behaviour

    def __str__(self) -> str:
        calls = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.step_id}/{self.phase}/{calls}={self.behaviour}"


class Crash(NamedTuple):
    """When the orchestrator is killed: before a call arrives, after it was answered, or in the wait after it."""

    step_id: str
    phase: Phase
    number: int
    moment: str

    def __str__(self) -> str:
        return f"crash@{self.step_id}/{self.phase}/{self.number}/{self.moment}"


class Scenario(NamedTuple):
    """One world."""

    faults: tuple[Fault, ...] = ()
    crash: Crash | None = None

    def __str__(self) -> str:
        parts = [str(fault) for fault in self.faults]
        if self.crash is not None:
            parts.append(str(self.crash))
        return " ".join(parts) or ALL_WELL

    def behaviour(self, step_id: str, phase: Phase, number: int) -> Behaviour:
        """What becomes of a call."""
        for fault in self.faults:
            if (fault.step_id, fault.phase) == (step_id, phase) and (
                fault.first <= number <= fault.last
            ):
                return fault.behaviour
        return Behaviour.DONE


def parse_scenario(text: str, definition: SagaDefinition) -> Scenario:
    """Read a scenario of a saga. Raises BadReplay."""
    parts = text.split()
    if not parts:
        raise BadReplay("there is nothing in it; expected what `replay` of a failed world says")
    if parts == [ALL_WELL]:
        return Scenario()
    known = {step.id for step in definition.steps}
    faults: list[Fault] = []
    crash: Crash | None = None
    for part in parts:
        if found := _FAULT.fullmatch(part):
            faults.append(_fault_of(found, part))
        elif (found := _CRASH.fullmatch(part)) and crash is None:
            crash = Crash(found[1], _PHASES[found[2]], int(found[3]), found[4])
        else:
            raise BadReplay(
                f"{part[:200]!r} is neither a fault, as in pay/action/1=lost, nor one crash"
            )
        if found[1] not in known:
            raise BadReplay(f"{part[:200]!r}: this saga has no step {found[1]!r}")
    return Scenario(tuple(faults), crash)


def _fault_of(found: re.Match[str], part: str) -> Fault:
    first, last = int(found[3]), int(found[4] or found[3])
    if found[5] not in FAULTS or not 1 <= first <= last:
        allowed = ", ".join(FAULTS)
        raise BadReplay(f"{part[:200]!r}: expected a range of calls and one of {allowed}")
    return Fault(found[1], _PHASES[found[2]], first, last, Behaviour(found[5]))
