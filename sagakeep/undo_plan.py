"""The plan of an undo: what the services would be asked, in order, if the saga were undone now.

There is no second copy of the rules in here. The machine itself is sent the wish, on the frozen state, and every
attempt that becomes outstanding is answered `done`, until the saga ends: the calls that it makes on the way are
the plan. Attempts of actions that are in flight settle before an undo, so they are answered first, as done too,
since that leads to the most that may have to be undone; those calls say `only_if`. Of a pivot in flight it is
assumed that it is not done: if it is, nothing may be undone.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from sagakeep import messages as m
from sagakeep import saga_status
from sagakeep.definition import StepKind
from sagakeep.effects import RunCall, WaitUntil, call_of, outstanding
from sagakeep.errors import MoveRefused
from sagakeep.limits import STEPS_MAX
from sagakeep.machine import decide
from sagakeep.mapping import FROM, compile_reference, references_in
from sagakeep.plan import plan_of
from sagakeep.remains import Remains, remaining
from sagakeep.service import AttemptResult, Call, Outcome
from sagakeep.state import SagaState, SagaStatus

Way = Literal["compensate", "retry", "resume", ""]

DECISIONS_MAX: Final = 8 * STEPS_MAX  # a step is settled, probed, undone and waited for: far fewer
_DONE: Final = AttemptResult(Outcome.DONE)
_PROBED_DONE: Final = AttemptResult(Outcome.DONE, {"outcome": "done"})
_PROBED_NOT_DONE: Final = AttemptResult(Outcome.DONE, {"outcome": "not_done"})
_REFUSED: Final = AttemptResult(Outcome.NOT_DONE, error="assumed", permanent=True)


class UndoCall(msgspec.Struct, frozen=True):
    """One compensation. `stage` counts from 1: calls of the same stage may be made at the same time, those of the
    next when they are done. `only_if_happened`: its action is in flight, and it is made unless that turns out
    not to have happened. `is_payload_known` is false where the payload refers to results that are not there yet.
    """

    stage: int
    call: Call
    only_if_happened: bool
    is_payload_known: bool


class UndoPlan(msgspec.Struct, frozen=True):
    """What an undo would do. `wish` is the move that begins it, "" when none is needed or none is allowed;
    `refusal` says why it may not be. `settles_first` are the steps whose attempts in flight end before it;
    `stops_at` says where it would stop as compensation_failed, "" when it would go through; `unless_done` names a
    pivot in flight, of which nothing is undone if it turns out to be done; `ends` is how the saga is then."""

    wish: Way
    refusal: str = ""
    calls: tuple[UndoCall, ...] = ()
    settles_first: tuple[str, ...] = ()
    remains: tuple[Remains, ...] = ()
    stops_at: str = ""
    unless_done: str = ""
    ends: SagaStatus | None = None


def undo_plan(state: SagaState, now_utc_s: float) -> UndoPlan:
    """Play the undo of a frozen state to its end."""
    if state.status is saga_status.COMPENSATED:
        return UndoPlan("", remains=tuple(remaining(state)))
    if state.status is saga_status.COMPENSATING:
        if state.paused is not None:
            return _played(state, m.Resume(), "resume", now_utc_s)
        return _played(state, None, "", now_utc_s)
    is_held = state.status is saga_status.COMPENSATION_FAILED
    wish = m.Retry() if is_held else m.Compensate()
    try:
        return _played(state, wish, "retry" if is_held else "compensate", now_utc_s)
    except MoveRefused as refused:
        return UndoPlan("", refused.why, remains=tuple(remaining(state)))


def plan_of_wish(state: SagaState, wish: m.Compensate, now_utc_s: float) -> UndoPlan:
    """Play what a wish to undo would do. Raises MoveRefused, UnknownStep."""
    return _played(state, wish, "compensate", now_utc_s)


def _played(state: SagaState, wish: m.Message | None, way: Way, now_utc_s: float) -> UndoPlan:
    rehearsal = _Rehearsal(state, now_utc_s)
    if wish is not None:
        rehearsal.tell(wish)
    unsettled = [one.step_id for one in _calls(rehearsal.state) if one.phase != "compensation"]
    unknown = _with_unknown_payload(state, unsettled)
    rehearsal.state = _without_payloads(rehearsal.state, unknown)
    rehearsal.play()
    calls = [
        UndoCall(stage, call, call.step_id in unsettled, call.step_id not in unknown)
        for stage, call in rehearsal.calls
    ]
    end = rehearsal.state
    is_stuck = end.status is saga_status.COMPENSATION_FAILED
    return UndoPlan(
        way,
        calls=tuple(calls),
        settles_first=tuple(dict.fromkeys(unsettled)),
        remains=tuple(remaining(end)),
        stops_at=end.error if is_stuck else "",
        unless_done=pivot if (pivot := plan_of(state.definition).pivot or "") in unsettled else "",
        ends=end.status,
    )


def _with_unknown_payload(state: SagaState, unsettled: Collection[str]) -> set[str]:
    """The steps whose undo refers to steps in flight, which have no result yet."""
    found = set()
    for step_id in plan_of(state.definition).undo_refers:
        for _, reference in references_in(state.step(step_id).compensation_payload):
            if not set(unsettled).isdisjoint(compile_reference(str(reference[FROM])).reading.steps):
                found.add(step_id)
    return found


def _without_payloads(state: SagaState, step_ids: Collection[str]) -> SagaState:
    """The same saga, but these steps are undone with the payload of their actions."""
    if not step_ids:
        return state
    steps = tuple(
        replace(step, compensation_payload=None) if step.id in step_ids else step
        for step in state.definition.steps
    )
    return replace(state, definition=replace(state.definition, steps=steps))


def _calls(state: SagaState) -> list[RunCall]:
    return [effect for effect in outstanding(state) if isinstance(effect, RunCall)]


class _Rehearsal:
    """The machine without a world: everything that is asked for is done."""

    def __init__(self, state: SagaState, now_utc_s: float) -> None:
        self.state = state
        self.calls: list[tuple[int, Call]] = []
        self._now_utc_s = now_utc_s

    def tell(self, message: m.Message) -> None:
        self.state = decide(self.state, message, self._now_utc_s).state

    def play(self) -> None:
        """Answer round after round until nothing is outstanding."""
        stage = 0
        for _ in range(DECISIONS_MAX):
            if self.state.status is not saga_status.COMPENSATING:
                return
            effects = outstanding(self.state)
            calls = [effect for effect in effects if isinstance(effect, RunCall)]
            if any(effect.phase == "compensation" for effect in calls):
                stage += 1
            for effect in calls:
                self._answer(stage, effect)
            if not calls:
                self._wait(effects)
        raise AssertionError(f"{DECISIONS_MAX} rounds did not end the undo of {self.state.id!r}")

    def _answer(self, stage: int, effect: RunCall) -> None:
        result = _DONE
        if effect.phase == "compensation":
            self.calls.append((stage, call_of(self.state, effect)))
        elif effect.phase == "probe":
            is_pivot = self.state.step(effect.step_id).kind is StepKind.PIVOT
            result = _PROBED_NOT_DONE if is_pivot else _PROBED_DONE
        elif self.state.step(effect.step_id).kind is StepKind.PIVOT:
            result = _REFUSED
        self.tell(
            m.AttemptEnded(effect.step_id, effect.phase, effect.epoch, effect.attempt, result)
        )

    def _wait(self, effects: Iterable[object]) -> None:
        times = [one.at_utc_s for one in effects if isinstance(one, WaitUntil)]
        assert times, "an undo that makes no call waits for a time"
        self._now_utc_s = max(self._now_utc_s, *times)
        self.tell(m.Wake())
