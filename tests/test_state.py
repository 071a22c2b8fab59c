"""Questions about a state."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from scenario import Saga

from sagakeep import messages as m
from sagakeep.service import AttemptResult, Outcome
from sagakeep.state import (
    FINAL,
    HELD,
    MOVING,
    CallState,
    SagaState,
    SagaStatus,
    StepState,
    StepStatus,
    compensation_in_flight,
    in_flight,
    is_done,
    is_held_in_doubt,
    may_have_happened,
    pivot_is_done,
    scope_of,
    to_undo,
    waited_for,
)

T = StepStatus
DONE = AttemptResult(Outcome.DONE)
STEPS: list[dict[str, object]] = [
    {"id": "a"},
    {"id": "b", "dependsOn": ["a"], "inDoubt": "hold"},
    {"id": "c", "dependsOn": ["a"], "compensation": ""},
    {"id": "d", "dependsOn": ["b", "c"]},
]


def state_of(**steps: StepState) -> SagaState:
    whole: list[dict[str, object]] = [
        {"service": "s", "action": "do", "compensation": "undo", **step} for step in STEPS
    ]
    saga = Saga({"name": "n", "steps": whole})
    saga.create()
    return replace(saga.now, steps=saga.now.steps | steps)


def step(status: StepStatus, outcome: Outcome | None = None, order: int = 1) -> StepState:
    return StepState(status=status, action=CallState(outcome=outcome, attempt=1), order=order)


def test_every_status_is_final_or_held_or_moving() -> None:
    assert sorted([*FINAL, *HELD, *MOVING]) == sorted(SagaStatus)


@pytest.mark.parametrize("status", StepStatus)
def test_an_action_is_in_flight_only_while_running(status: StepStatus) -> None:
    assert in_flight(step(status)) is (status is T.RUNNING)


def test_an_undo_that_waits_for_its_next_attempt_is_not_in_flight() -> None:
    undoing = step(T.COMPENSATING)
    assert compensation_in_flight(undoing)
    assert not compensation_in_flight(replace(undoing, compensation=CallState(retry_at_utc_s=9.0)))
    assert not compensation_in_flight(step(T.COMPENSATION_FAILED))


@pytest.mark.parametrize(
    ("status", "outcome", "is_there"),
    [
        (T.COMPLETED, Outcome.DONE, True),
        (T.FAILED, Outcome.UNKNOWN, True),
        (T.FAILED, Outcome.NOT_DONE, False),
        (T.PENDING, None, False),
        (T.COMPENSATED, Outcome.DONE, False),
        (T.COMPENSATED, Outcome.UNKNOWN, False),
    ],
)
def test_an_effect_may_be_there_unless_it_is_known_not_to_be(
    status: StepStatus, outcome: Outcome | None, is_there: bool
) -> None:
    assert may_have_happened(state_of(a=step(status, outcome)), "a") is is_there
    assert is_done(step(status, outcome)) is (is_there and outcome is Outcome.DONE)


def test_a_doubt_is_held_until_it_is_accepted() -> None:
    state = state_of(a=step(T.FAILED, Outcome.UNKNOWN), b=step(T.FAILED, Outcome.UNKNOWN))
    assert is_held_in_doubt(state, "b")
    assert is_held_in_doubt(state_of(b=step(T.PENDING, Outcome.UNKNOWN)), "b"), "to be done again"
    assert not is_held_in_doubt(state, "a"), "its inDoubt is undo"
    assert not is_held_in_doubt(replace(state, doubt_accepted=True), "b")
    assert not is_held_in_doubt(state_of(b=step(T.FAILED, Outcome.NOT_DONE)), "b")


def test_the_scope_is_a_step_and_those_that_depend_on_it() -> None:
    assert scope_of(state_of()) == {"a", "b", "c", "d"}
    assert scope_of(replace(state_of(), scope="c")) == {"c", "d"}


def test_what_is_to_be_undone_is_latest_first_and_has_a_compensation() -> None:
    done = Outcome.DONE
    state = state_of(
        a=step(T.COMPLETED, done, 1),
        b=step(T.COMPLETED, done, 5),
        c=step(T.COMPLETED, done, 4),
        d=step(T.FAILED, Outcome.UNKNOWN, 9),
    )
    assert to_undo(state) == ["d", "b", "a"]
    assert to_undo(replace(state, scope="b")) == ["d", "b"]
    assert to_undo(state_of(a=step(T.RUNNING, Outcome.UNKNOWN))) == [], "it settles first"


def test_a_step_waits_for_those_that_depend_on_it_across_others() -> None:
    state = state_of()
    assert waited_for(state, ["d", "a"]) == {"a", "b", "c"}
    assert waited_for(state, ["b", "c"]) == {"a"}
    assert waited_for(state, []) == set()


def test_the_pivot_is_done_when_its_step_is() -> None:
    saga = Saga(
        {
            "name": "n",
            "steps": [
                {"id": "p", "service": "s", "action": "do", "kind": "pivot"},
                {"id": "c", "service": "s", "action": "do", "kind": "retriable"},
            ],
        }
    )
    saga.create()
    assert not pivot_is_done(saga.now)
    saga.tell(saga.ended("p", DONE), 1)
    assert pivot_is_done(saga.now)
    saga.tell(m.Wake(), 1)
    assert not pivot_is_done(state_of(a=step(T.COMPLETED, Outcome.DONE))), "there is none"
