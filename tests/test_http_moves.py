"""Operators' moves over HTTP. Knows no more of the server than its URL, and what each move says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgi_client import AsgiClient
from described import check_reply
from shop import Shop, saga, step
from test_http_app import pointers, posted, refused, running
from test_http_explain import explained, explained_when

from sagakeep.http.app import make_app
from sagakeep.http.auth import ApiKey, Role, new_key
from sagakeep.http.edge import edge
from sagakeep.http.move_routes import MOVE_ROUTES
from sagakeep.orchestrator import open_orchestrator

HELD = saga(step("a"), step("b", "fail", payload={"n": 1}), id="s", onFailure="hold")
ACTOR = {"Saga-Actor": "ada"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AsgiClient]:
    async with open_orchestrator(str(tmp_path), {"shop": Shop()}) as orchestrator:
        yield AsgiClient(edge(make_app(orchestrator)), check_reply)


async def moved(api: AsgiClient, name: str, said: object = None, **headers: str) -> Any:
    reply = await api.request(
        "PUT", f"/api/sagas/s/{name}", json=said, headers={**ACTOR, **headers}
    )
    assert reply.status in (200, 201, 202), reply
    return reply


async def still(api: AsgiClient) -> Any:
    await explained_when(api, "s", lambda shown: shown["status"] not in ("running", "compensating"))
    return (await api.request("GET", "/api/sagas/s")).json


async def events(api: AsgiClient, kind: str) -> list[Any]:
    found = (await api.request("GET", "/api/sagas/s/events")).json["events"]
    return [one for one in found if one["type"] == kind]


def offered(shown: Any, name: str) -> Any:
    (move,) = [one for one in shown["moves"] if one["move"] == name]
    return move


async def test_a_saga_is_paused_and_resumed_and_says_who_and_why(api: AsgiClient) -> None:
    await running(api, id="s")
    shown = (await moved(api, "pause", {"reason": "the bank is down"})).json
    assert (shown["paused"]["by"], shown["paused"]["reason"]) == (
        "ada (stated)",
        "the bank is down",
    )
    assert (
        (await api.request("GET", "/api/sagas/s/status")).json["waitingFor"].startswith("operator")
    )
    explanation = await explained_when(api, "s", lambda shown: len(shown["alsoWaitsFor"]) == 1)
    assert explanation["waitsFor"]["kind"] == "call"
    assert explanation["alsoWaitsFor"][0]["reason"] == "paused"
    assert "to resume it, which is paused since" in explanation["alsoWaitsFor"][0]["text"]
    assert "paused by ada (stated) (the bank is down)" in explanation["story"][-1]["text"]
    assert not offered(explanation, "pause")["isLegal"]
    problem = await refused(api, 409, "PUT", "/api/sagas/s/pause")
    assert "paused already" in problem["detail"]
    assert "resume" in problem["allowed"]
    assert (await moved(api, "resume")).json["paused"] is None
    assert len(await events(api, "saga_resumed")) == 1


async def test_a_step_is_skipped(api: AsgiClient) -> None:
    await posted(api, HELD)
    move = offered(await explained(api, "s"), "skip")
    assert (move["body"], move["becomes"]) == ({"stepID": "b"}, "completed")
    assert move["command"] == "sagakeep skip s b"
    await refused(api, 422, "PUT", "/api/sagas/s/skip", json={"stepID": "nowhere"})
    await refused(api, 422, "PUT", "/api/sagas/s/skip", json={})
    problem = await refused(api, 409, "PUT", "/api/sagas/s/skip", json={"stepID": "a"})
    assert "step 'a' is completed: it cannot be skipped" in problem["detail"]
    shown = (
        await moved(api, "skip", {"stepID": "b", "result": {"n": 7}, "reason": "by post"})
    ).json
    assert shown["status"] == "completed"
    assert (shown["steps"][1]["isSkipped"], shown["steps"][1]["result"]) == (True, {"n": 7})
    (event,) = await events(api, "step_skipped")
    assert event["payload"] == {"result": {"n": 7}, "by": "ada (stated)", "note": "by post"}


async def test_a_step_is_called_with_another_payload(api: AsgiClient) -> None:
    await posted(api, HELD)
    move = offered(await explained(api, "s"), "edit")
    assert move["body"] == {"stepID": "b", "payload": {"n": 1}}
    (call,) = move["begins"]
    assert call["key"] == "s/b/action/2"
    problem = await refused(
        api, 422, "PUT", "/api/sagas/s/edit", json={"stepID": "b", "payload": {"$from": "saga.id"}}
    )
    assert pointers(problem) == ["/payload"]
    await moved(api, "edit", {"stepID": "b", "payload": {"n": 2}})
    shown = await still(api)
    assert (shown["status"], shown["steps"][1]["payload"]) == ("failed", {"n": 2})
    assert len(await events(api, "step_edited")) == 1
    await moved(api, "edit", {"stepID": "b", "payload": None})
    assert (await still(api))["steps"][1]["payload"] is None


async def test_what_is_sensitive_is_not_shown_where_it_is_edited(api: AsgiClient) -> None:
    secret = {"card": "4111-1111"}
    failing = step("b", "fail", payload=secret, sensitive=["/card"])
    await posted(api, saga(step("a"), failing, id="s", onFailure="hold"))
    move = offered(await explained(api, "s"), "edit")
    assert move["body"]["payload"] == {"card": "[redacted]"}
    await refused(api, 422, "PUT", "/api/sagas/s/edit", json=move["body"])
    await moved(api, "edit", {"stepID": "b", "payload": {"card": "4222-2222"}})
    await still(api)
    for path in ("/api/sagas/s", "/api/sagas/s/events", "/api/sagas/s/explain"):
        body = (await api.request("GET", path)).body.decode()
        assert "4222-2222" not in body


async def test_a_forced_end_is_offered_with_what_it_leaves(api: AsgiClient) -> None:
    await posted(api, HELD)
    move = offered(await explained(api, "s"), "finish")
    assert (move["becomes"], [one["stepID"] for one in move["leaves"]]) == ("abandoned", ["a"])
    assert move["text"] == (
        "calls nothing and undoes nothing; is abandoned then; leaves a as it is"
    )
    shown = (await moved(api, "finish", {"reason": "the shop is closed"})).json
    assert (shown["status"], [one["stepID"] for one in shown["remains"]]) == ("abandoned", ["a"])
    explanation = await explained(api, "s")
    assert explanation["waitsFor"] is None
    assert [one["stepID"] for one in explanation["undo"]["remains"]] == ["a"]
    assert explanation["undo"]["refusal"] == "it is abandoned"
    assert "ended by force by ada (stated) (the shop is closed)" in explanation["story"][-1]["text"]
    listed = (await api.request("GET", "/api/sagas?status=abandoned")).json["sagas"]
    assert [one["id"] for one in listed] == ["s"]
    stats = (await api.request("GET", "/api/sagas/stats")).json
    assert (stats["byStatus"]["abandoned"], stats["runningSagas"], stats["failedSagas"]) == (
        1,
        0,
        1,
    )


async def test_a_saga_is_run_again_as_a_new_one(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), id="s"))
    assert offered(await explained(api, "s"), "rerun")["isLegal"]
    reply = await moved(api, "rerun", {"reason": "once more"})
    assert (reply.status, reply.json["rerunOf"]) == (201, "s")
    assert reply.headers["location"] == f"/api/sagas/{reply.json['id']}"
    again = await moved(api, "rerun")
    assert (again.status, again.json["id"]) == (200, reply.json["id"])
    old = (await api.request("GET", "/api/sagas/s")).json
    assert (old["rerunAs"], old["status"]) == (reply.json["id"], "completed")
    explanation = await explained(api, "s")
    assert offered(explanation, "rerun")["refusal"] == f"it was run again as {reply.json['id']!r}"
    assert (
        f"as saga {reply.json['id']!r} by ada (stated) (once more)"
        in explanation["story"][-1]["text"]
    )
    new = await explained(api, reply.json["id"])
    assert "to run saga 's' again" in new["story"][0]["text"]


async def test_an_undo_down_to_a_step_is_planned_then_made_then_refused(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), step("b", payload={"n": 1}), step("c"), id="s"))
    before = (await api.request("GET", "/api/sagas/s")).json
    reply = await moved(api, "compensate?plan=true", {"downTo": "a"})
    plan = reply.json
    assert reply.status == 200
    assert [(one["stepID"], one["payload"]) for one in plan["calls"]] == [
        ("c", {}),
        ("b", {"n": 1}),
    ]
    assert [one["stepID"] for one in plan["remains"]] == ["a"]
    assert plan["endsAs"] == "failed"
    assert (await api.request("GET", "/api/sagas/s")).json == before, "it was only planned"
    said = {"downTo": "a", "planId": plan["planId"]}
    assert (await moved(api, "compensate", said)).status == 202
    shown = await still(api)
    assert (shown["status"], shown["completedSteps"]) == ("failed", ["a"])
    assert shown["error"] == "it was undone down to step 'a', as it was asked"
    problem = await refused(api, 409, "PUT", "/api/sagas/s/compensate", json=said)
    assert "plan it again" in problem["detail"]
    await api.request("POST", "/api/sagas/s/retry")
    assert (await still(api))["status"] == "completed"


async def test_a_plan_that_cannot_be_is_refused_as_the_undo_would_be(api: AsgiClient) -> None:
    await posted(api, saga(step("a"), step("p", kind="pivot"), id="s"))
    path = "/api/sagas/s/compensate?plan=true"
    assert "pivot" in (await refused(api, 409, "PUT", path))["detail"]
    await refused(api, 422, "PUT", path, json={"downTo": "nowhere"})
    both = {"downTo": "a", "stepID": "a"}
    assert pointers(await refused(api, 422, "PUT", path, json=both)) == ["/downTo"]
    wrong = "/api/sagas/s/compensate?plan=perhaps"
    assert pointers(await refused(api, 422, "PUT", wrong)) == ["/plan"]
    assert pointers(await refused(api, 422, "PUT", "/api/sagas/s/compensate?plam=true")) == [
        "/plam"
    ]


async def test_a_wish_is_only_for_the_version_that_was_looked_at(api: AsgiClient) -> None:
    await posted(api, HELD)
    etag = (await api.request("GET", "/api/sagas/s")).headers["etag"]
    for stale in ('"1"', 'W/"1"', f"W/{etag}", '"nonsense"', '"1", "2"'):
        for name in ("finish", "retry", "pause"):
            method = "POST" if name == "retry" else "PUT"
            path, headers = f"/api/sagas/s/{name}", {"If-Match": stale}
            problem = await refused(api, 412, method, path, headers=headers)
            assert problem["type"].endswith("#saga-moved")
            assert "allowed" in problem
    await refused(api, 412, "DELETE", "/api/sagas/s", headers={"If-Match": '"1"'})
    assert (await moved(api, "finish", **{"If-Match": f'"1", {etag}'})).status == 202
    assert (await moved(api, "rerun", **{"If-Match": "*"})).status == 201


async def test_a_viewer_may_make_no_move(tmp_path: Path) -> None:
    token, sha256 = new_key(Role.VIEWER)
    keys = [ApiKey("dashboard", sha256, Role.VIEWER)]
    async with open_orchestrator(str(tmp_path), {"shop": Shop()}) as orchestrator:
        api = AsgiClient(edge(make_app(orchestrator), keys=keys))
        headers = {"Authorization": f"Bearer {token}"}
        for route in MOVE_ROUTES:
            path = route.path.format(id="s")
            await refused(api, 403, route.method, path, headers=headers)
