"""The verdict on a world: does what its services really did fit the end that the saga came to?

    completed              every effect is there, once
    compensated            no effect is there
    failed,                an effect is there where the saga says that its step is done, not where it says that it
    compensation_failed    is not or was undone; where the saga says unknown either may be
    anything else          it did not end in time

And whatever the end: nothing is undone past the pivot, undos go against the order of the graph, and none of
them overtakes its action.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from sagakeep import saga_status, step_status
from sagakeep.definition import SagaDefinition, Step, StepKind
from sagakeep.plan import plan_of
from sagakeep.proof.account import Account, Answered, Asked, Done, Killed
from sagakeep.proof.stage import Played
from sagakeep.service import DONE, UNKNOWN
from sagakeep.state import SagaState, StepState

ROUNDING_S: Final = 1e-6  # times are sums of floats


class Breach(StrEnum):
    """What is broken in a world that does not hold."""

    DOUBLED = "doubled"
    MISSING = "missing"
    LEFT = "left"
    UNSAID = "unsaid"
    PAST_PIVOT = "past-pivot"
    OUT_OF_ORDER = "out-of-order"
    OVERTAKEN = "overtaken"
    ENDLESS = "endless"
    BROKE = "broke"
    FORBIDDEN_END = "forbidden-end"


class Broken(NamedTuple):
    """One breach; `step_id` is "" when it is the saga's."""

    breach: Breach
    step_id: str
    text: str


def judge(definition: SagaDefinition, played: Played) -> list[Broken]:
    """Return what does not hold; nothing for a world in which all does."""
    state, account = played.state, played.account
    if state is None:
        return [Broken(Breach.BROKE, "", played.error or "the saga is lost")]
    if state.status not in _ENDS:
        return [Broken(Breach.ENDLESS, "", f"the saga is still {state.status} when its time is up")]
    steps = [step for step in definition.steps if step.kind is not StepKind.READ_ONLY]
    broken = [one for step in steps for one in _of_step(step, state, account)]
    broken += _past_pivot(definition, account)
    broken += _out_of_order(definition, account)
    broken += [one for step in steps for one in _overtaken(step, state, account)]
    return broken


_ENDS: Final = frozenset(
    {
        saga_status.COMPLETED,
        saga_status.COMPENSATED,
        saga_status.FAILED,
        saga_status.COMPENSATION_FAILED,
    }
)


def _of_step(step: Step, state: SagaState, account: Account) -> Iterator[Broken]:
    """Compare one step's effect with what the end of the saga says about it."""
    count, deed = account.net(step.id), f'"{step.action}" of step "{step.id}"'
    allowed = _allowed(state, state.steps[step.id])
    if count in allowed:
        return
    if count > 1:
        yield Broken(Breach.DOUBLED, step.id, f"{deed} is there {count} times")
    elif count < 0:
        yield Broken(Breach.DOUBLED, step.id, f'step "{step.id}" was undone more often than done')
    elif state.status is saga_status.COMPLETED:
        yield Broken(Breach.MISSING, step.id, f"{deed} is not there, but the saga is completed")
    elif state.status is saga_status.COMPENSATED:
        yield Broken(Breach.LEFT, step.id, f"{deed} is still there, but the saga is compensated")
    else:
        said = state.steps[step.id].status
        there = "is there" if count else "is not there"
        yield Broken(Breach.UNSAID, step.id, f"{deed} {there}, but the saga calls it {said}")


def _allowed(state: SagaState, step: StepState) -> tuple[int, ...]:
    """How often the effect may be there."""
    if state.status is saga_status.COMPLETED:
        return (1,)
    if state.status is saga_status.COMPENSATED or step.status is step_status.COMPENSATED:
        return (0,)
    if step.action.outcome is UNKNOWN:
        return (0, 1)
    if step.action.outcome is not DONE:
        return (0,)
    was_perhaps_undone = step.compensation.outcome is UNKNOWN
    return (0, 1) if was_perhaps_undone else (1,)


def _past_pivot(definition: SagaDefinition, account: Account) -> Iterator[Broken]:
    """Nothing is undone while the pivot's effect is there, and none is left undone when it stays."""
    pivot = plan_of(definition).pivot
    if pivot is None or account.net(pivot) < 1:
        return
    for effect in account.effects():
        if effect.phase == "compensation" and effect.step_id != pivot:
            text = f'step "{effect.step_id}" was undone, but the pivot "{pivot}" has happened'
            yield Broken(Breach.PAST_PIVOT, effect.step_id, text)


def _out_of_order(definition: SagaDefinition, account: Account) -> Iterator[Broken]:
    """A step is undone only after those that depend on it."""
    graph = plan_of(definition).graph
    undone: set[str] = set()
    for effect in account.effects():
        if effect.phase != "compensation" or effect.step_id in undone:
            continue
        for earlier in sorted(undone & graph.ancestors(effect.step_id)):
            text = f'step "{earlier}" was undone before "{effect.step_id}", which depends on it'
            yield Broken(Breach.OUT_OF_ORDER, earlier, text)
        undone.add(effect.step_id)


def _overtaken(step: Step, state: SagaState, account: Account) -> Iterator[Broken]:
    """No undo is called while an attempt of the action is out; none that is done leaves the action to come."""
    out_until_s = -math.inf
    last = 0  # the attempt's call that is out
    is_undone = False
    is_there = state.status is saga_status.COMPENSATED and account.net(step.id) > 0
    for moment in account.moments:
        if isinstance(moment, Killed):
            out_until_s = -math.inf
        elif moment.step_id != step.id:
            continue
        elif isinstance(moment, Asked) and moment.phase == "action":
            out_until_s, last = moment.at_s + step.timeout_s, moment.number
        elif isinstance(moment, Answered) and moment.phase == "action" and moment.number == last:
            out_until_s = min(out_until_s, moment.at_s)
        elif isinstance(moment, Asked) and moment.phase == "compensation":
            is_undone = True
            if moment.at_s < out_until_s - ROUNDING_S:
                text = f'step "{step.id}" is undone while its action is still under way'
                yield Broken(Breach.OVERTAKEN, step.id, text)
        elif isinstance(moment, Done) and moment.phase == "action" and is_undone and is_there:
            text = f'"{step.action}" of step "{step.id}" arrived after its undo, and stays'
            yield Broken(Breach.OVERTAKEN, step.id, text)
