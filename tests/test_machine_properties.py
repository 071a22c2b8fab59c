"""Random sagas in a random world: whatever happens, and wherever it is cut short, the promises hold.

The world knows the truth: which keys' effects happened. An attempt that reports `unknown`, or that a crash
interrupted, did or did not happen by chance. After each decision `World.check` compares what the saga believes
with the truth. `HYPOTHESIS_PROFILE=search` looks further.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st
from msgspec.structs import astuple
from scenario import START_UTC_S, Saga

from sagakeep import events as e
from sagakeep import messages as m
from sagakeep.effects import RunCall, WaitUntil, idempotency_key, outstanding
from sagakeep.errors import SagakeepError
from sagakeep.graph import graph_of
from sagakeep.remains import remaining
from sagakeep.service import AttemptResult, Outcome
from sagakeep.state import FINAL, HELD, SagaState, SagaStatus, StepStatus
from sagakeep.steering import resolutions
from sagakeep.validation import parse_definition

S, T = SagaStatus, StepStatus
BOUND = 400  # decisions that end any saga of STEPS_MAX steps once services answer
STEPS_MAX = 5
WISHES = ["compensate", "part", "down", "retry", "hold", "restarted", "resolve"]
WISHES += ["pause", "pause", "resume", "resume", "skip", "edit", "finish"]
Draw = Callable[[st.SearchStrategy[Any]], Any]


@st.composite
def documents(draw: Draw) -> dict[str, object]:
    count = draw(st.integers(1, STEPS_MAX))
    steps = [draw(step_documents(at)) for at in range(count)]
    pivot = draw(st.none() | st.integers(0, count - 1))
    if pivot is not None:
        steps[pivot] |= {"kind": "pivot"}
        plain = parse_definition(
            {"name": "n", "steps": [s | {"kind": "retriable"} for s in steps]}, None
        )
        for name in graph_of(plain).dependents(f"s{pivot}"):
            steps[int(name[1:])] |= {"kind": "retriable"}
    return {
        "name": "n",
        "steps": steps,
        "timeout": draw(st.sampled_from([3, 50, 1000])),
        "maxRetries": 100,
        "onFailure": draw(st.sampled_from(["compensate", "compensate", "hold"])),
    }


@st.composite
def step_documents(draw: Draw, at: int) -> dict[str, object]:
    document: dict[str, object] = {"id": f"s{at}", "service": "s", "action": "do", "probe": "ask"}
    earlier = [f"s{one}" for one in range(at)]
    if draw(st.booleans()):
        document["dependsOn"] = draw(st.lists(st.sampled_from(earlier), unique=True)) if at else []
    if draw(st.sampled_from([True, True, True, False])):
        document["compensation"] = "undo"
    elif draw(st.booleans()):
        document["kind"] = "readOnly"
    document["inDoubt"] = draw(st.sampled_from(["undo", "undo", "probe", "hold"]))
    document["maxRetries"] = draw(st.integers(0, 2))
    document["compensationMaxRetries"] = draw(st.integers(0, 2))
    return document


class World(Saga):
    """A saga, and the truth about its calls."""

    def __init__(self, document: object, chance: Random) -> None:
        super().__init__(document)
        self.chance = chance
        self.at_s = 0.0
        self.happened: set[str] = set()
        self.undone: set[tuple[str, int]] = set()  # step and epoch of the action
        self.possible: set[str] = set()  # may have happened, as far as anyone could know
        self.create()
        self.check([])

    # What may come

    def step(self) -> None:
        """Let one thing happen."""
        calls = self.calls()
        moves = ["wake", "wake", "crash", "wish"] + ["answer"] * 6 * bool(calls)
        match self.chance.choice(moves):
            case "answer":
                self.answer(self.chance.choice(calls), self.chance.randrange(6))
            case "wake":
                self.wake(self.chance.choice([0.0, 0.5, 1.0]))
            case "crash":
                self.may_happen(calls)
                self.crash()
            case _:
                self.wish(self.chance.choice(WISHES))

    def may_happen(self, calls: list[RunCall]) -> None:
        """What is out and will not be heard of again."""
        for effect in calls:
            if effect.phase != "probe":
                key = idempotency_key("s", effect)
                self.possible.add(key)
                if self.chance.random() < 0.5:
                    self.happened.add(key)

    def answer(self, effect: RunCall, kind: int) -> None:
        key = idempotency_key("s", effect)
        if effect.phase == "probe":
            result = self.probed(key, kind)
        elif kind <= 1 or (
            key in self.happened and kind <= 3
        ):  # an idempotent service says done again
            result = AttemptResult(Outcome.DONE, {"key": key})
            self.happened.add(key)
            self.possible.add(key)
        elif kind == 2:
            result = AttemptResult(Outcome.NOT_DONE, error="refused", permanent=True)
        elif kind == 3:
            result = AttemptResult(Outcome.NOT_DONE, error="unavailable")
        else:
            result = AttemptResult(Outcome.UNKNOWN, error="timed out")
            self.may_happen([effect])
        self.heard(effect, result)

    def probed(self, key: str, kind: int) -> AttemptResult:
        if kind > 3:
            return AttemptResult(Outcome.UNKNOWN, error="timed out")
        if key not in self.happened:
            self.possible.discard(key)
        outcome = "done" if key in self.happened else "not_done"
        return AttemptResult(Outcome.DONE, {"outcome": outcome})

    def heard(self, effect: RunCall, result: AttemptResult) -> None:
        repeated = effect in self.interrupted
        draw = self.chance.choice([0.0, 1.0])
        self.told(m.AttemptEnded(*astuple(effect)[:4], result, draw, repeated=repeated))

    def wake(self, share: float) -> None:
        times = [x.at_utc_s if isinstance(x, WaitUntil) else x.not_before_utc_s
                 for x in outstanding(self.now)]  # fmt: skip
        due_s = max([0.0, *(at - START_UTC_S for at in times if at)]) if times else 0.0
        self.at_s = max(self.at_s, self.at_s + (due_s - self.at_s) * share)
        self.told(m.Wake())

    def resolve(self) -> None:
        """An operator says of a step what is so, or makes it so by hand."""
        if not (known := resolutions(self.now)):
            return
        step_id, resolution = self.chance.choice(known)
        step, key = (
            self.now.steps[step_id],
            f"s/{step_id}/action/{self.now.steps[step_id].action.epoch}",
        )
        if resolution == "undone":
            undo_key = f"s/{step_id}/compensation/{step.compensation.epoch}"
            self.happened.add(undo_key)
            self.possible.add(undo_key)
            self.undone.add((step_id, step.action.epoch))
        elif resolution == "done" and step.action.outcome is Outcome.NOT_DONE:
            self.happened.add(key)
            self.possible.add(key)
        elif (resolution == "done") is not (key in self.happened):
            return
        elif resolution == "not_done":
            self.possible.discard(key)
        self.told(m.Resolve(step_id, resolution, {"by": "hand"}))

    def wish(self, kind: str) -> None:
        if kind == "resolve":
            self.resolve()
            return
        step_id = self.chance.choice(list(self.now.steps))
        wishes: dict[str, m.Message] = {
            "compensate": m.Compensate(),
            "part": m.Compensate(step_id),
            "down": m.Compensate(down_to=step_id),
            "pause": m.Pause(),
            "resume": m.Resume(),
            "skip": m.Skip(step_id, {"by": "hand"}),
            "edit": m.Edit(step_id, {"by": "hand"}),
            "finish": m.Finish(),
            "retry": m.Retry(now=self.chance.random() < 0.5),
            "hold": m.Hold("bug"),
            "restarted": m.Restarted("bug"),
        }
        if kind == "hold" or (kind == "finish" and self.now.status not in FINAL):
            self.may_happen(self.calls())
        self.told(wishes[kind])

    def told(self, message: m.Message) -> None:
        note(f"{self.at_s:g} {message}")
        before = self.now
        try:
            events = self.tell(message, self.at_s)
        except SagakeepError:
            assert self.now == before
            return
        self.check(events)
        self.check_keys(before, self.now)

    # What must hold

    def check(self, events: list[e.Event]) -> None:
        state = self.now
        note(
            f"  {state.status} {[(n, str(s.status), s.action.outcome) for n, s in state.steps.items()]}"
        )
        phases = {effect.phase for effect in self.calls()}
        if "compensation" in phases:
            assert phases == {"compensation"}, "an undo overtakes an action"
        if state.paused is None:
            assert (outstanding(state) == []) is (state.status in FINAL | HELD)
        else:
            self.check_paused(events)
        self.check_undone(events)
        self.check_beliefs()
        self.check_end()

    def check_paused(self, events: list[e.Event]) -> None:
        assert self.now.status in (S.RUNNING, S.COMPENSATING)
        assert not [one for one in outstanding(self.now) if isinstance(one, WaitUntil)]
        begun = [one for one in events if isinstance(one, e.StepStarted | e.CompensationStarted)]
        assert not begun, "it is paused, and something was begun"

    def check_undone(self, events: list[e.Event]) -> None:
        graph = graph_of(self.definition)
        undone = [event for event in events if isinstance(event, e.StepCompensated)]
        self.undone |= {(one.step_id, self.now.steps[one.step_id].action.epoch) for one in undone}
        for event in events:
            if isinstance(event, e.CompensationStarted):
                assert not self.is_past_pivot(), "undone after the pivot"
                for name in graph.dependents(event.step_id):
                    assert not self.is_left(name), f"{event.step_id} is undone before {name}"

    def is_past_pivot(self) -> bool:
        return any(
            step.kind == "pivot" and self.now.steps[step.id].status is T.COMPLETED
            for step in self.definition.steps
        )

    def is_left(self, name: str) -> bool:
        """May the effect of a step that has a compensation be there?"""
        step, spec = self.now.steps[name], self.now.step(name)
        key = f"s/{name}/action/{step.action.epoch}"
        return (
            bool(spec.compensation)
            and key in self.possible
            and (name, step.action.epoch) not in self.undone
        )

    def check_beliefs(self) -> None:
        """What is believed not to be, is not; what is believed done, is."""
        in_flight = {(one.step_id, one.phase) for one in self.calls()}
        for name, step in self.now.steps.items():
            is_harmless = self.now.step(name).kind == "readOnly"
            for phase, call in (("action", step.action), ("compensation", step.compensation)):
                key = f"s/{name}/{phase}/{call.epoch}"
                if call.outcome is Outcome.DONE:
                    assert key in self.happened
                elif call.outcome is Outcome.NOT_DONE and (name, phase) not in in_flight:
                    assert key not in self.possible or is_harmless, f"{key} may have happened"

    def check_keys(self, before: SagaState, after: SagaState) -> None:
        """An epoch ends only when its effect is known not to be, or was undone."""
        for name, old in before.steps.items():
            new, is_harmless = after.steps[name], before.step(name).kind == "readOnly"
            key = f"s/{name}/action/{old.action.epoch}"
            was_undone = (name, old.action.epoch) in self.undone
            if new.action.epoch != old.action.epoch and not was_undone:
                assert key not in self.possible or is_harmless
            undo_key = f"s/{name}/compensation/{old.compensation.epoch}"
            if new.compensation.epoch != old.compensation.epoch and not was_undone:
                assert undo_key not in self.possible

    def check_end(self) -> None:
        state = self.now
        if state.status is S.COMPLETED:
            assert all(step.status is T.COMPLETED for step in state.steps.values())
            assert set(state.completed) == set(state.steps)
            assert len(state.completed) == len(state.steps)
        if state.status is S.COMPENSATED:
            assert not self.is_past_pivot()
            graph = graph_of(self.definition)
            scope = set(state.steps)
            if state.scope:
                scope = {state.scope, *graph.dependents(state.scope)}
            assert not [name for name in scope if self.is_left(name)]
        if state.status is S.FAILED and state.down_to:
            above = graph_of(self.definition).dependents(state.down_to)
            assert not [name for name in above if self.is_left(name)]
        if state.status is S.ABANDONED:
            told = {one.step_id for one in remaining(state)}
            assert {name for name in state.steps if self.is_left(name)} <= told

    def end(self) -> None:
        """Services answer, time passes, an operator retries once at a time: the saga ends."""
        for _ in range(BOUND):
            if self.now.status in FINAL:
                return
            if self.now.paused is not None:
                self.wish("resume")
            elif self.now.status in HELD:
                self.wish("retry")
            elif calls := self.calls():
                self.answer(calls[0], 0)
            else:
                self.wake(1.0)
        raise AssertionError(f"{BOUND} decisions did not end it")


CHANCES = st.randoms(use_true_random=True)  # hypothesis prints the seed of one that fails


@settings(max_examples=max(400, settings().max_examples))
@given(documents(), CHANCES)
def test_promises_hold_in_a_random_world(document: dict[str, object], chance: Random) -> None:
    world = World(document, chance)
    for _ in range(chance.randrange(60)):
        world.step()
    world.crash()
    world.end()


@given(documents(), CHANCES)
def test_a_saga_in_a_good_world_completes(document: dict[str, object], chance: Random) -> None:
    world = World(document | {"timeout": 1000}, chance)
    while calls := world.calls():
        world.answer(chance.choice(calls), 0)
    assert world.now.status is S.COMPLETED
    starts = [event for event in world.events() if isinstance(event, e.StepStarted)]
    assert sorted(one.step_id for one in starts) == sorted(world.now.steps)
