"""The HTTP contract. These tests know no more of the server than its URL would tell."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgi_client import AsgiClient
from described import check_reply
from shop import Shop, saga, step

from sagakeep import limits
from sagakeep.http.app import make_app
from sagakeep.http.edge import edge
from sagakeep.http.routes import ROUTES
from sagakeep.orchestrator import open_orchestrator

WAIT = {"Prefer": "wait=10"}
QUICK = {"initialInterval": 0.001, "maxInterval": 0.001}
STUCK = step("stuck", "wait")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AsgiClient]:
    async with open_orchestrator(str(tmp_path), {"shop": Shop()}) as orchestrator:
        yield AsgiClient(edge(make_app(orchestrator)), check_reply)


async def posted(api: AsgiClient, document: object, **headers: str) -> Any:
    """Begin a saga and wait until it stands still."""
    reply = await api.request("POST", "/api/sagas", json=document, headers=WAIT | headers)
    assert reply.status == 201, reply
    return reply.json


async def running(api: AsgiClient, **more: object) -> Any:
    """Begin a saga that does not end."""
    reply = await api.request("POST", "/api/sagas", json=saga(STUCK, **more))
    assert reply.status == 201, reply
    return reply.json


async def refused(api: AsgiClient, status: int, *args: Any, **kwargs: Any) -> Any:
    reply = await api.request(*args, **kwargs)
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["status"] == status
    return reply.json


def pointers(problem: Any) -> list[str]:
    return [error["pointer"] for error in problem["errors"]]


# Create


async def test_a_created_saga_is_shown_with_its_place_and_version(api: AsgiClient) -> None:
    reply = await api.request("POST", "/api/sagas", json=saga(id="order-1", tags={"k": "v"}))
    assert reply.status == 201
    assert reply.headers["location"] == "/api/sagas/order-1"
    assert reply.headers["etag"].strip('"').isdigit()
    assert reply.headers["content-type"] == "application/json"
    shown = reply.json
    assert shown["name"] == "order"
    assert shown["tags"] == {"k": "v"}
    assert [one["id"] for one in shown["steps"]] == ["a", "b"]
    assert shown["createdAt"].endswith("Z")


async def test_a_saga_without_an_id_gets_one(api: AsgiClient) -> None:
    first, second = await posted(api, saga()), await posted(api, saga())
    assert first["id"] != second["id"]


async def test_prefer_wait_replies_when_the_saga_is_final(api: AsgiClient) -> None:
    reply = await api.request("POST", "/api/sagas", json=saga(), headers={"Prefer": "wait=10"})
    assert reply.status == 201
    assert reply.headers["preference-applied"] == "wait=10"
    assert reply.json["status"] == "completed"
    assert reply.json["completedSteps"] == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "applied"),
    [
        ("wait=0", "wait=0"),
        ("respond-async, WAIT=0.01", "wait=0.01"),
        ('wait="0"; foo=bar', "wait=0"),
        ("wait=-1", None),
        ("wait=soon", None),
        ("wait=inf", None),
        ("waiting=1", None),
    ],
)
async def test_a_wait_is_applied_when_it_can_be_read(
    api: AsgiClient, given: str, applied: str | None
) -> None:
    headers = {"Prefer": given}
    reply = await api.request("POST", "/api/sagas", json=saga(STUCK), headers=headers)
    assert reply.status == 201
    assert reply.headers.get("preference-applied") == applied
    assert reply.json["status"] == "running"


async def test_a_long_wait_is_cut(api: AsgiClient) -> None:
    reply = await api.request("POST", "/api/sagas", json=saga(), headers={"Prefer": "wait=9999"})
    assert reply.headers["preference-applied"] == "wait=60"


async def test_the_same_key_and_body_give_the_same_saga(api: AsgiClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await api.request("POST", "/api/sagas", json=saga(), headers=headers)
    again = await api.request("POST", "/api/sagas", json=saga(), headers=headers)
    assert (first.status, again.status) == (201, 200)
    assert again.json["id"] == first.json["id"]
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers


async def test_the_same_key_with_another_body_is_refused(api: AsgiClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    await posted(api, saga(), **headers)
    other = saga(name="other")
    await refused(api, 422, "POST", "/api/sagas", json=other, headers=headers)


@pytest.mark.parametrize("key", ["", "é", "a\tb", "k" * (limits.IDEMPOTENCY_KEY_CHARS_MAX + 1)])
async def test_a_key_that_is_none_is_refused(api: AsgiClient, key: str) -> None:
    headers = {"Idempotency-Key": key}
    problem = await refused(api, 422, "POST", "/api/sagas", json=saga(), headers=headers)
    assert pointers(problem) == ["/Idempotency-Key"]


async def test_the_longest_key_is_taken(api: AsgiClient) -> None:
    await posted(api, saga(), **{"Idempotency-Key": "k" * limits.IDEMPOTENCY_KEY_CHARS_MAX})


async def test_an_id_that_was_used_is_refused(api: AsgiClient) -> None:
    await posted(api, saga(id="order-1"))
    await refused(api, 409, "POST", "/api/sagas", json=saga(id="order-1"))


async def test_all_faults_of_a_definition_are_told_at_once(api: AsgiClient) -> None:
    document = saga(step("a", service="nowhere"), timeout=0, colour="red")
    problem = await refused(api, 422, "POST", "/api/sagas", json=document)
    assert {"/steps/0/service", "/timeout", "/colour"} <= set(pointers(problem))
    assert problem["instance"] == "/api/sagas"


@pytest.mark.parametrize("body", [b"", b"{", b'{"name": "a", "name": "b"}', b"\xff", b"{} {}"])
async def test_a_body_that_is_not_json_is_malformed(api: AsgiClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    await refused(api, 400, "POST", "/api/sagas", body, headers=headers)


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-ndjson", "application/jsonx"]
)
async def test_a_body_of_another_type_is_refused(api: AsgiClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    problem = await refused(api, 415, "POST", "/api/sagas", b"{}", headers=headers)
    assert "application/json" in problem["detail"]


@pytest.mark.parametrize("coding", ["gzip", "identity, gzip", ""])
async def test_a_body_that_is_encoded_is_refused(api: AsgiClient, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    await refused(api, 415, "POST", "/api/sagas", b"{}", headers=headers)


async def test_parameters_and_case_of_a_content_type_do_not_matter(api: AsgiClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    body = json.dumps(saga()).encode()
    assert (await api.request("POST", "/api/sagas", body, headers=headers)).status == 201


async def test_a_large_definition_is_read_too(api: AsgiClient) -> None:
    payload = {"text": "x" * 500_000}
    shown = await posted(api, saga(step("a", payload=payload)))
    assert shown["steps"][0]["payload"] == payload


async def test_a_body_beyond_its_limit_is_refused(api: AsgiClient) -> None:
    body = b" " * (limits.BODY_BYTES_MAX + 1)
    headers = {"Content-Type": "application/json"}
    await refused(api, 413, "POST", "/api/sagas", body, headers=headers)


async def test_sensitive_values_are_never_shown(api: AsgiClient) -> None:
    payload = {"card": "4111", "amount": 5}
    secret = step("a", payload=payload, sensitive=["/card", "/payload/card"])
    shown = await posted(api, saga(secret))
    everything = [
        await api.request("GET", f"/api/sagas/{shown['id']}{path}") for path in ("", "/events")
    ]
    everything.append(await api.request("GET", "/api/sagas"))
    assert all(b"4111" not in reply.body and b"[redacted]" in reply.body for reply in everything)


# Batch


async def test_an_invalid_saga_of_a_batch_does_not_stop_the_others(api: AsgiClient) -> None:
    batch = [saga(id="a"), saga(id="a"), saga(colour="red"), 7, saga(id="b")]
    reply = await api.request("POST", "/api/sagas/batch", json=batch)
    assert reply.status == 200
    results = reply.json["results"]
    assert [one["status"] for one in results] == [201, 409, 422, 422, 201]
    assert results[0]["saga"]["id"] == "a"
    assert results[4]["saga"]["id"] == "b"
    assert pointers(results[2]["problem"]) == ["/colour"]


@pytest.mark.parametrize(
    "content_type", ["application/x-ndjson", "application/ndjson; charset=utf-8"]
)
async def test_a_batch_may_be_lines(api: AsgiClient, content_type: str) -> None:
    body = b"\n".join([json.dumps(saga()).encode(), b"", b"{", json.dumps(saga()).encode()])
    headers = {"Content-Type": content_type}
    reply = await api.request("POST", "/api/sagas/batch", body, headers=headers)
    assert [one["status"] for one in reply.json["results"]] == [201, 400, 201]


async def test_a_large_batch_is_answered_in_order(api: AsgiClient) -> None:
    batch = [saga(step("a"), id=f"s-{at}") for at in range(300)]
    reply = await api.request("POST", "/api/sagas/batch", json=batch)
    assert [one["saga"]["id"] for one in reply.json["results"]] == [one["id"] for one in batch]


async def test_an_empty_batch_has_no_results(api: AsgiClient) -> None:
    assert (await api.request("POST", "/api/sagas/batch", json=[])).json == {"results": []}


async def test_a_batch_beyond_its_limit_is_refused(api: AsgiClient) -> None:
    body = b"{}\n" * (limits.BATCH_SAGAS_MAX + 1)
    headers = {"Content-Type": "application/x-ndjson"}
    await refused(api, 422, "POST", "/api/sagas/batch", body, headers=headers)


async def test_a_batch_is_an_array_of_json_in_json(api: AsgiClient) -> None:
    await refused(api, 422, "POST", "/api/sagas/batch", json={})
    headers = {"Content-Type": "application/json"}
    await refused(api, 400, "POST", "/api/sagas/batch", b"[", headers=headers)
    await refused(api, 415, "POST", "/api/sagas/batch", b"[]")


async def test_a_key_on_a_batch_is_refused_since_it_would_not_protect(api: AsgiClient) -> None:
    headers = {"Idempotency-Key": "k"}
    await refused(api, 422, "POST", "/api/sagas/batch", json=[], headers=headers)


# Read


async def test_a_page_without_a_limit_is_no_longer_than_any(
    api: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_MAX", 2)  # as `limits.pageMax` does
    for count in range(3):
        await posted(api, saga(id=f"s-{count}"))
    page = (await api.request("GET", "/api/sagas")).json
    assert [one["id"] for one in page["sagas"]] == ["s-2", "s-1"]
    await refused(api, 422, "GET", "/api/sagas?limit=3")


async def test_a_saga_is_found_by_its_id(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    reply = await api.request("GET", f"/api/sagas/{shown['id']}")
    assert reply.status == 200
    assert reply.json == shown


@pytest.mark.parametrize("path", ["", "/status", "/events"])
@pytest.mark.parametrize("saga_id", ["none", "-", "a%20b", "é", "x" * 129])
async def test_an_unknown_saga_is_not_found(api: AsgiClient, saga_id: str, path: str) -> None:
    await refused(api, 404, "GET", f"/api/sagas/{saga_id}{path}")


async def test_a_known_version_is_not_sent_again(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}"
    etag = (await api.request("GET", path)).headers["etag"]
    for known in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        reply = await api.request("GET", path, headers={"If-None-Match": known})
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["etag"] == etag
    for unknown in ('"x"', "", etag.strip('"')):
        reply = await api.request("GET", path, headers={"If-None-Match": unknown})
        assert reply.status == 200


async def test_the_version_changes_with_the_saga(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}"
    before = (await api.request("GET", path)).headers["etag"]
    await api.request("PUT", f"{path}/compensate")
    assert (await api.request("GET", path)).headers["etag"] != before


async def test_the_status_says_what_is_waited_for(api: AsgiClient) -> None:
    shown = await running(api)
    assert (await api.request("GET", f"/api/sagas/{shown['id']}/status")).json == {
        "id": shown["id"],
        "status": "running",
        "currentStep": "stuck",
        "progress": {"done": 0, "total": 1},
        "nextAttemptAt": None,
        "waitingFor": "reply of shop.wait (attempt 1)",
    }


async def test_head_is_as_get(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    for path in ("/api/sagas", f"/api/sagas/{shown['id']}", "/api/sagas/health", "/openapi.json"):
        assert (await api.request("HEAD", path)).status == 200


# Lists


async def listed(api: AsgiClient, query: str) -> list[str]:
    reply = await api.request("GET", f"/api/sagas?{query}")
    assert reply.status == 200, reply
    return [one["id"] for one in reply.json["sagas"]]


async def test_a_list_is_filtered(api: AsgiClient) -> None:
    await posted(api, saga(id="one", tags={"customer": "c-7", "a.b": "x y"}))
    await posted(api, saga(step("a", "fail"), id="two", name="refund"))
    assert await listed(api, "") == ["two", "one"]
    assert await listed(api, "status=failed") == ["two"]
    assert await listed(api, "name=order") == ["one"]
    assert await listed(api, "name=none") == []
    assert await listed(api, "tag.customer=c-7") == ["one"]
    assert await listed(api, "tag.customer=c-7&tag.a.b=x+y&status=completed") == ["one"]
    assert await listed(api, "tag.customer=c-8") == []


async def test_the_bounds_of_time_are_inclusive(api: AsgiClient) -> None:
    created = (await posted(api, saga(id="one")))["createdAt"]
    assert await listed(api, f"createdAfter={created}&createdBefore={created}") == ["one"]
    shifted = created.replace("Z", "+00:00")
    assert await listed(api, f"createdAfter={shifted}") == ["one"]
    assert await listed(api, "createdAfter=2999-01-01T00:00:00Z") == []
    assert await listed(api, "createdBefore=1999-01-01T00:00:00-05:00") == []


async def test_pages_follow_each_other_while_sagas_are_added(api: AsgiClient) -> None:
    for at in range(5):
        await posted(api, saga(id=f"s-{at}"))
    seen, cursor = [], ""
    for _ in range(3):
        page = (await api.request("GET", f"/api/sagas?limit=2&cursor={cursor}")).json
        seen += [one["id"] for one in page["sagas"]]
        cursor = page["nextCursor"]
        await posted(api, saga())
    assert seen == ["s-4", "s-3", "s-2", "s-1", "s-0"]
    assert cursor is None


async def test_all_faults_of_a_query_are_told_at_once(api: AsgiClient) -> None:
    query = (
        "status=odd&limit=0&createdAfter=today&createdBefore=2026-02-30T00:00:00Z&stats=1&tag.=x"
    )
    problem = await refused(api, 422, "GET", f"/api/sagas?{query}")
    expected = ["/createdAfter", "/createdBefore", "/limit", "/stats", "/status", "/tag."]
    assert sorted(pointers(problem)) == expected


@pytest.mark.parametrize(
    "query", ["limit=501", "limit=ten", "limit=", "limit=1&limit=2", "status="]
)
async def test_a_parameter_that_cannot_be_read_is_refused(api: AsgiClient, query: str) -> None:
    await refused(api, 422, "GET", f"/api/sagas?{query}")


async def test_a_cursor_that_was_not_given_out_is_refused(api: AsgiClient) -> None:
    assert pointers(await refused(api, 422, "GET", "/api/sagas?cursor=!")) == ["/cursor"]


async def test_the_largest_page_is_allowed(api: AsgiClient) -> None:
    assert await listed(api, f"limit={limits.PAGE_MAX}") == []


# Moves


async def test_a_completed_saga_is_compensated_on_request(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}"
    reply = await api.request("PUT", f"{path}/compensate", json={"reason": "returned"})
    assert reply.status == 202
    assert reply.json["status"] == "compensating"
    assert reply.headers["etag"]
    async with api.stream(
        "GET", f"{path}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        while event := await stream.event():
            last = event
    assert last["event"] == "saga_compensated"
    again = await api.request("PUT", f"{path}/compensate")
    assert (again.status, again.json["status"]) == (202, "compensated")
    events = (await api.request("GET", f"{path}/events")).json["events"]
    [asked] = [one for one in events if one["type"] == "saga_compensating"]
    assert asked["payload"] == {"reason": "request", "by": "local", "note": "returned"}


async def test_only_a_step_and_what_depends_on_it_is_compensated(api: AsgiClient) -> None:
    shown = await posted(api, saga(step("a"), step("b"), step("c")))
    path = f"/api/sagas/{shown['id']}"
    await api.request("PUT", f"{path}/compensate", json={"stepID": "b"})
    async with api.stream(
        "GET", f"{path}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        while await stream.event():
            pass
    assert (await api.request("GET", path)).json["completedSteps"] == ["a"]


async def test_an_unknown_step_cannot_be_compensated(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}/compensate"
    assert pointers(await refused(api, 422, "PUT", path, json={"stepID": "z"})) == ["/stepID"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"stepID": 7, "why": "x"}, ["/stepID", "/why"]),
        ({"reason": "x" * (limits.REASON_CHARS_MAX + 1)}, ["/reason"]),
        ({"reason": None}, ["/reason"]),
        ([], [""]),
    ],
)
async def test_all_faults_of_a_wish_are_told_at_once(
    api: AsgiClient, body: object, where: list[str]
) -> None:
    shown = await running(api)
    path = f"/api/sagas/{shown['id']}/compensate"
    assert sorted(pointers(await refused(api, 422, "PUT", path, json=body))) == where
    assert (await api.request("GET", f"/api/sagas/{shown['id']}")).json["status"] == "running"


async def test_a_wish_must_be_json(api: AsgiClient) -> None:
    shown = await running(api)
    for path, method in (("compensate", "PUT"), ("retry", "POST")):
        await refused(api, 415, method, f"/api/sagas/{shown['id']}/{path}", b"stepID=a")


async def test_a_refused_move_tells_the_status_and_what_is_allowed(api: AsgiClient) -> None:
    shown = await running(api)
    problem = await refused(api, 409, "POST", f"/api/sagas/{shown['id']}/retry")
    assert (problem["sagaStatus"], problem["allowed"]) == (
        "running",
        ["compensate", "pause", "finish"],
    )
    await refused(api, 409, "DELETE", f"/api/sagas/{shown['id']}")


async def test_a_failed_saga_is_retried_up_to_its_maximum(api: AsgiClient) -> None:
    shown = await posted(api, saga(step("a", "fail"), maxRetries=1))
    assert (shown["status"], shown["currentStep"], shown["failedSteps"]) == ("failed", "a", ["a"])
    path = f"/api/sagas/{shown['id']}"
    reply = await api.request("POST", f"{path}/retry", json={"reason": "paid"})
    assert reply.status == 202
    assert reply.json["retryCount"] == 1
    await refused(api, 409, "POST", f"{path}/retry")


async def test_a_flaky_step_is_counted(api: AsgiClient) -> None:
    shown = await posted(api, saga(step("a", "flaky", retry=QUICK)))
    assert (shown["status"], shown["steps"][0]["retryCount"]) == ("completed", 1)
    assert shown["steps"][0]["nextAttemptAt"] is None


async def test_a_saga_that_turned_around_says_why(api: AsgiClient) -> None:
    shown = await posted(api, saga(step("a"), step("b", "fail")))
    assert shown["status"] == "compensated"
    assert shown["reason"] == "failure"
    assert shown["error"] == "step 'b' failed: declined"
    assert shown["failedSteps"] == ["b"]
    assert [one["status"] for one in shown["steps"]] == ["compensated", "failed"]


async def test_a_deleted_saga_is_gone_from_everywhere(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}"
    reply = await api.request("DELETE", f"{path}?reason=old")
    assert (reply.status, reply.body) == (204, b"")
    for method, suffix in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/retry")):
        await refused(api, 404, method, f"{path}{suffix}")
    assert await listed(api, "") == []


async def test_a_delete_takes_only_a_reason(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}"
    assert pointers(await refused(api, 422, "DELETE", f"{path}?force=1")) == ["/force"]


# Events


async def test_events_are_numbered_facts_in_order(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    page = (await api.request("GET", f"/api/sagas/{shown['id']}/events")).json
    assert page["nextCursor"] is None
    events = page["events"]
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "saga_created"
    assert events[0]["id"] == f"{shown['id']}/1"
    assert events[-1]["type"] == "saga_completed"
    assert all(one["sagaID"] == shown["id"] and one["timestamp"].endswith("Z") for one in events)


async def test_pages_of_events_follow_each_other(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}/events"
    whole = (await api.request("GET", path)).json["events"]
    seen, cursor = [], "0"
    while cursor:
        page = (await api.request("GET", f"{path}?limit=1&cursor={cursor}")).json
        assert len(page["events"]) == 1
        seen += page["events"]
        cursor = page["nextCursor"]
    assert seen == whole
    beyond = await api.request("GET", f"{path}?cursor=999")
    assert beyond.json == {"events": [], "nextCursor": None}


async def test_a_query_of_events_is_read_strictly(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}/events?limit=501&cursor=x&after=1"
    problem = await refused(api, 422, "GET", path, headers={"Last-Event-ID": "z"})
    assert sorted(pointers(problem)) == ["/Last-Event-ID", "/after", "/cursor", "/limit"]


async def test_a_stream_has_the_history_and_ends_with_the_saga(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}/events"
    whole = (await api.request("GET", path)).json["events"]
    headers = {"Accept": "application/json;q=0.5, text/event-stream"}
    async with api.stream("GET", path, headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert await stream.block() == "retry: 2000"
        streamed = [event async for event in events_of(stream)]
    assert [json.loads(event["data"]) for event in streamed] == whole
    assert [event["id"] for event in streamed] == [str(one["seq"]) for one in whole]
    assert [event["event"] for event in streamed] == [one["type"] for one in whole]


async def events_of(stream: Any) -> AsyncIterator[dict[str, str]]:
    while event := await stream.event():
        yield event


async def test_a_stream_goes_on_after_the_last_event_seen(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}/events"
    last = (await api.request("GET", path)).json["events"][-1]["seq"]
    stream_of = {"Accept": "text/event-stream"}
    for target, headers in (
        (path, {"Last-Event-ID": str(last - 2)}),
        (f"{path}?cursor={last - 2}", {}),
        (f"{path}?cursor=1", {"Last-Event-ID": str(last - 2)}),
    ):
        async with api.stream("GET", target, headers=stream_of | headers) as stream:
            seen = [event["id"] async for event in events_of(stream)]
        assert seen == [str(last - 1), str(last)]


async def test_a_client_that_saw_all_of_a_final_saga_is_told_to_stop(api: AsgiClient) -> None:
    shown = await posted(api, saga())
    path = f"/api/sagas/{shown['id']}/events"
    last = (await api.request("GET", path)).json["events"][-1]["seq"]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
    assert (await api.request("GET", path, headers=headers)).status == 204


async def test_a_stream_gives_what_comes(api: AsgiClient) -> None:
    shown = await posted(api, saga(step("a", "fail")))
    path = f"/api/sagas/{shown['id']}"
    async with api.stream(
        "GET", f"{path}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        while (await stream.event())["event"] != "saga_failed":
            pass
        await api.request("POST", f"{path}/retry")
        assert (await stream.event())["event"] == "saga_retry"


async def test_a_stream_of_an_unknown_saga_is_not_found(api: AsgiClient) -> None:
    headers = {"Accept": "text/event-stream"}
    await refused(api, 404, "GET", "/api/sagas/none/events", headers=headers)


# The server


async def test_statistics_count_every_saga_by_what_became_of_it(api: AsgiClient) -> None:
    empty = (await api.request("GET", "/api/sagas/stats")).json
    assert (empty["totalSagas"], empty["successRate"], empty["averageDuration"]) == (0, 1.0, 0.0)
    await posted(api, saga())
    await posted(api, saga(step("a"), step("b", "fail")))
    await running(api)
    stats = (await api.request("GET", "/api/sagas/stats")).json
    assert stats.pop("averageDuration") > 0
    by_status = stats.pop("byStatus")
    assert stats == {
        "totalSagas": 3,
        "runningSagas": 1,
        "completedSagas": 1,
        "failedSagas": 1,
        "compensatedSagas": 1,
        "successRate": 0.5,
    }
    assert len(by_status) == 9
    assert sum(by_status.values()) == 3


async def test_health_has_a_check_for_each_part(api: AsgiClient) -> None:
    reply = await api.request("GET", "/api/sagas/health")
    assert reply.status == 200
    assert reply.json["status"] == "ok"
    assert set(reply.json["checks"]) == {"journal", "registry", "recovery", "disk", "capacity"}
    assert all(set(check) == {"ok", "detail"} for check in reply.json["checks"].values())


async def test_services_are_shown_with_what_waits_for_them(api: AsgiClient) -> None:
    await posted(api, saga())
    reply = await api.request("GET", "/api/services")
    assert reply.status == 200
    (shop,) = reply.json["services"]
    assert shop.pop("breaker").items() >= {"state": "closed", "failures": 0}.items()
    assert shop == {
        "name": "shop",
        "inFlight": 0,
        "maxConcurrency": limits.SERVICE_CONCURRENCY,
        "queued": 0,
        "maxQueue": limits.SERVICE_QUEUE_CROWDED,
        "attempts": 2,
        "rateLimit": None,
        "rate": None,
        "heldOffUntil": None,
        "nextAt": None,
        "paused": None,
    }


async def test_metrics_are_text(api: AsgiClient) -> None:
    reply = await api.request("GET", "/api/sagas/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE sagakeep_" in reply.body


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/sagas", "GET, HEAD, POST"),
        ("GET", "/api/sagas/batch", "POST"),
        ("DELETE", "/api/sagas/stats", "GET, HEAD"),
        ("PUT", "/api/sagas/x", "DELETE, GET, HEAD"),
        ("POST", "/api/sagas/x/compensate", "PUT"),
        ("OPTIONS", "/api/sagas/x/retry", "POST"),
        ("BREW", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_know_is_refused(
    api: AsgiClient, method: str, path: str, allowed: str
) -> None:
    reply = await api.request(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/docs", "/api", "/api/sagas/", "/api/sagas/x/", "/api/sagas/x/steps"]
)
async def test_a_path_that_is_not_there_is_not_found(api: AsgiClient, path: str) -> None:
    await refused(api, 404, "GET", path)


async def test_every_route_is_described(api: AsgiClient) -> None:
    document = (await api.request("GET", "/openapi.json")).json
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(one.method, one.path) for one in ROUTES}


# Findings


async def test_findings_are_told_to_who_prefers_them(api: AsgiClient) -> None:
    headers = {"Prefer": "wait=10, findings"}
    reply = await api.request("POST", "/api/sagas", json=saga(maxRetries=0), headers=headers)
    assert reply.status == 201
    assert reply.headers["preference-applied"] == "wait=10, findings"
    assert reply.json["status"] == "completed"
    assert [one["code"] for one in reply.json["findings"]] == ["no-way-out"]


async def test_there_may_be_no_findings_to_tell(api: AsgiClient) -> None:
    reply = await api.request("POST", "/api/sagas", json=saga(), headers={"Prefer": "findings"})
    assert reply.headers["preference-applied"] == "findings"
    assert reply.json["findings"] == []


async def test_nobody_else_is_told_findings(api: AsgiClient) -> None:
    reply = await api.request("POST", "/api/sagas", json=saga(maxRetries=0))
    assert "findings" not in reply.json
    assert "preference-applied" not in reply.headers
    shown = await api.request("GET", reply.headers["location"])
    assert "findings" not in shown.json


async def test_a_key_that_is_used_again_is_told_findings_again(api: AsgiClient) -> None:
    headers = {"Idempotency-Key": "k-1", "Prefer": "findings"}
    for status in (201, 200):
        body = saga(maxRetries=0)
        reply = await api.request("POST", "/api/sagas", json=body, headers=headers)
        assert reply.status == status
        assert [one["code"] for one in reply.json["findings"]] == ["no-way-out"]


async def test_each_saga_of_a_batch_has_its_own_findings(api: AsgiClient) -> None:
    batch = [saga(), saga(maxRetries=0), 7]
    headers = {"Prefer": "findings"}
    reply = await api.request("POST", "/api/sagas/batch", json=batch, headers=headers)
    assert reply.headers["preference-applied"] == "findings"
    first, second, third = reply.json["results"]
    assert first["findings"] == []
    assert [one["code"] for one in second["findings"]] == ["no-way-out"]
    assert "findings" not in third


async def test_a_large_saga_is_reviewed_too(api: AsgiClient) -> None:
    steps = [step(f"s{at}", "do") for at in range(40)]
    body = {"name": "large", "steps": steps, "maxRetries": 0, "timeout": 86_400}
    reply = await api.request("POST", "/api/sagas", json=body, headers={"Prefer": "findings"})
    assert [one["code"] for one in reply.json["findings"]] == ["no-way-out"]


async def test_a_bug_of_a_route_names_the_saga_in_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(saga_id: str) -> None:
        raise ZeroDivisionError

    async with open_orchestrator(tmp_path, {"shop": Shop()}) as sagas:
        monkeypatch.setattr(sagas, "describe", broken)
        api = AsgiClient(edge(make_app(sagas)), check_reply)
        await refused(api, 500, "GET", "/api/sagas/s-1")
    (line,) = [one for one in caplog.records if one.exc_info]
    assert line.__dict__["saga"] == "s-1"


# Check


async def checked(api: AsgiClient, body: bytes) -> Any:
    headers = {"Content-Type": "application/json"}
    reply = await api.request("POST", "/api/check", body, headers=headers)
    assert reply.status == 200
    assert (await api.request("GET", "/api/sagas")).json["sagas"] == []
    return reply.json


async def test_a_check_tells_findings_with_their_place_and_what_to_do(api: AsgiClient) -> None:
    text = json.dumps(saga(maxRetries=0, id="never-begun"), indent=1)
    told = await checked(api, text.encode())
    assert (told["valid"], told["errors"]) == (True, [])
    (finding,) = told["findings"]
    assert list(finding) == ["code", "severity", "pointer", "line", "column", "message", "fix"]
    assert (finding["code"], finding["severity"]) == ("no-way-out", "error")
    assert text.splitlines()[finding["line"] - 1][finding["column"] - 1 :].startswith("0")
    assert finding["fix"]
    assert told["figures"][0].startswith("at worst ")


async def test_a_check_tells_what_a_creation_would_refuse(api: AsgiClient) -> None:
    document = saga(step("a", service="shpo", timeout=0), nme="x")
    problem = await refused(api, 422, "POST", "/api/sagas", json=document)
    told = await checked(api, json.dumps(document).encode())
    assert not told["valid"]
    assert (told["findings"], told["figures"]) == ([], [])
    faults = [{"pointer": one["pointer"], "detail": one["detail"]} for one in told["errors"]]
    assert faults == problem["errors"]
    assert {one["line"] for one in told["errors"]} == {1}


@pytest.mark.parametrize(
    ("body", "place", "detail"),
    [
        (b'{"name": "n",\n "steps": [', (2, 12), "Expecting value"),
        (b"", (1, 1), "Expecting value"),
        (b"{\n\xff", (2, 1), "is not UTF-8"),
        (b"[" * 100_000, (1, 1), "is nested deeper"),
        (b"7", (1, 1), "is the number 7; expected an object"),
    ],
)
async def test_a_text_that_is_typed_is_wrong_most_of_the_time(
    api: AsgiClient, body: bytes, place: tuple[int, int], detail: str
) -> None:
    told = await checked(api, body)
    (error,) = told["errors"]
    assert (error["line"], error["column"]) == place
    assert error["detail"].startswith(detail)


async def test_a_check_reads_json_alone(api: AsgiClient) -> None:
    headers = {"Content-Type": "application/yaml"}
    await refused(api, 415, "POST", "/api/check", b"a: 1", headers=headers)


async def test_alerts_tell_what_is_wrong_and_health_counts_them(tmp_path: Path) -> None:
    async with open_orchestrator(tmp_path, {"shop": Shop()}) as sagas:
        api = AsgiClient(edge(make_app(sagas)), check_reply)
        assert (await api.request("GET", "/api/alerts")).json == {"alerts": []}
        body = saga(step("a", compensation="fail"), step("b", "fail"))
        begun = await api.request("POST", "/api/sagas", json=body, headers={"Prefer": "wait=10"})
        await sagas._engine.alerts.look()
        [alert] = (await api.request("GET", "/api/alerts")).json["alerts"]
        assert (alert["rule"], alert["severity"], alert["count"]) == ("undo_failed", "critical", 1)
        assert alert["sagas"] == [begun.json["id"]]
        assert alert["since"].endswith("Z")
        health = (await api.request("GET", "/api/sagas/health")).json
        assert health["alerts"] == {"critical": 1, "warning": 0}
        assert health["status"] == "ok"
