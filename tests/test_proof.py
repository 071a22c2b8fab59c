"""Proofs: which worlds are played, how many of them, and that each is played as it says."""

from __future__ import annotations

import gc
import logging
from collections import Counter

import pytest

from sagakeep.errors import SagakeepError
from sagakeep.orchestrator import Orchestrator
from sagakeep.plan import plan_of
from sagakeep.proof.account import Asked, Done, Killed
from sagakeep.proof.programme import Programme, crashes_of
from sagakeep.proof.promises import Promises, ServicePromise, UndoBy
from sagakeep.proof.proof import Family, Prover, bound_s_of, shortest_first
from sagakeep.proof.results import MadeUp, shares_leaf
from sagakeep.proof.scenario import BadReplay, Scenario, parse_scenario
from sagakeep.proof.stage import Cue, Stage
from sagakeep.proof.verdict import Breach
from sagakeep.validation import parse_definition


def step(step_id, **more):
    return {"id": step_id, "service": "s", "action": "do", "compensation": "undo", **more}


def definition(*steps, **more):
    return parse_definition({"name": "n", "steps": list(steps), **more}, None)


AB = definition(step("a", maxRetries=1), step("b", maxRetries=1))


def programme(saga=AB, **promise):
    return Programme(saga, Promises({"s": ServicePromise(**promise)}))


def texts(scenarios):
    return [str(one) for one in scenarios]


# The programme


def test_each_action_fails_for_good_in_each_way():
    found = texts(programme().turns())
    assert [one for one in found if one.startswith("a/")] == [
        "a/action/1=refused",
        "a/action/1-2=unavailable",
        "a/action/1-2=error",
        "a/action/1-2=lost",
        "a/action/1-2=late",
        "a/action/1-2=slow",
        "a/action/1-2=hang",
        "a/action/1=lost a/action/2=refused",
        "a/action/1=slow a/action/2=refused",
        "a/action/1=hang a/action/2=refused",
    ]
    assert len(found) == 20


def test_each_attempt_of_each_action_goes_wrong_in_each_way():
    found = texts(programme().calls())
    assert found[:7] == [
        f"a/action/1={one}"
        for one in ["unavailable", "error", "lost", "late", "slow", "twice", "hang"]
    ]
    assert found[7] == "a/action/1=unavailable a/action/2=unavailable"
    assert found[14] == "a/action/1=unavailable a/action/2=refused"
    assert len(found) == 2 * 15


def test_an_action_refuses_that_can():
    assert not [one for one in texts(programme(refuses=()).turns()) if "refused" in one]
    assert [one for one in texts(programme(refuses=("do",)).turns()) if "refused" in one]
    pivot = step("p", kind="pivot", compensation="")
    after = step("after", kind="retriable", compensation="", action="finish")
    saga = definition(step("a"), pivot, after)
    assert not [one for one in texts(programme(saga).turns()) if "after/action/1=refused" in one]
    assert "after/action/1-5=hang" in texts(programme(saga).turns())
    found = texts(programme(saga, refuses=("finish",)).turns())
    assert next(one for one in found if "=refused" in one) == "after/action/1=refused"


def played(text, saga=AB):
    stage = Stage(saga, Promises(), bound_s_of(saga))
    (one,) = stage.play([Cue(parse_scenario(text, saga))])
    return one


def test_the_orchestrator_is_killed_around_each_call_and_in_each_wait():
    one = played("b/action/1=unavailable")
    cues = crashes_of(one.scenario, one.account)
    assert [str(cue.scenario.crash) for cue in cues] == [
        "crash@a/action/1/before",
        "crash@a/action/1/after",
        "crash@b/action/1/before",
        "crash@b/action/1/wait",
        "crash@b/action/2/before",
        "crash@b/action/2/after",
    ]
    half, full = pytest.approx(0.25, abs=0.01), pytest.approx(0.5, abs=0.01)
    assert [cue.crash_at_s for cue in cues] == [0, 0, 0, half, full, full]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_is_where_it_says(moment):
    prover = Prover(AB, Promises())
    one, _ = prover.replay(parse_scenario(f"crash@b/action/1/{moment}", AB))
    moments = one.account.moments
    killed = next(at for at, each in enumerate(moments) if isinstance(each, Killed))
    done = [each.step_id for each in moments[:killed] if isinstance(each, Done)]
    assert done == (["a"] if moment == "before" else ["a", "b"])
    again = [each for each in moments[killed:] if isinstance(each, Asked)]
    assert [(each.step_id, each.attempt) for each in again] == [("b", 1)]
    assert one.state.status == "completed"


def test_a_request_on_its_way_arrives_though_its_sender_is_killed():
    one, broken = Prover(AB, Promises()).replay(
        parse_scenario("b/action/1=slow crash@b/action/1/after", AB)
    )
    killed = next(each for each in one.account.moments if isinstance(each, Killed))
    assert [each.at_s > killed.at_s for each in one.account.effects()] == [False, True]
    assert broken == []


# The proof


def test_all_families_are_played_and_counted():
    probed = definition(step("a", inDoubt="probe", probe="ask", maxRetries=1), step("b"))
    proof = Prover(probed, Promises(), calls_max=1_000).prove()
    assert set(proof.families) == set(Family)
    assert sum(proof.families.values()) == proof.worlds == proof.held
    assert sum(proof.ends.values()) == proof.worlds
    assert proof.left_out > 0


def test_the_same_worlds_are_played_each_time():
    first, again = (Prover(AB, Promises(), calls_max=300).prove() for _ in range(2))
    assert (first.worlds, first.left_out, first.ends) == (again.worlds, again.left_out, again.ends)


@pytest.mark.parametrize("calls_max", [100, 300, 1_000])
def test_no_more_calls_are_made_than_allowed_by_much(calls_max):
    prover = Prover(AB, Promises(), calls_max=calls_max)
    calls = []
    play = prover._stage.play

    def counted(cues, **more):
        played = play(cues, **more)
        calls.append(sum(isinstance(m, Asked) for one in played for m in one.account.moments))
        return played

    prover._stage.play = counted
    prover.prove()
    assert sum(calls) < calls_max * 1.5


def test_everything_leaves_nothing_out():
    one = definition(step("a", maxRetries=0, compensationMaxRetries=1))
    proof = Prover(one, Promises(), everything=True).prove()
    assert proof.left_out == 0
    assert proof.failures == []
    assert proof.worlds > Prover(one, Promises()).prove().worlds


def test_progress_is_told_of_every_world():
    counts = []
    proof = Prover(AB, Promises(), calls_max=300, progress=counts.append).prove()
    assert sum(counts) == proof.worlds


def test_an_end_that_is_expected_and_never_reached_is_told():
    held = definition(step("a"), onFailure="hold")
    proof = Prover(held, Promises(expect=("failed", "compensated")), calls_max=50).prove()
    assert proof.unreached == ("compensated",)


def test_simple_failures_come_first_and_one_of_each_kind():
    promises = Promises({"s": ServicePromise(idempotent=False)})
    failures = shortest_first(Prover(AB, promises, calls_max=1_000).prove().failures)
    first = failures[0].played.scenario
    assert first.crash is None
    assert sum(1 + fault.last - fault.first for fault in first.faults) == 1
    kinds = Counter(
        (one.played.scenario.faults[-1:][0].behaviour if one.played.scenario.faults else None)
        for one in failures[:3]
    )
    assert max(kinds.values()) <= 2


def test_a_crash_that_cannot_be_is_no_world():
    with pytest.raises(BadReplay, match="no such moment"):
        Prover(AB, Promises()).replay(parse_scenario("crash@b/compensation/1/before", AB))


# The stage


def test_many_worlds_side_by_side_do_not_see_each_other():
    stage = Stage(AB, Promises(), bound_s_of(AB))
    some = ["all-well", "a/action/1=refused", "b/action/1=refused", "b/action/1-2=hang"] * 5
    ends = [one.state.status for one in stage.play([Cue(parse_scenario(one, AB)) for one in some])]
    assert ends == ["completed", "failed", "compensated", "compensated"] * 5


def test_large_definitions_are_played_a_few_at_a_time(monkeypatch):
    sizes = []
    play = Stage.play

    def watched(self, cues, **more):
        sizes.append(len(cues))
        return play(self, cues, **more)

    monkeypatch.setattr(Stage, "play", watched)
    monkeypatch.setattr("sagakeep.proof.proof.SIDE_BY_SIDE_BYTES_MAX", 40_000)
    large = definition(step("a", payload={"text": "x" * 10_000}, maxRetries=0))
    proof = Prover(large, Promises(), calls_max=60).prove()
    assert proof.failures == []
    assert max(sizes) == 3


def test_an_orchestrator_that_breaks_is_no_world_that_holds(monkeypatch):
    async def start(self, definition, **more):
        if definition.id == "world-3":
            raise RuntimeError("a bug")
        return await real(self, definition, **more)

    real = Orchestrator.start
    monkeypatch.setattr(Orchestrator, "start", start)
    prover = Prover(AB, Promises(), calls_max=200)
    proof = prover.prove()
    assert proof.failures == [], "the world that broke a batch is played alone, and holds"

    async def never(self, definition, **more):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Orchestrator, "start", never)
    proof = Prover(AB, Promises(), calls_max=50).prove()
    assert proof.held == 0
    assert {one.breach for failure in proof.failures for one in failure.broken} == {Breach.BROKE}
    assert "a bug" in proof.failures[0].broken[0].text


def test_a_saga_that_is_gone_after_a_crash_is_lost(monkeypatch):
    async def wait(self, saga_id, timeout_s):
        raise SagakeepError("it is gone")

    monkeypatch.setattr(Orchestrator, "wait", wait)
    stage = Stage(AB, Promises(), 100)
    (one,) = stage.play([Cue(parse_scenario("crash@a/action/1/after", AB))])
    assert (one.state, one.error) == (None, "it is gone")


def test_the_collector_and_the_logs_are_left_as_they_were():
    gc.disable()
    try:
        played("all-well")
        assert not gc.isenabled()
    finally:
        gc.enable()
    played("all-well")
    assert gc.isenabled()
    assert logging.root.manager.disable == logging.NOTSET


# What services answer


def test_results_are_made_up_as_they_are_read():
    payload = {
        "x": {"$from": "steps.a.result.card.last4"},
        "y": {"$from": "steps.a.result.card"},
        "z": {"$from": "length(steps.a.result.list)"},
    }
    saga = definition(step("a"), step("b", payload=payload))
    assert MadeUp(plan_of(saga)).result("b", "key") == {"receipt": "key"}
    assert MadeUp(plan_of(saga)).result("a", "key") == {"card": {"last4": "last4 of key"}}
    one = definition(step("a"), step("b", payload={"x": payload["x"], "id": payload["x"]}))
    assert MadeUp(plan_of(one)).result("a", "k") == {"card": {"last4": "last4 of k"}}


def test_a_leaf_is_shared_wherever_it_is():
    assert shares_leaf({"a": [{"b": "x"}]}, (None, {"c": "x"}))
    assert not shares_leaf({"a": ["y", None, 1, ""]}, ({"c": "x", "d": 1, "e": ""}, None))


UNDO = {"charge": {"$from": "steps.a.result.chargeId"}}
BY_PAYLOAD = definition(step("a", maxRetries=0, compensationPayload=UNDO), step("b"))


def undone(saga, text, **promise):
    promises = Promises({"s": ServicePromise(undo_by=UndoBy.PAYLOAD, **promise)})
    one, broken = Prover(saga, promises).replay(parse_scenario(text, saga))
    return one.account.net("a"), broken


def test_an_undo_by_payload_needs_to_be_told():
    assert undone(BY_PAYLOAD, "b/action/1=refused") == (0, [])
    count, broken = undone(BY_PAYLOAD, "a/action/1=lost")
    assert (count, [one.breach for one in broken]) == (1, [Breach.LEFT])
    same = definition(step("a", maxRetries=0), step("b"))
    assert undone(same, "a/action/1=lost") == (0, [])


def test_an_undo_by_payload_finds_what_the_author_says_the_action_answers():
    results = {"do": {"chargeId": "ch_1"}}
    assert undone(BY_PAYLOAD, "b/action/1=refused", results=results) == (0, [])
    assert undone(BY_PAYLOAD, "b/action/1=refused", results={"do": {"id": "ch_1"}})[0] == 1


def test_a_probe_answers_with_the_result_and_one_that_is_not_there_refuses():
    probed = definition(
        step("a", inDoubt="probe", probe="ask", maxRetries=0),
        step("b", payload={"x": {"$from": "steps.a.result.id"}}),
    )
    one, _ = Prover(probed, Promises()).replay(parse_scenario("a/action/1=lost", probed))
    assert one.state.status == "completed"
    assert one.state.steps["a"].result == {"id": "id of world-0/a/action/1"}
    promises = Promises({"s": ServicePromise(probe=False)})
    one, broken = Prover(probed, promises).replay(parse_scenario("a/action/1=lost", probed))
    assert (one.state.status, broken) == ("compensated", [])


def test_a_scenario_without_faults_is_all_well():
    assert str(Scenario()) == "all-well"
