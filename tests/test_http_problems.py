from __future__ import annotations

import json

import pytest
from starlette.responses import Response

from sagakeep import errors
from sagakeep.errors import Fault
from sagakeep.http.problems import IN_DOUBT, KINDS, document_of, problem, problem_of
from sagakeep.runtime.mailbox import MailboxClosed

EXAMPLES = {
    errors.MalformedJson("line 1: no"): (400, "malformed-json"),
    errors.InvalidDefinition([Fault("/name", "missing")]): (422, "invalid-saga-definition"),
    errors.SagaNotFound("s-1"): (404, "saga-not-found"),
    errors.InvalidMoment("at is given twice"): (400, "invalid-moment"),
    errors.ServiceNotFound("payments", ("payment",)): (404, "service-not-found"),
    errors.PlanRefused("it is too old"): (409, "plan-refused"),
    errors.SagaExists("s-1"): (409, "saga-exists"),
    errors.IdempotencyKeyReused("k"): (422, "idempotency-key-reused"),
    errors.MoveRefused("s-1", "completed", "retry", "it is done", ("compensate",)): (
        409,
        "move-refused",
    ),
    errors.SagaMoved("s-1", "completed", "retry", "it has moved on", ("compensate",)): (
        412,
        "saga-moved",
    ),
    errors.UnknownStep("s-1", "x", ("a", "b")): (422, "unknown-step"),
    errors.Unavailable("recovering", 3): (503, "unavailable"),
    errors.DiskFull("none left"): (503, "disk-full"),
    errors.InDoubt(IN_DOUBT): (503, "in-doubt"),
}


def body(response: Response) -> dict[str, object]:
    assert response.media_type == "application/problem+json"
    return json.loads(bytes(response.body))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_each_error_has_its_status_and_its_page(error: errors.SagakeepError):
    status, anchor = EXAMPLES[error]
    response = problem_of(error, "/api/sagas/s-1")
    found = body(response)
    assert response.status_code == found["status"] == status
    assert found["type"] == f"/docs/problems#{anchor}"
    assert found["detail"] == str(error)
    assert found["instance"] == "/api/sagas/s-1"


def test_the_table_has_no_class_without_an_example():
    assert {type(error) for error in EXAMPLES} == set(KINDS)


def test_all_faults_of_a_document_are_listed():
    faults = [Fault("/name", "missing"), Fault("/steps/0/id", "too long")]
    found = document_of(errors.InvalidDefinition(faults))
    assert found["errors"] == [
        {"pointer": "/name", "detail": "missing"},
        {"pointer": "/steps/0/id", "detail": "too long"},
    ]


def test_an_unknown_step_points_at_its_place_in_the_request():
    found = document_of(errors.UnknownStep("s-1", "x", ("a",)))
    assert [fault["pointer"] for fault in found["errors"]] == ["/stepID"]


def test_a_refused_move_tells_the_status_of_the_saga_and_what_is_allowed():
    found = document_of(errors.MoveRefused("s-1", "completed", "retry", "why", ("compensate",)))
    assert (found["status"], found["sagaStatus"]) == (409, "completed")
    assert found["allowed"] == ["compensate"]


@pytest.mark.parametrize(("wish_s", "told"), [(3, "3"), (0, "1")])
def test_unavailable_says_when_to_come_back(wish_s: int, told: str):
    assert problem_of(errors.Unavailable("later", wish_s)).headers["retry-after"] == told
    assert "retry-after" in problem_of(errors.DiskFull("none left")).headers


@pytest.mark.parametrize("error", [errors.JournalBroken, MailboxClosed])
def test_a_server_that_ends_says_that_it_does_not_know_and_names_no_file(error):
    response = problem_of(error("/secret/0001: offset 7: EIO"))
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert body(response)["detail"] == IN_DOUBT


def test_an_error_outside_the_table_says_nothing_of_itself():
    response = problem_of(errors.JournalCorrupt("/secret/0001", 7, "crc"))
    assert response.status_code == 500
    assert b"secret" not in bytes(response.body)


def test_empty_members_are_left_out_and_further_ones_kept():
    assert body(problem(418, "I am a teapot", "short", spout="blocked")) == {
        "type": "/docs/problems#i-am-a-teapot",
        "title": "I am a teapot",
        "status": 418,
        "detail": "short",
        "spout": "blocked",
    }
