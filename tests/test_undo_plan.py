"""The plan of an undo is what then is called; a move is offered when the machine takes it."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from msgspec.structs import astuple
from scenario import START_UTC_S
from shop import step
from test_machine_properties import CHANCES, World, documents
from test_view import REFUSED, Story

from sagakeep import messages as m
from sagakeep.effects import RunCall, call_of
from sagakeep.errors import MoveRefused
from sagakeep.moves import MOVES, Move, moves_of
from sagakeep.service import AttemptResult, Call, Outcome
from sagakeep.state import SagaStatus
from sagakeep.steering import allowed_moves
from sagakeep.undo_plan import UndoPlan, undo_plan

DONE = AttemptResult(Outcome.DONE)
NOT_DONE = AttemptResult(Outcome.NOT_DONE, error="refused", permanent=True)
WISHES: dict[str, m.Message] = {
    "compensate": m.Compensate(),
    "retry": m.Retry(),
    "resume": m.Resume(),
}


def some_world(document: dict[str, object], chance: Random) -> World:
    world = World(document, chance)
    for _ in range(chance.randrange(40)):
        world.step()
    return world


def now_of(world: World) -> float:
    return START_UTC_S + world.at_s


class Undone:
    """Sends the wish to a world and lets all that is asked for happen; keeps the undos that were called."""

    def __init__(self, world: World, settled: AttemptResult) -> None:
        self.world = world
        self.settled = settled
        self.called: dict[str, Call] = {}

    def play(self, wish: str) -> None:
        if wish:
            self.world.tell(WISHES[wish], self.world.at_s)
        for _ in range(1000):
            if self.world.now.status is not SagaStatus.COMPENSATING:
                return
            calls = self.world.calls()
            for effect in calls:
                if effect.phase == "compensation":
                    call = call_of(self.world.now, effect)
                    self.called.setdefault(call.idempotency_key, call)
            if calls:
                self.answer(self.world.chance.choice(calls))
            else:
                self.world.at_s += 1000
                self.world.tell(m.Wake(), self.world.at_s)
        raise AssertionError("it does not end")

    def answer(self, effect: RunCall) -> None:
        is_pivot = self.world.now.step(effect.step_id).kind == "pivot"
        result = DONE
        if effect.phase == "probe":
            is_done = self.settled is DONE and not is_pivot
            result = AttemptResult(Outcome.DONE, {"outcome": "done" if is_done else "not_done"})
        elif effect.phase == "action":
            result = NOT_DONE if is_pivot else self.settled
        news = m.AttemptEnded(*astuple(effect)[:4], result)
        self.world.tell(news, self.world.at_s)


def keys(plan: UndoPlan) -> set[str]:
    return {one.call.idempotency_key for one in plan.calls}


@settings(max_examples=max(400, settings().max_examples))
@given(documents(), CHANCES)
def test_what_is_planned_is_what_is_called(document: dict[str, object], chance: Random) -> None:
    world = some_world(document, chance)
    plan = undo_plan(world.now, now_of(world))
    if plan.refusal:
        assert not plan.calls
        return
    undone = Undone(world, DONE)
    undone.play(plan.wish)
    assert undone.called == {one.call.idempotency_key: one.call for one in plan.calls}
    assert bool(plan.stops_at) == (world.now.status is SagaStatus.COMPENSATION_FAILED)


@settings(max_examples=max(400, settings().max_examples))
@given(documents(), CHANCES)
def test_what_is_in_flight_and_did_not_happen_is_only_left_out(
    document: dict[str, object], chance: Random
) -> None:
    world = some_world(document, chance)
    for _ in range(20):
        if any(effect.phase != "compensation" for effect in world.calls()):
            break
        world.step()
    plan = undo_plan(world.now, now_of(world))
    if plan.refusal:
        return
    sure = {one.call.idempotency_key for one in plan.calls if not one.only_if_happened}
    undone = Undone(world, NOT_DONE)
    undone.play(plan.wish)
    if world.now.status is SagaStatus.COMPENSATED:
        assert sure <= set(undone.called) <= keys(plan)
    for key, call in undone.called.items():
        (planned,) = [one.call for one in plan.calls if one.call.idempotency_key == key]
        assert (planned.action, planned.payload) == (call.action, call.payload)


@given(documents(), CHANCES)
def test_a_stage_waits_for_those_before_it(document: dict[str, object], chance: Random) -> None:
    world = some_world(document, chance)
    plan = undo_plan(world.now, now_of(world))
    stages = [one.stage for one in plan.calls]
    assert stages == sorted(stages)
    assert set(stages) == set(range(1, max(stages, default=0) + 1))
    graph = world.now.graph
    stage_of = {one.call.step_id: one.stage for one in plan.calls}
    for step_id, stage in stage_of.items():
        for dependent in graph.dependents(step_id):
            assert stage_of.get(dependent, 0) < stage


@settings(max_examples=max(400, settings().max_examples))
@given(documents(), CHANCES)
def test_a_move_is_offered_exactly_if_the_machine_takes_it(
    document: dict[str, object], chance: Random
) -> None:
    world = some_world(document, chance)
    moves = moves_of(world.now, now_of(world))
    assert {move.kind.name for move in moves} == {kind.name for kind in MOVES}
    assert {move.kind.name for move in moves if not move.refusal} == set(allowed_moves(world.now))
    move = chance.choice(moves)
    before = world.calls()
    refusal, events = "", []
    try:
        events = world.tell(move.wish.message, world.at_s)
    except MoveRefused as refused:
        refusal = refused.why
    if refusal:
        assert move.refusal == refusal
        return
    if move.refusal:
        assert not events
        return
    assert (move.status, move.is_gone) == (world.now.status, world.now.deleted)
    begun = [call_of(world.now, one) for one in world.calls() if one not in before]
    assert list(move.begins) == begun


def move_of(story: Story, name: str) -> Move:
    (move,) = [one for one in moves_of(story.state, story.now_utc_s) if one.kind.name == name]
    return move


def test_what_is_undone_refers_to_results_that_are_there() -> None:
    refund = {"of": {"$from": "steps.a.result.n"}}
    story = Story(step("a"), step("b", compensationPayload=refund)).ended("a")
    (b, a) = undo_plan(story.state, story.now_utc_s).calls
    assert (b.call.step_id, b.call.payload, b.is_payload_known) == ("b", {"of": 1}, True)
    assert (b.only_if_happened, a.only_if_happened) == (True, False)


def test_a_payload_that_refers_to_what_is_in_flight_is_not_known() -> None:
    refund = {"of": {"$from": "steps.b.result.n"}}
    story = Story(step("a"), step("b", compensationPayload=refund)).ended("a")
    plan = undo_plan(story.state, story.now_utc_s)
    assert [(one.call.step_id, one.is_payload_known) for one in plan.calls] == [
        ("b", False),
        ("a", True),
    ]
    assert plan.settles_first == ("b",)


def test_an_undo_whose_payload_cannot_be_filled_in_stops_there() -> None:
    refund = {"of": {"$from": "to_number(steps.a.result.n) && abs(steps.a.result)"}}
    story = Story(step("a", compensationPayload=refund), step("b", compensation="")).ended("a")
    story.ended("b", REFUSED)
    plan = undo_plan(story.state, story.now_utc_s)
    assert story.state.status is SagaStatus.COMPENSATION_FAILED
    assert plan.wish == "retry"
    assert "abs" in plan.stops_at
    (left,) = plan.remains
    assert left.step_id == "a"
    assert left.why.startswith("its compensation failed")


def test_what_has_no_compensation_remains() -> None:
    story = Story(step("a", compensation=""), step("b")).ended("a").ended("b")
    plan = undo_plan(story.state, story.now_utc_s)
    assert [one.call.step_id for one in plan.calls] == ["b"]
    assert [(one.step_id, one.why) for one in plan.remains] == [("a", "it has no compensation")]


def test_past_its_pivot_nothing_is_undone() -> None:
    story = Story(step("a"), step("p", kind="pivot"), step("c", kind="retriable"))
    story.ended("a").ended("p")
    plan = undo_plan(story.state, story.now_utc_s)
    assert (plan.refusal, plan.calls) == ("its pivot is done", ())
    assert {one.step_id for one in plan.remains} == {"a", "p"}
    assert {"past its pivot" in one.why for one in plan.remains} == {True}


def test_a_pivot_in_flight_may_make_the_undo_impossible() -> None:
    story = Story(step("a"), step("p", kind="pivot")).ended("a")
    plan = undo_plan(story.state, story.now_utc_s)
    assert (plan.unless_done, plan.settles_first) == ("p", ("p",))
    assert [one.call.step_id for one in plan.calls] == ["a"]


def test_a_step_that_only_reads_needs_no_undo() -> None:
    story = Story(step("r", compensation="", kind="readOnly"), step("b")).ended("r").ended("b")
    (left,) = undo_plan(story.state, story.now_utc_s).remains
    assert left.why == "it only reads: there is nothing to undo"


def test_a_partial_undo_leaves_the_rest() -> None:
    story = Story(step("a"), step("b")).ended("a").ended("b").tell(m.Compensate("b"))
    plan = undo_plan(story.state, story.now_utc_s)
    assert [one.call.step_id for one in plan.calls] == ["b"]
    (left,) = plan.remains
    assert (left.step_id, left.why) == ("a", "only 'b' and what depends on it is undone")


def test_what_is_behind_a_failed_undo_remains() -> None:
    story = Story(step("a"), step("b", inDoubt="hold"), onFailure="compensate").ended("a")
    story.tell(m.Hold("bug"))  # b is in doubt, and an operator's
    assert story.state.status is SagaStatus.FAILED
    assert move_of(story, "compensate").begins[0].step_id == "b"
