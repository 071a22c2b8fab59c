"""Scenarios: a world as a line of text, there and back."""

from __future__ import annotations

import pytest

from sagakeep.proof.scenario import FAULTS, BadReplay, Crash, Fault, Scenario, parse_scenario
from sagakeep.simulation.service import Behaviour
from sagakeep.validation import parse_definition

STEPS = [
    {"id": step_id, "service": "s", "action": "do", "compensation": "undo"}
    for step_id in ("a", "b-1.x:y")
]
DEFINITION = parse_definition({"name": "n", "steps": STEPS}, None)


@pytest.mark.parametrize(
    "text",
    [
        "all-well",
        "a/action/1=lost",
        "a/action/1-4=hang",
        "b-1.x:y/compensation/2=refused a/probe/1=unavailable",
        "crash@a/action/1/before",
        "a/action/1=refused crash@b-1.x:y/compensation/1/after",
        "crash@a/action/3/wait",
        *(f"a/action/1={behaviour}" for behaviour in FAULTS),
    ],
)
def test_a_scenario_is_read_as_it_is_written(text):
    assert str(parse_scenario(text, DEFINITION)) == text


def test_a_scenario_has_its_parts():
    text = " a/action/1-2=lost \n crash@a/action/3/after "
    assert parse_scenario(text, DEFINITION) == Scenario(
        (Fault("a", "action", 1, 2, Behaviour.LOST),), Crash("a", "action", 3, "after")
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is nothing in it"),
        ("a/action/1", "'a/action/1' is neither a fault"),
        ("a/action/1=broken", "one of refused, unavailable"),
        ("a/action/1=done", "one of refused, unavailable"),
        ("a/action/0=lost", "expected a range"),
        ("a/action/3-2=lost", "expected a range"),
        ("a/deed/1=lost", "is neither"),
        ("c/action/1=lost", "this saga has no step 'c'"),
        ("crash@c/action/1/before", "this saga has no step 'c'"),
        ("crash@a/action/1/during", "is neither"),
        ("crash@a/action/1/before crash@a/action/2/before", "nor one crash"),
        ("all-well a/action/1=lost", "'all-well' is neither"),
        ("x" * 500, "is neither"),
    ],
)
def test_what_is_no_scenario_is_refused(text, why):
    with pytest.raises(BadReplay) as refused:
        parse_scenario(text, DEFINITION)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 400


def test_the_first_fault_that_is_about_a_call_counts():
    scenario = parse_scenario("a/action/2-3=lost a/action/3-4=hang", DEFINITION)
    behaviours = [scenario.behaviour("a", "action", number) for number in range(1, 6)]
    assert behaviours == ["done", "lost", "lost", "hang", "done"]
    assert scenario.behaviour("a", "compensation", 2) == "done"
