"""The story of one world in plain sentences: what goes wrong in it, what happens when, and what is broken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sagakeep.definition import SagaDefinition, Step
from sagakeep.plan import plan_of
from sagakeep.proof.account import Account, Answered, Arrived, Asked, Done, Killed, Moment
from sagakeep.proof.scenario import Crash, Fault, Scenario
from sagakeep.proof.stage import Played
from sagakeep.proof.verdict import Broken
from sagakeep.service import Phase
from sagakeep.simulation.service import Behaviour

_FAULTS: Final = {
    Behaviour.DONE: "",
    Behaviour.REFUSED: "it refuses",
    Behaviour.UNAVAILABLE: "it cannot be reached",
    Behaviour.ERROR: "it fails before it does anything, and says only that it failed",
    Behaviour.LOST: "its answer is lost",
    Behaviour.LATE: "its answer comes after the timeout",
    Behaviour.SLOW: "the request arrives only after the timeout",
    Behaviour.TWICE: "the request arrives twice",
    Behaviour.HANG: "it never answers",
}
_CUT: Final = {
    Behaviour.HANG: "the orchestrator is killed before it arrives",
    Behaviour.LATE: "the orchestrator is killed before it reads the answer",
    Behaviour.SLOW: "the orchestrator is killed while the request is on its way",
}


class Story(NamedTuple):
    """`plot` says what goes wrong, `lines` what happens, each with its time, `moral` what is broken."""

    plot: str
    lines: list[str]
    moral: list[str]

    def text(self) -> str:
        """All of it."""
        moral = [f"  broken: {one}" for one in self.moral] or ["  all of it holds"]
        return "\n".join([f"  {self.plot}", *(f"  {line}" for line in self.lines), *moral])


def story_of(definition: SagaDefinition, played: Played, broken: Sequence[Broken]) -> Story:
    """Tell what happened in a world."""
    steps = plan_of(definition).steps
    return Story(
        plot_of(steps, played.scenario),
        _timed([*_moments(steps, played.account), _end(played)]),
        [one.text for one in broken],
    )


def plot_of(steps: dict[str, Step], scenario: Scenario) -> str:
    """Say what goes wrong in a scenario."""
    parts = [_fault(steps[fault.step_id], fault) for fault in scenario.faults]
    if scenario.crash is not None:
        parts.append(_crash(steps[scenario.crash.step_id], scenario.crash))
    return "; ".join(parts) or "nothing goes wrong"


def _fault(step: Step, fault: Fault) -> str:
    deed = _deed(step, fault.phase)
    calls = (
        f"call {fault.first}"
        if fault.first == fault.last
        else (f"calls {fault.first} to {fault.last}")
    )
    return f'{step.service} is asked to "{deed}" for step "{step.id}": {calls}: {_FAULTS[fault.behaviour]}'


def _crash(step: Step, crash: Crash) -> str:
    when = {"before": "before", "after": "after", "wait": "in the wait after"}[crash.moment]
    return (
        f'the orchestrator is killed {when} call {crash.number} of "{_deed(step, crash.phase)}" '
        f'of step "{step.id}"'
    )


def _deed(step: Step, phase: Phase) -> str:
    names = {"action": step.action, "compensation": step.compensation, "probe": step.probe}
    return names[phase]


def _timed(told: Sequence[tuple[float, str]]) -> list[str]:
    """Put what was told in the order of its time, which is a sum of floats."""
    ordered = sorted(told, key=lambda one: round(one[0], 3))
    return [f"{at_s:8.1f} s  {text}" for at_s, text in ordered]


def _moments(steps: dict[str, Step], account: Account) -> Iterator[tuple[float, str]]:
    asked: dict[tuple[str, Phase, int], Asked] = {}
    for moment, following in zip(account.moments, [*account.moments[1:], None], strict=True):
        if isinstance(moment, Asked):
            asked[(moment.step_id, moment.phase, moment.number)] = moment
        text = _tell(steps, moment, following, asked)
        if text:
            yield moment.at_s, text


def _tell(
    steps: dict[str, Step],
    moment: Moment,
    following: Moment | None,
    asked: dict[tuple[str, Phase, int], Asked],
) -> str:
    if isinstance(moment, Killed):
        return f"the orchestrator is killed, and starts again {moment.down_s:g} s later"
    step = steps[moment.step_id]
    who, deed = f"{step.id}: {step.service}", _deed(step, moment.phase)
    match moment:
        case Asked():
            return _asked(who, deed, moment, following)
        case Done(phase="action"):
            again = f", which is there {moment.times} times now" if moment.times > 1 else ""
            return f'{who} does "{deed}"{_attempt(moment.attempt)}{again}'
        case Done():
            return f'{who} does "{deed}"{_attempt(moment.attempt)}{_left(step, moment.times)}'
        case Arrived():
            return f'{who} does not "{deed}"{_attempt(moment.attempt)}: {moment.why}'
        case Answered():
            call = asked[(moment.step_id, moment.phase, moment.number)]
            late = moment.at_s > call.at_s + step.timeout_s
            return f'{who} answers to "{deed}", too late' if late else ""


def _asked(who: str, deed: str, call: Asked, following: Moment | None) -> str:
    fault = (_CUT if call.is_cut else _FAULTS)[call.behaviour]
    if not fault and isinstance(following, Done | Arrived):
        return ""  # it is told in the next line
    told = f"; {fault}" if fault else ""
    return f'{who} is asked to "{deed}"{_attempt(call.attempt)}{told}'


def _attempt(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt > 1 else ""


def _left(step: Step, times: int) -> str:
    """Say what is wrong with how often the effect is there after its undo."""
    if times < 0:
        return f', though there is no "{step.action}" to undo'
    if times > 0:
        often = f" {times} times" if times > 1 else ""
        return f', and "{step.action}" is still there{often}'
    return ""


def _end(played: Played) -> tuple[float, str]:
    state = played.state
    if state is None:
        return math.inf, played.error or "the saga is lost"
    unfilled = [
        f'step "{step_id}" cannot be called: {step.action.error}'
        for step_id, step in state.steps.items()
        if step.action.error and not step.action.attempt
    ]
    reasons = [state.error] if state.error else unfilled
    reason = f": {'; '.join(reasons)}" if reasons else ""
    return state.updated_at_utc_s - state.created_at_utc_s, f"the saga is {state.status}{reason}"
