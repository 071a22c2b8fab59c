"""What remains to be done, and how a call looks to its service."""

from __future__ import annotations

import pytest
from scenario import START_UTC_S, Saga

from sagakeep import messages as m
from sagakeep.effects import RunCall, WaitUntil, call_of, idempotency_key, idle_until, outstanding
from sagakeep.service import AttemptResult, Call, Outcome

DONE = AttemptResult(Outcome.DONE, {"id": 7})
TIMEOUT = AttemptResult(Outcome.UNKNOWN, error="timed out")
REFUSED = AttemptResult(Outcome.NOT_DONE, error="refused", permanent=True)


def saga_of(*steps: dict[str, object]) -> Saga:
    whole: list[dict[str, object]] = [
        {"service": "s", "action": "do", "compensation": "undo", **step} for step in steps
    ]
    saga = Saga({"name": "order", "timeout": 100, "steps": whole})
    saga.create()
    return saga


def call_in(saga: Saga) -> Call:
    (effect,) = saga.calls()
    return call_of(saga.now, effect)


def test_equal_states_have_equal_effects_and_a_retry_another() -> None:
    saga = saga_of({"id": "a"})
    assert outstanding(saga.now) == [RunCall("a", "action", 1, 1), WaitUntil(START_UTC_S + 100)]
    saga.tell(saga.ended("a", TIMEOUT), 1)
    assert outstanding(saga.now) == [WaitUntil(START_UTC_S + 2)]
    saga.tell(m.Wake(), 2)
    assert saga.calls() == [RunCall("a", "action", 1, 2)]


def test_there_is_one_wait_the_earliest() -> None:
    saga = saga_of({"id": "a", "dependsOn": []}, {"id": "b", "dependsOn": []})
    saga.tell(saga.ended("a", TIMEOUT), 5)
    saga.tell(saga.ended("b", TIMEOUT), 3)
    assert outstanding(saga.now) == [WaitUntil(START_UTC_S + 4)]


def test_a_probe_that_is_to_be_made_later_is_outstanding_with_its_time() -> None:
    saga = saga_of({"id": "a", "maxRetries": 1, "inDoubt": "probe", "probe": "ask"})
    saga.tell(saga.ended("a", TIMEOUT), 1)
    saga.tell(m.Wake(), 2)
    saga.tell(saga.ended("a", TIMEOUT), 3)
    assert saga.calls() == [RunCall("a", "probe", 1, 1)]
    saga.tell(saga.ended("a", TIMEOUT, "probe"), 4)
    assert saga.calls() == [RunCall("a", "probe", 1, 2, START_UTC_S + 5)]


def test_until_when_a_saga_only_waits_is_known_from_its_state() -> None:
    saga = saga_of({"id": "a", "maxRetries": 1, "inDoubt": "probe", "probe": "ask"})
    assert idle_until(saga.now) is None
    saga.tell(saga.ended("a", TIMEOUT), 1)
    assert idle_until(saga.now) == START_UTC_S + 2
    saga.tell(m.Wake(), 2)
    saga.tell(saga.ended("a", TIMEOUT), 3)
    assert idle_until(saga.now) is None  # a probe is to be made
    saga.tell(saga.ended("a", TIMEOUT, "probe"), 4)
    assert idle_until(saga.now) == START_UTC_S + 5
    held = Saga(
        {
            "name": "order",
            "onFailure": "hold",
            "steps": [{"id": "a", "service": "s", "action": "do", "compensation": "undo"}],
        }
    )
    held.create()
    held.tell(held.ended("a", REFUSED), 1)
    assert idle_until(held.now) == 0.0


def test_an_action_is_called_with_the_payload_as_defined() -> None:
    saga = saga_of({"id": "a", "payload": {"n": 1}, "timeout": 2.5})
    assert call_in(saga) == Call(
        saga_id="s",
        saga_name="order",
        step_id="a",
        service="s",
        action="do",
        phase="action",
        attempt=1,
        idempotency_key="s/a/action/1",
        payload={"n": 1},
        timeout_s=2.5,
        action_key="s/a/action/1",
    )


@pytest.mark.parametrize(
    ("undo", "payload"),
    [
        ({}, {"saga": "order"}),
        ({"compensationPayload": {}}, {}),
        ({"compensationPayload": {"n": 2}}, {"n": 2}),
        ({"compensationPayload": {"id": {"$from": "steps.a.result.id"}}}, {"id": 7}),
    ],
)
def test_an_undo_has_its_own_payload_or_that_of_the_action(
    undo: dict[str, object], payload: object
) -> None:
    saga = saga_of({"id": "a", "payload": {"saga": {"$from": "saga.name"}}, **undo}, {"id": "b"})
    saga.tell(saga.ended("a", DONE), 1)
    saga.tell(saga.ended("b", REFUSED), 2)
    call = call_in(saga)
    assert (call.action, call.phase, call.payload) == ("undo", "compensation", payload)
    assert (call.outcome, call.result) == (Outcome.DONE, {"id": 7})


def test_an_undo_in_doubt_has_no_result() -> None:
    saga = saga_of({"id": "a", "maxRetries": 0})
    saga.tell(saga.ended("a", TIMEOUT), 1)
    call = call_in(saga)
    assert (call.outcome, call.result) == (Outcome.UNKNOWN, None)


def test_a_probe_asks_about_the_action_under_its_key() -> None:
    saga = saga_of({"id": "a", "maxRetries": 0, "inDoubt": "probe", "probe": "ask", "payload": [1]})
    saga.tell(saga.ended("a", TIMEOUT), 1)
    call = call_in(saga)
    assert (call.action, call.phase, call.payload) == ("ask", "probe", [1])
    assert (call.idempotency_key, call.outcome) == ("s/a/action/1", Outcome.UNKNOWN)
    assert call.action_key == call.idempotency_key


def test_an_undo_names_the_action_that_it_undoes_where_their_epochs_differ() -> None:
    saga = saga_of({"id": "a"}, {"id": "b"})
    saga.tell(saga.ended("a", REFUSED), 1)
    saga.tell(m.Retry(), 2)
    assert call_in(saga).action_key == "s/a/action/2"
    saga.tell(saga.ended("a", DONE), 3)
    saga.tell(saga.ended("b", REFUSED), 4)
    call = call_in(saga)
    assert (call.idempotency_key, call.action_key) == ("s/a/compensation/1", "s/a/action/2")


def test_a_key_is_of_saga_step_phase_and_epoch_not_of_the_attempt() -> None:
    keys = {idempotency_key("s", RunCall("a", "compensation", 3, n, float(n))) for n in range(9)}
    assert keys == {"s/a/compensation/3"}
