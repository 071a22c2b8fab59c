"""What the server says of one saga: explained, and as it was. Knows no more of it than its URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from asgi_client import AsgiClient
from described import check_reply
from shop import Shop, saga, step
from test_http_app import QUICK, posted, refused, running

from sagakeep import limits
from sagakeep.http.app import make_app
from sagakeep.http.edge import edge
from sagakeep.moves import MOVES
from sagakeep.orchestrator import ServiceSpec, open_orchestrator
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Call, ServiceUnavailable

SECRET = "4111-1111"
TEXT = {"Accept": "text/plain"}


class Busy(Shop):
    async def busy(self, call: Call) -> object:
        raise ServiceUnavailable("full", retry_after_s=900)

    async def bug(self, call: Call) -> object:
        raise ZeroDivisionError


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AsgiClient]:
    services = {
        "shop": Busy(),
        "narrow": ServiceSpec(PythonCaller(Shop()), 1),
        "frail": ServiceSpec(PythonCaller(Busy()), breaker_failures=2, breaker_open_s=900),
        "slow": ServiceSpec(PythonCaller(Shop()), rate_limit_per_s=0.001, rate_burst=1),
    }
    async with open_orchestrator(str(tmp_path), services) as orchestrator:
        yield AsgiClient(edge(make_app(orchestrator)), check_reply)


async def explained(api: AsgiClient, saga_id: str) -> Any:
    reply = await api.request("GET", f"/api/sagas/{saga_id}/explain")
    assert reply.status == 200
    return reply.json


async def explained_when(api: AsgiClient, saga_id: str, is_so: Callable[[Any], bool]) -> Any:
    """Ask until it is so."""
    with trio.fail_after(10):
        while not is_so(shown := await explained(api, saga_id)):
            await trio.lowlevel.checkpoint()
    return shown


async def test_a_call_in_flight_is_waited_for_since_it_began(api: AsgiClient) -> None:
    posted_saga = await running(api, id="s")
    shown = await explained_when(api, "s", lambda shown: shown["waitsFor"]["since"])
    wait = shown["waitsFor"]
    assert (wait["kind"], wait["service"], wait["action"]) == ("call", "shop", "wait")
    assert (wait["stepID"], wait["attempt"], wait["key"]) == ("stuck", 1, "s/stuck/action/1")
    assert wait["since"] >= posted_saga["createdAt"]
    (deadline,) = shown["alsoWaitsFor"]
    assert (deadline["kind"], deadline["reason"]) == ("timer", "deadline")
    assert deadline["until"] == posted_saga["deadline"]


async def test_a_call_beyond_the_room_of_its_service_waits_in_a_queue(api: AsgiClient) -> None:
    stuck = step("stuck", "wait", service="narrow")
    for saga_id in ("first", "second"):
        await api.request("POST", "/api/sagas", json=saga(stuck, id=saga_id))
    await explained_when(api, "first", lambda shown: shown["waitsFor"]["since"])
    wait = (await explained(api, "second"))["waitsFor"]
    assert (wait["kind"], wait["service"], wait["since"]) == ("queue", "narrow", None)
    assert "1 of 1 in flight, 1 wait" in wait["text"]


async def test_who_waits_for_a_service_that_is_down_is_told_of_its_breaker(
    api: AsgiClient,
) -> None:
    once = {"maxRetries": 0, "compensation": ""}
    for saga_id in ("first", "second"):
        await posted(api, saga(step("a", "bug", service="frail", **once), id=saga_id))
    await api.request("POST", "/api/sagas", json=saga(step("a", service="frail"), id="s"))
    wait = (await explained(api, "s"))["waitsFor"]
    assert (wait["kind"], wait["service"]) == ("queue", "frail")
    assert "its breaker is open since" in wait["text"]
    assert "the next probe is at" in wait["text"]


async def test_who_waits_for_a_service_that_wants_to_be_left_alone_is_told_until_when(
    api: AsgiClient,
) -> None:
    await api.request("POST", "/api/sagas", json=saga(step("a", "busy"), id="first"))
    await explained_when(api, "first", lambda shown: shown["nextAttemptAt"])
    await api.request("POST", "/api/sagas", json=saga(id="s"))
    wait = (await explained(api, "s"))["waitsFor"]
    assert wait["kind"] == "queue"
    assert "it asked to be left alone until" in wait["text"]


async def test_who_waits_for_a_rate_is_told_which(api: AsgiClient) -> None:
    for saga_id in ("first", "second"):
        await api.request("POST", "/api/sagas", json=saga(step("a", service="slow"), id=saga_id))
    wait = (await explained_when(api, "second", lambda shown: shown["waitsFor"]))["waitsFor"]
    assert wait["kind"] == "queue"
    assert "0.001 calls a second may begin just now" in wait["text"]


async def test_a_backoff_is_waited_for_and_says_why(api: AsgiClient) -> None:
    await api.request("POST", "/api/sagas", json=saga(step("a", "busy"), id="s", timeout=2000))
    shown = await explained_when(api, "s", lambda shown: shown["nextAttemptAt"])
    wait = shown["waitsFor"]
    assert (wait["kind"], wait["reason"], wait["attempt"]) == ("timer", "backoff", 2)
    assert wait["until"] == shown["nextAttemptAt"]
    told = shown["story"][-1]
    assert (told["outcome"], told["rule"]) == ("not_done", "ServiceUnavailable")
    assert "nothing was done yet" in told["because"]
    assert "full" in told["text"]


async def test_a_held_saga_waits_for_an_operator_who_is_told_what_to_do(api: AsgiClient) -> None:
    failing = step("b", "fail", compensation="fail")
    await posted(api, saga(failing, id="s"))
    shown = await explained(api, "s")
    assert shown["status"] == "failed"
    assert (shown["waitsFor"]["kind"], shown["waitsFor"]["stepID"]) == ("operator", "b")
    moves = {move["move"]: move for move in shown["moves"]}
    assert moves["retry"]["isLegal"]
    assert moves["retry"]["path"] == "/api/sagas/s/retry"
    (call,) = moves["retry"]["begins"]
    assert (call["action"], call["key"]) == ("fail", "s/b/action/2")
    reply = await api.request(moves["retry"]["method"], moves["retry"]["path"])
    assert reply.status == 202
    assert reply.json["status"] == moves["retry"]["becomes"]


async def test_every_move_is_as_legal_as_it_says(api: AsgiClient) -> None:
    for saga_id, steps in {"done": [step("a")], "undone": [step("a"), step("b", "fail")]}.items():
        await posted(api, saga(*steps, id=saga_id))
        for move in (await explained(api, saga_id))["moves"]:
            if not move["isLegal"] and move["move"] != "compensate":
                await refused(api, 409, move["method"], move["path"], **_asked(move))


def _asked(move: dict[str, Any]) -> dict[str, Any]:
    return {"json": move["body"]} if move["body"] else {}


async def test_a_move_says_every_field_that_its_route_takes(api: AsgiClient) -> None:
    document = (await api.request("GET", "/openapi.json")).json
    schemas = document["components"]["schemas"]
    for kind in MOVES:
        operation = document["paths"][kind.path][kind.method.lower()]
        query = {one["name"]: one for one in operation["parameters"] if one["in"] == "query"}
        body: Any = {"properties": {}}
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            body = schemas[reference.rpartition("/")[2]]
        taken = {("query", name) for name in query} | {
            ("body", name) for name in body["properties"]
        }
        assert {(field.place, field.name) for field in kind.fields} == taken, kind.name
        required = {field.name for field in kind.fields if field.is_required}
        assert required == {
            *body.get("required", ()),
            *(name for name, one in query.items() if one["required"]),
        }


async def test_a_move_is_made_from_what_its_explanation_says_alone(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), step("b"), id="s"))
    for name in ("compensate", "delete"):
        shown = await explained_when(api, "s", lambda shown: shown["waitsFor"] is None)
        (move,) = [move for move in shown["moves"] if move["move"] == name]
        assert move["isLegal"]
        said = {
            one["name"]: one["choices"][-1] if one["choices"] else "why"
            for one in move["fields"]
            if one["name"] in ("stepID", "reason")
        }
        query = {one["name"] for one in move["fields"] if one["place"] == "query"} & said.keys()
        path = move["path"] + "?" + "&".join(f"{name}={said[name]}" for name in query)
        body = {name: value for name, value in said.items() if name not in query}
        reply = await api.request(move["method"], path, json=body or None)
        assert reply.status in (202, 204)
    assert {one["name"]: one["maxLength"] for one in move["fields"]} == {
        "reason": limits.REASON_CHARS_MAX
    }


async def test_a_step_is_chosen_among_those_of_the_saga(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), step("b"), id="s"))
    moves = {move["move"]: move for move in (await explained(api, "s"))["moves"]}
    field = moves["compensate"]["fields"][0]
    assert (field["name"], field["choices"], field["isRequired"]) == ("stepID", ["a", "b"], False)


async def test_who_asks_without_a_key_is_kept_as_stated(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), id="s"))
    reply = await api.request(
        "PUT",
        "/api/sagas/s/compensate",
        json={"reason": "hers"},
        headers={"Saga-Actor": "ada@example.com"},
    )
    assert reply.status == 202
    shown = await explained(api, "s")
    assert any("by ada@example.com (stated) (hers)" in one["text"] for one in shown["story"])
    events = (await api.request("GET", "/api/sagas/s/events")).json["events"]
    (wish,) = [one for one in events if one["type"] == "saga_compensating"]
    assert wish["payload"]["by"] == "ada@example.com (stated)"


@pytest.mark.parametrize("name", ["", "shop (stated)", "a" * 129, "two words"])
async def test_who_asks_says_so_by_a_name(api: AsgiClient, name: str) -> None:
    await posted(api, saga(step("a"), id="s"))
    before = (await api.request("GET", "/api/sagas/s/events")).json
    reply = await api.request("POST", "/api/sagas/s/retry", headers={"Saga-Actor": name})
    assert reply.status == 422
    assert [one["pointer"] for one in reply.json["errors"]] == ["/Saga-Actor"]
    assert (await api.request("GET", "/api/sagas/s/events")).json == before


async def test_what_an_undo_would_call_is_what_it_then_calls(api: AsgiClient) -> None:
    undo = {"of": {"$from": "steps.a.result.action"}}
    await posted(api, saga(step("a"), step("b", compensationPayload=undo), id="s"))
    planned = (await explained(api, "s"))["undo"]
    assert (planned["move"], planned["stopsAt"], planned["remains"]) == ("compensate", "", [])
    assert [(one["stage"], one["stepID"], one["payload"]) for one in planned["calls"]] == [
        (1, "b", {"of": "do"}),
        (2, "a", {}),
    ]
    await api.request("PUT", "/api/sagas/s/compensate")
    shown = await explained_when(api, "s", lambda shown: shown["waitsFor"] is None)
    reply = await api.request("GET", "/api/sagas/s/events")
    undone = [one["stepID"] for one in reply.json["events"] if one["type"] == "step_compensated"]
    assert undone == [one["stepID"] for one in planned["calls"]]
    assert shown["undo"]["calls"] == []


async def test_a_long_story_is_told_from_its_end(
    api: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sagakeep import limits

    monkeypatch.setattr(limits, "STORY_EVENTS_MAX", 2)
    await posted(api, saga(id="s"))
    shown = await explained(api, "s")
    assert shown["untold"] > 0
    assert shown["story"][0]["seq"] == shown["untold"] + 1
    assert shown["story"][-1]["text"] == "All steps are done: it is completed."
    reply = await api.request("GET", "/api/sagas/s/explain", headers=TEXT)
    assert f"... {shown['untold']} events before" in reply.body.decode()


async def test_who_accepts_text_gets_a_page_and_who_accepts_both_gets_json(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), step("b", "flaky", retry=QUICK), id="s"))
    reply = await api.request("GET", "/api/sagas/s/explain", headers=TEXT)
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    text = reply.body.decode()
    assert "not done, because ServiceUnavailable: nothing was done yet" in text
    assert "1. shop.undo undoes step 'b'" in text
    assert "(sagakeep compensate s)" in text
    reply = await api.request(
        "GET", "/api/sagas/s/explain", headers={"Accept": "text/plain, application/json"}
    )
    assert reply.headers["content-type"] == "application/json"


async def test_sensitive_values_are_in_no_explanation(api: AsgiClient) -> None:
    secret = {"payload": {"card": SECRET}, "sensitive": ["/card", "/payload/card"]}
    await posted(
        api, saga(step("a", **secret), step("b", "wait", **secret), id="s"), Prefer="wait=1"
    )
    for headers in ({}, TEXT):
        reply = await api.request("GET", "/api/sagas/s/explain", headers=headers)
        assert b"[redacted]" in reply.body
        assert SECRET.encode() not in reply.body
    reply = await api.request("GET", "/api/sagas/s?at=4")
    assert SECRET.encode() not in reply.body


async def test_an_unknown_saga_is_not_explained(api: AsgiClient) -> None:
    await refused(api, 404, "GET", "/api/sagas/nobody/explain")


# As it was


async def test_a_saga_is_shown_as_it_was_after_each_event(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), step("b", "fail"), id="s"))
    events = (await api.request("GET", "/api/sagas/s/events")).json["events"]
    for event in events:
        then = (await api.request("GET", f"/api/sagas/s?at={event['seq']}")).json
        assert then["updatedAt"] == event["timestamp"]
        status = {one["id"]: one["status"] for one in then["steps"]}
        if event["type"] == "step_started":
            assert status[event["stepID"]] == "running"
        if event["type"] == "step_compensated":
            assert status[event["stepID"]] == "compensated"
    now = await api.request("GET", "/api/sagas/s")
    then = await api.request("GET", f"/api/sagas/s?at={events[-1]['seq']}")
    assert (then.json, then.headers["etag"]) == (now.json, now.headers["etag"])
    assert (await api.request("GET", "/api/sagas/s?at=1")).json["status"] == "created"


async def test_a_saga_is_shown_as_it_was_at_a_time(api: AsgiClient) -> None:
    await posted(api, saga(id="s"))
    events = (await api.request("GET", "/api/sagas/s/events")).json["events"]
    for event in events:
        then = (await api.request("GET", f"/api/sagas/s?at={event['timestamp']}")).json
        assert then["updatedAt"] == event["timestamp"]
    then = (await api.request("GET", "/api/sagas/s?at=2999-01-01T00:00:00%2B02:00")).json
    assert then["status"] == "completed"


@pytest.mark.parametrize("at", ["0", "99", "2001-01-01T00:00:00Z"])
async def test_a_saga_that_was_not_there_yet_is_not_found(api: AsgiClient, at: str) -> None:
    await posted(api, saga(id="s"))
    problem = await refused(api, 404, "GET", f"/api/sagas/s?at={at}")
    assert "'s'" in problem["detail"]


@pytest.mark.parametrize(
    "query", ["at=", "at=-1", "at=yesterday", "at=2026-02-31T00:00:00Z", "at=1&at=2", "at=1.5"]
)
async def test_a_moment_that_is_none_is_refused(api: AsgiClient, query: str) -> None:
    await posted(api, saga(id="s"))
    problem = await refused(api, 400, "GET", f"/api/sagas/s?{query}")
    assert problem["type"] == "/docs/problems#invalid-moment"


async def test_a_moment_of_an_unknown_saga_is_not_found(api: AsgiClient) -> None:
    await refused(api, 404, "GET", "/api/sagas/nobody?at=1")
