"""PUT /api/services/{name}/pause and resume."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgi_client import AsgiClient
from described import check_reply
from keeper import keeping
from trio.testing import MockClock

from sagakeep.http.app import make_app
from sagakeep.http.edge import edge


@pytest.fixture
async def api(tmp_path: Path, autojump_clock: MockClock) -> AsyncIterator[AsgiClient]:
    async with keeping(tmp_path) as sagas:
        yield AsgiClient(edge(make_app(sagas)), check_reply)


async def test_a_pause_says_who_and_why_wherever_it_is_shown(api: AsgiClient) -> None:
    who = {"Saga-Actor": "ada"}
    reply = await api.request(
        "PUT", "/api/services/shop/pause", json={"reason": "they move"}, headers=who
    )
    assert reply.status == 200
    paused = reply.json["paused"]
    assert (paused["by"], paused["reason"]) == ("ada (stated)", "they move")
    assert (await api.request("GET", "/api/services")).json["services"][0]["paused"] == paused
    health = await api.request("GET", "/api/sagas/health")
    assert (health.status, health.json["pausedServices"]) == (200, ["shop"])
    reply = await api.request("PUT", "/api/services/shop/resume")
    assert (reply.status, reply.json["paused"]) == (200, None)
    assert (await api.request("GET", "/api/sagas/health")).json["pausedServices"] == []


@pytest.mark.parametrize("verb", ["pause", "resume", "retry"])
async def test_what_is_wrong_is_told(api: AsgiClient, verb: str) -> None:
    reply = await api.request("PUT", f"/api/services/nobody/{verb}")
    assert (reply.status, reply.json["title"]) == (404, "Service not found")
    reply = await api.request("PUT", f"/api/services/shop/{verb}", json={"reason": "x" * 1001})
    assert (reply.status, reply.json["errors"][0]["pointer"]) == (422, "/reason")


async def test_a_retry_says_how_many_go_on(api: AsgiClient) -> None:
    reply = await api.request("PUT", "/api/services/shop/retry", json={"reason": "it is back"})
    assert (reply.status, reply.json) == (200, {"retried": 0, "refused": 0})
