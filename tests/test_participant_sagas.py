"""Real sagas over real HTTP against services with the kit, where answers and requests get lost."""

from __future__ import annotations

import json

import pytest
from graded_services import BySqlite, Naive, open_service

from sagakeep.actors.engine import ServiceSpec
from sagakeep.http.caller import HttpCaller
from sagakeep.orchestrator import open_orchestrator
from sagakeep.participant.middleware import SagaMiddleware
from sagakeep.participant.store import SqliteStore
from sagakeep.validation import parse_definition

QUICK = {"initialInterval": 0.01, "maxInterval": 0.02}


class Lossy:
    """A network before a service: by the payload it loses each first answer, all answers, or all requests."""

    def __init__(self, app):
        self._app = app
        self._seen = set()
        self.requests = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = dict(scope["headers"])
        key, phase = headers[b"idempotency-key"].decode(), headers[b"saga-phase"].decode()
        self.requests.append(key)
        lose = json.loads(body).get("lose") if phase == "action" else None
        is_first = key not in self._seen
        self._seen.add(key)
        if lose == "refuse":
            await self._say(send, 422)
            return
        if lose != "requests":
            is_lost = lose == "answers" or (lose == "first answers" and is_first)
            await self._app(scope, _given(body), _lost if is_lost else send)
            if not is_lost:
                return
        await self._say(send, 502)

    async def _say(self, send, status):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def _given(body):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _lost(message):
    pass


def saga(*losses):
    steps = [
        {
            "id": f"step-{number}",
            "service": "payment",
            "action": "charge",
            "compensation": "refund",
            "payload": {"lose": lose},
            "maxRetries": 2,
            "retry": QUICK,
        }
        for number, lose in enumerate(losses, 1)
    ]
    return {"id": "s", "name": "order", "steps": steps, "maxRetries": 1}


@pytest.fixture(params=["barrier", "middleware"])
def service(request, tmp_path):
    if request.param == "barrier":
        app = BySqlite(str(tmp_path / "service.sqlite"))
        yield app, Lossy(app)
        return
    app, store = Naive(), SqliteStore(str(tmp_path / "calls.sqlite"))
    yield app, Lossy(SagaMiddleware(app, store))
    store.close()


async def run(lossy, document, directory):
    async with open_service(lossy) as url:
        spec = ServiceSpec(HttpCaller(url, connections_max=4), 4)
        async with open_orchestrator(str(directory), {"payment": spec}) as sagas:
            await sagas.start(parse_definition(document, sagas.services))
            return await sagas.wait("s", timeout_s=30)


async def test_lost_answers_double_nothing(service, tmp_path):
    app, lossy = service
    document = saga("first answers", "first answers")
    assert (await run(lossy, document, tmp_path / "data")).status == "completed"
    assert app.counts() == {"actions": 2, "undos": 0}
    assert len(lossy.requests) == 4


async def test_what_was_done_is_undone_once(service, tmp_path):
    app, lossy = service
    document = saga("first answers", None, "refuse")
    assert (await run(lossy, document, tmp_path / "data")).status == "compensated"
    assert app.counts() == {"actions": 2, "undos": 2}


async def test_a_step_in_doubt_is_undone_if_it_happened(service, tmp_path):
    app, lossy = service
    assert (await run(lossy, saga(None, "answers"), tmp_path / "data")).status == "compensated"
    assert app.counts() == {"actions": 2, "undos": 2}


async def test_a_step_in_doubt_that_never_came_is_undone_without_effect(service, tmp_path):
    app, lossy = service
    assert (await run(lossy, saga(None, "requests"), tmp_path / "data")).status == "compensated"
    assert app.counts() == {"actions": 1, "undos": 1}
