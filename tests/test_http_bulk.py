"""POST /api/sagas/bulk: a plan, then a line for each saga."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgi_client import AsgiClient
from described import check_reply
from keeper import begin_and_wait, history, keeping
from shop import step
from trio.testing import MockClock

from sagakeep import events as e
from sagakeep import limits
from sagakeep.errors import Unavailable
from sagakeep.http.app import make_app
from sagakeep.http.auth import ApiKey, Role, authenticate, new_key
from sagakeep.http.edge import edge
from sagakeep.orchestrator import Orchestrator

PATH = "/api/sagas/bulk"
FAILED = {"status": "failed"}


@pytest.fixture
async def sagas(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[Orchestrator]:
    async with keeping(tmp_path) as orchestrator:
        yield orchestrator


@pytest.fixture
def api(sagas: Orchestrator) -> AsgiClient:
    return AsgiClient(edge(make_app(sagas)), check_reply)


async def failed(sagas: Orchestrator, count: int, **more: object) -> list[str]:
    return [(await begin_and_wait(sagas, step("a", "fail"), **more)).id for _ in range(count)]


async def planned(api: AsgiClient, asked: dict[str, object]) -> Any:
    reply = await api.request("POST", PATH, json={**asked, "plan": True})
    assert reply.status == 200, reply
    return reply.json


async def made(api: AsgiClient, asked: dict[str, object], **headers: str) -> list[Any]:
    """Plan a bulk and make it; its lines."""
    token = (await planned(api, asked))["token"]
    reply = await api.request("POST", PATH, json={**asked, "token": token}, headers=headers)
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.body.splitlines()]


async def test_a_plan_and_then_a_line_for_each_saga_and_the_sums(
    api: AsgiClient, sagas: Orchestrator
) -> None:
    ids = await failed(sagas, 20)
    asked: dict[str, object] = {
        "move": "retry",
        "filter": FAILED,
        "body": {"reason": "it is mended"},
    }
    plan = await planned(api, asked)
    assert (plan["move"], plan["count"], plan["sample"]) == ("retry", 20, ids[::-1][:10])
    first, *lines, last = await made(api, asked, **{"Saga-Actor": "ada"})
    assert first == {"count": 20}
    assert {one["id"] for one in lines} == set(ids)
    assert {one["outcome"] for one in lines} == {"moved"}
    assert last == {"moved": 20, "refused": 0, "failed": 0, "error": ""}
    told = [one for one in await history(sagas, ids[0]) if isinstance(one, e.SagaRetry)]
    assert [(one.by, one.note) for one in told] == [("ada (stated)", "it is mended")]


async def test_all_filters_of_the_list_are_there(api: AsgiClient, sagas: Orchestrator) -> None:
    await failed(sagas, 1)
    (wanted,) = await failed(sagas, 1, name="trip", tags={"of": "ada"})
    asked: dict[str, object] = {
        "move": "delete",
        "filter": {
            **FAILED,
            "name": "trip",
            "tags": {"of": "ada"},
            "createdAfter": "2020-01-01T00:00:00Z",
            "createdBefore": "2030-01-01T00:00:00Z",
        },
    }
    _, line, last = await made(api, asked)
    assert (line["id"], line["outcome"]) == (wanted, "moved")
    assert last["moved"] == 1


async def test_sagas_that_are_named_need_no_plan_and_are_asked_once(
    api: AsgiClient, sagas: Orchestrator
) -> None:
    (bad,) = await failed(sagas, 1)
    good = await begin_and_wait(sagas)
    body = {"move": "retry", "ids": [bad, good.id, bad]}
    reply = await api.request("POST", PATH, json=body)
    first, *lines, last = [json.loads(line) for line in reply.body.splitlines()]
    assert first == {"count": 2}
    assert [one["outcome"] for one in lines] == ["moved", "refused"]
    assert lines[1]["status"] == "completed"
    assert lines[1]["why"]
    assert (last["moved"], last["refused"]) == (1, 1)


async def test_a_token_of_another_plan_is_refused(api: AsgiClient, sagas: Orchestrator) -> None:
    (saga_id,) = await failed(sagas, 1)
    token = (await planned(api, {"move": "retry", "filter": FAILED}))["token"]
    asked = {"move": "delete", "filter": FAILED, "token": token}
    reply = await api.request("POST", PATH, json=asked)
    assert (reply.status, reply.json["title"]) == (409, "Plan refused")
    asked = {"move": "retry", "filter": {}, "token": token}
    assert (await api.request("POST", PATH, json=asked)).status == 409
    assert (await sagas.describe(saga_id)).status == "failed"


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({"move": "retri", "ids": ["a"]}, "/move", 'did you mean "retry"?'),
        ({"move": "retry"}, "/filter", "by a filter (it may be {}) or by ids"),
        ({"move": "retry", "filter": {}, "ids": ["a"]}, "/filter", "by ids"),
        ({"move": "retry", "filter": {}}, "/token", "send it with plan true first"),
        ({"move": "retry", "filter": {"state": "x"}}, "/filter/state", "status"),
        ({"move": "retry", "filter": {"status": "lost"}}, "/filter/status", "compensated"),
        ({"move": "retry", "filter": {"createdAfter": "x"}}, "/filter/createdAfter", "a time"),
        ({"move": "retry", "filter": 7}, "/filter", "expected an object"),
        ({"move": "resolve", "ids": ["a"], "body": {"as": "x"}}, "/body/stepID", "is missing"),
        ({"move": "retry", "ids": ["a"], "body": {"reason": "x" * 1001}}, "/body/reason", "1001"),
        ({"move": "retry", "ids": ["a"], "body": {"why": 1}}, "/body/why", "unknown field"),
        ([], "", "expected an object"),
    ],
)
async def test_what_is_wrong_is_told_where_it_is(
    api: AsgiClient, body: object, pointer: str, says: str
) -> None:
    reply = await api.request(
        "POST",
        PATH,
        b"[]" if body == [] else b"",
        json=body or None,
        headers={"Content-Type": "application/json"},
    )
    assert reply.status == 422, reply
    told = {one["pointer"]: one["detail"] for one in reply.json["errors"]}
    assert says in told[pointer]


async def test_too_many_ids_are_refused(api: AsgiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BULK_IDS_MAX", 1)
    reply = await api.request("POST", PATH, json={"move": "retry", "ids": ["a", "b"]})
    assert (reply.status, reply.json["errors"][0]["pointer"]) == (422, "/ids")


async def test_what_goes_wrong_on_the_way_is_the_last_line(
    api: AsgiClient, sagas: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await failed(sagas, 1)
    asked: dict[str, object] = {"move": "retry", "filter": FAILED}
    token = (await planned(api, asked))["token"]
    read_model = sagas._engine.read_model
    plain, looks = read_model.list, 0

    async def tired(query: object) -> object:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise Unavailable("the list of sagas cannot be read")
        return await plain(query)  # type: ignore[arg-type]

    monkeypatch.setattr(read_model, "list", tired)
    reply = await api.request("POST", PATH, json={**asked, "token": token})
    assert json.loads(reply.body.splitlines()[-1]) == {
        "moved": 0,
        "refused": 0,
        "failed": 0,
        "error": "the list of sagas cannot be read",
    }


async def test_a_saga_that_runs_again_has_its_new_id_in_the_line(
    api: AsgiClient, sagas: Orchestrator
) -> None:
    saga = await begin_and_wait(sagas)
    reply = await api.request("POST", PATH, json={"move": "rerun", "ids": [saga.id]})
    line = json.loads(reply.body.splitlines()[1])
    assert (await sagas.wait(line["newID"], 60)).rerun_of == saga.id


async def test_a_client_that_goes_ends_it_and_leaves_its_place(
    api: AsgiClient, sagas: Orchestrator
) -> None:
    await failed(sagas, 40)
    asked: dict[str, object] = {"move": "retry", "filter": FAILED}
    token = (await planned(api, asked))["token"]
    body = json.dumps({**asked, "token": token}).encode()
    kind = {"Content-Type": "application/json"}
    async with api.stream("POST", PATH, body, headers=kind) as stream:
        await stream.chunk()
    assert sagas.fleet._bulks._running == 0
    _, *lines, _ = await made(api, asked)
    assert {one["outcome"] for one in lines} <= {"moved"}


async def test_a_viewer_may_not_even_plan(sagas: Orchestrator) -> None:
    text, sha256 = new_key(Role.VIEWER)
    app = authenticate(make_app(sagas, is_keyed=True), [ApiKey("v", sha256, Role.VIEWER)])
    api = AsgiClient(edge(app), lambda *_: None)
    reply = await api.request(
        "POST",
        PATH,
        json={"move": "retry", "filter": {}, "plan": True},
        headers={"Authorization": f"Bearer {text}"},
    )
    assert reply.status == 403
