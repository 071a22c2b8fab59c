"""Verdicts: each breach is found where it is, by playing worlds, and where no world has it by telling of one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sagakeep.plan import plan_of
from sagakeep.proof.account import Account, Done
from sagakeep.proof.promises import Promises, ServicePromise
from sagakeep.proof.proof import Prover
from sagakeep.proof.scenario import Scenario, parse_scenario
from sagakeep.proof.script import Script
from sagakeep.proof.stage import Cue, Played, Stage
from sagakeep.proof.verdict import Breach, judge
from sagakeep.saga_status import SagaStatus
from sagakeep.validation import parse_definition


def step(step_id, **more):
    return {"id": step_id, "service": "s", "action": "do", "compensation": "undo", **more}


def definition(*steps, **more):
    return parse_definition({"name": "n", "steps": list(steps), **more}, None)


AB = definition(step("a"), step("b"))
PIVOT = definition(step("a"), step("p", kind="pivot", compensation="", inDoubt="hold"))


def play(saga, text, **promise):
    promises = Promises({"s": ServicePromise(**promise)})
    return Prover(saga, promises).replay(parse_scenario(text, saga))


def breaches(saga, text, **promise):
    return [(one.breach, one.step_id) for one in play(saga, text, **promise)[1]]


# What holds


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("all-well", "completed"),
        ("a/action/1=refused", "failed"),
        ("b/action/1=refused", "compensated"),
        ("b/action/1-4=hang", "compensated"),
        ("b/action/1-4=lost b/compensation/1=refused", "compensation_failed"),
        ("b/action/1=refused a/compensation/1-11=lost", "compensation_failed"),
        ("b/action/1=refused a/compensation/1=slow", "compensated"),
        ("a/action/1=twice", "completed"),
        ("b/action/1=refused crash@a/compensation/1/after", "compensated"),
        ("b/action/1-4=unavailable crash@b/action/2/wait", "compensated"),
        ("crash@a/action/1/before", "completed"),
        ("a/action/1-5=slow crash@a/action/2/after", "compensated"),
    ],
)
def test_a_world_of_good_services_holds_whatever_goes_wrong(text, end):
    played, broken = play(AB, text)
    assert played.state.status == end
    assert broken == []


def test_a_step_that_only_reads_has_no_effect_to_look_for():
    look = definition(step("look", kind="readOnly", compensation=""), step("b"))
    assert breaches(look, "all-well") == []
    assert breaches(look, "b/action/1=refused") == []
    assert breaches(look, "look/action/1-4=hang") == []


def test_a_held_pivot_holds():
    played, broken = play(PIVOT, "p/action/1-4=lost")
    assert (played.state.status, broken) == ("failed", [])


# What does not


def test_an_effect_that_is_there_twice():
    assert breaches(AB, "b/action/1=twice", idempotent=False) == [(Breach.DOUBLED, "b")]
    assert breaches(AB, "b/action/1=lost", idempotent=False) == [(Breach.DOUBLED, "b")]


def test_an_undo_of_what_never_was():
    assert breaches(AB, "b/action/1-4=hang", idempotent=False) == [(Breach.DOUBLED, "b")]


def test_an_effect_that_stays():
    bare = definition(step("a", compensation=""), step("b"))
    assert breaches(bare, "b/action/1=refused") == [(Breach.LEFT, "a")]


def test_an_action_that_arrives_after_its_undo():
    text = "b/action/1=slow b/action/2=refused"
    found = breaches(AB, text, barrier=False)
    assert found == [(Breach.LEFT, "b"), (Breach.OVERTAKEN, "b")]
    assert breaches(AB, text) == []


def test_what_is_undone_though_the_pivot_has_happened():
    undo = definition(step("a"), step("p", kind="pivot", compensation=""))
    found = breaches(undo, "p/action/1-4=lost")
    assert found == [(Breach.LEFT, "p"), (Breach.PAST_PIVOT, "a")]


def test_a_saga_that_moves_when_its_time_is_up_is_no_saga_that_holds():
    stage = Stage(AB, Promises(), bound_s=20)
    (played,) = stage.play([Cue(parse_scenario("a/action/1=hang", AB))])
    (broken,) = judge(AB, played)
    assert broken.breach is Breach.ENDLESS
    assert "is still running when its time is up" in broken.text


# What the engine never does: told, not played


def told(saga, status, *effects, **steps):
    """A world with these effects, of which the saga says that it ended so."""
    (well,) = Stage(saga, Promises(), 100).play([Cue(Scenario())])
    state = replace(well.state, status=status)
    if steps:
        state = replace(state, steps={**state.steps, **steps})
    account = Account(Script(saga, Promises()), Scenario())
    account.moments += [Done(float(at), *effect) for at, effect in enumerate(effects)]
    return [
        (one.breach, one.step_id)
        for one in judge(saga, well._replace(account=account, state=state))
    ]


DID_A, DID_B = ("a", "action", 1, 1), ("b", "action", 1, 1)
UNDID_A, UNDID_B = ("a", "compensation", 1, 0), ("b", "compensation", 1, 0)


def test_an_effect_that_is_not_there():
    assert told(AB, SagaStatus.COMPLETED, DID_A) == [(Breach.MISSING, "b")]


def test_what_a_held_saga_does_not_say():
    assert told(AB, SagaStatus.FAILED, DID_A) == [(Breach.UNSAID, "b")]
    assert told(AB, SagaStatus.FAILED, DID_A, DID_B) == []


def test_an_undo_out_of_order():
    right = DID_A, DID_B, UNDID_B, UNDID_A
    wrong = DID_A, DID_B, UNDID_A, UNDID_B
    assert told(AB, SagaStatus.COMPENSATED, *right) == []
    assert told(AB, SagaStatus.COMPENSATED, *wrong) == [(Breach.OUT_OF_ORDER, "a")]
    beside = definition(step("a", dependsOn=[]), step("b", dependsOn=[]))
    assert told(beside, SagaStatus.COMPENSATED, *wrong) == []


def test_an_undo_while_the_action_is_under_way():
    played, _ = play(AB, "b/action/1-4=hang")
    moments = played.account.moments
    assert judge(AB, played) == []
    undo = next(one for one in moments if one.step_id == "b" and one.phase == "compensation")
    early = undo._replace(at_s=undo.at_s - 1)
    moments[moments.index(undo)] = early
    assert [one.breach for one in judge(AB, played)] == [Breach.OVERTAKEN]


def test_a_saga_that_is_lost():
    account = Account(Script(AB, Promises()), Scenario())
    (broken,) = judge(AB, Played(Scenario(), account, None, ""))
    assert (broken.breach, broken.text) == (Breach.BROKE, "the saga is lost")
    (broken,) = judge(AB, Played(Scenario(), account, None, "there is no saga 'x'"))
    assert broken.text == "there is no saga 'x'"


def test_an_end_that_never_should_be():
    prover = Prover(AB, Promises(never=(SagaStatus.FAILED,)))
    _, broken = prover.replay(parse_scenario("a/action/1=refused", AB))
    assert [one.breach for one in broken] == [Breach.FORBIDDEN_END]


def test_the_plan_of_a_definition_is_not_changed_by_a_proof():
    assert plan_of(AB).pivot is None
    assert AB.id == ""


# Bugs of the engine, planted: the proof would notice


SIDE = definition(
    step("a", maxRetries=1, dependsOn=[]),
    step("b", maxRetries=1, dependsOn=[]),
    step("c", maxRetries=1, dependsOn=["a", "b"]),
)


def forgets_the_doubt(state, step_id):
    step = state.steps[step_id]
    return step.status != "compensated" and step.action.outcome == "done"


def makes_a_new_key(saga_id, effect):
    return f"{saga_id}/{effect.step_id}/{effect.phase}/{effect.epoch}/{effect.attempt}"


@pytest.mark.parametrize(
    ("place", "bug", "breach"),
    [
        ("sagakeep.course.unsettled", lambda state: False, Breach.LEFT),
        ("sagakeep.course.waited_for", lambda state, left: set(), Breach.OUT_OF_ORDER),
        ("sagakeep.state.may_have_happened", forgets_the_doubt, Breach.LEFT),
        ("sagakeep.effects.idempotency_key", makes_a_new_key, Breach.DOUBLED),
    ],
)
def test_a_bug_of_the_engine_is_a_world_that_does_not_hold(monkeypatch, place, bug, breach):
    monkeypatch.setattr(place, bug)
    proof = Prover(SIDE, Promises(), calls_max=1_500).prove()
    found = {one.breach for failure in proof.failures for one in failure.broken}
    assert breach in found


def test_without_a_bug_the_same_saga_holds():
    assert Prover(SIDE, Promises(), calls_max=1_500).prove().failures == []
