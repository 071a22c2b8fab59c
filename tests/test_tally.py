from __future__ import annotations

from sagakeep import limits
from sagakeep.actors.tally import OTHER, OUTCOMES, CallTally, Labels
from sagakeep.service import AttemptResult, Call, Outcome, Phase


def call(action: str = "charge", attempt: int = 1, phase: Phase = "action") -> Call:
    return Call("s", "order", "pay", "payment", action, phase, attempt, "key", {}, 30.0)


def test_the_first_names_are_told_apart_and_all_others_are_one():
    labels = Labels(2)
    assert [labels.of(name) for name in "abcab"] == ["a", "b", OTHER, "a", "b"]


def test_what_a_service_refuses_is_no_trouble_of_its_own():
    tally = CallTally()
    tally.note(call(), AttemptResult(Outcome.DONE, latency_s=0.2))
    tally.note(call(), AttemptResult(Outcome.NOT_DONE, permanent=True))
    tally.note(call(), AttemptResult(Outcome.NOT_DONE))
    tally.note(call(attempt=2), AttemptResult(Outcome.UNKNOWN))
    assert tally.ended == {("charge", "action"): [1, 1, 1, 1]}
    tally.note(call("refund", phase="compensation"), AttemptResult(Outcome.DONE))
    assert dict(zip(OUTCOMES, tally.by_outcome(), strict=True)) == {
        "done": 2,
        "refused": 1,
        "not_done": 1,
        "unknown": 1,
    }
    assert tally.repeated == {"action": 1}
    assert (tally.seconds.count, tally.seconds.sum) == (5, 0.2)


def test_of_no_attempt_none_ended():
    assert CallTally().by_outcome() == [0, 0, 0, 0]


def test_ten_thousand_actions_have_as_many_labels_as_may_be():
    tally = CallTally()
    for number in range(10_000):
        tally.note(call(f"action-{number}"), AttemptResult(Outcome.DONE))
    assert len(tally.ended) == limits.METRIC_ACTIONS_MAX + 1
    assert tally.ended[OTHER, "action"][0] == 10_000 - limits.METRIC_ACTIONS_MAX
