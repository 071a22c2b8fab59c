"""GET /api/events: the events of all sagas as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from asgi_client import AsgiClient, Stream
from described import check_reply
from keeper import begin_and_wait, keeping
from shop import step
from trio.testing import MockClock

from sagakeep.actors.event_feed import QUIET_S
from sagakeep.http.app import make_app
from sagakeep.http.edge import edge
from sagakeep.orchestrator import Orchestrator

PATH = "/api/events"


@pytest.fixture
async def sagas(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[Orchestrator]:
    async with keeping(tmp_path) as orchestrator:
        yield orchestrator


@pytest.fixture
def api(sagas: Orchestrator) -> AsgiClient:
    return AsgiClient(edge(make_app(sagas)), check_reply)


async def ready(stream: Stream) -> str:
    """Read up to where it is live; the place."""
    event = await stream.event()
    assert event["event"] == "ready"
    return event["id"]


async def shown(stream: Stream) -> dict[str, Any]:
    event = await stream.event()
    assert "event" not in event
    view: dict[str, Any] = json.loads(event["data"])
    return view


async def test_each_event_is_small_and_says_which_saga_and_where_it_stands(
    api: AsgiClient, sagas: Orchestrator
) -> None:
    async with api.stream("GET", PATH) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        await ready(stream)
        saga = await begin_and_wait(sagas, step("a", payload={"secret": "x" * 10_000}))
        events = [await shown(stream) for _ in range(saga.sequence)]
    assert events[0].pop("timestamp").endswith("Z")
    assert events[0] == {
        "sagaID": saga.id,
        "name": "order",
        "seq": 1,
        "type": "saga_created",
        "stepID": "",
        "sagaStatus": "running",
    }
    assert [event["seq"] for event in events] == list(range(1, saga.sequence + 1))
    assert (events[-1]["type"], events[-1]["sagaStatus"]) == ("saga_completed", "completed")
    assert max(len(json.dumps(event)) for event in events) < 300


async def test_it_goes_on_after_the_last_event_that_was_seen(
    api: AsgiClient, sagas: Orchestrator
) -> None:
    async with api.stream("GET", PATH) as stream:
        await ready(stream)
        saga = await begin_and_wait(sagas)
        ids = [(await stream.event())["id"] for _ in range(saga.sequence)]
    async with api.stream("GET", PATH, headers={"Last-Event-ID": ids[2]}) as stream:
        seen = [await shown(stream) for _ in range(saga.sequence - 3)]
        assert await ready(stream) >= ids[-1]
    assert [event["seq"] for event in seen] == list(range(4, saga.sequence + 1))


async def test_a_gap_says_why_and_comes_before_ready(api: AsgiClient) -> None:
    async with api.stream("GET", PATH, headers={"Last-Event-ID": "7"}) as stream:
        gap = await stream.event()
        assert gap["event"] == "gap"
        assert json.loads(gap["data"]) == {"reason": "your place is none of this journal"}
        assert await ready(stream) == gap["id"]


async def test_filters_are_those_of_the_list(api: AsgiClient, sagas: Orchestrator) -> None:
    async with api.stream("GET", f"{PATH}?name=trip&status=completed") as stream:
        await ready(stream)
        await begin_and_wait(sagas)
        trip = await begin_and_wait(sagas, name="trip")
        event = await shown(stream)
    assert (event["sagaID"], event["sagaStatus"]) == (trip.id, "completed")


async def test_a_quiet_one_is_kept_open_and_its_place_moves_on(
    api: AsgiClient, sagas: Orchestrator
) -> None:
    async with api.stream("GET", f"{PATH}?name=other") as stream:
        first = await ready(stream)
        await begin_and_wait(sagas)
        began_s = trio.current_time()
        ping, place = (await stream.block()).splitlines()
        assert trio.current_time() - began_s == pytest.approx(QUIET_S, abs=0.5)
    assert ping == ": ping"
    assert place.startswith("id: ")
    assert place != f"id: {first}"


async def test_it_ends_cleanly_when_the_server_drains(api: AsgiClient, sagas: Orchestrator) -> None:
    async with api.stream("GET", PATH) as stream:
        await ready(stream)
        await sagas.drain(0)
        assert await stream.chunk() == b""
    assert sagas._engine.feed.readers == 0


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("status=lost", "/status"), ("cursor=1", "/cursor"), ("name=a&name=b", "/name")],
)
async def test_a_parameter_that_is_wrong_is_refused(
    api: AsgiClient, query: str, pointer: str
) -> None:
    reply = await api.request("GET", f"{PATH}?{query}")
    assert reply.status == 422
    assert [one["pointer"] for one in reply.json["errors"]] == [pointer]


async def test_a_head_has_no_end_to_wait_for(api: AsgiClient, sagas: Orchestrator) -> None:
    reply = await api.request("HEAD", PATH)
    assert (reply.status, reply.body) == (200, b"")
    assert sagas._engine.feed.readers == 0
