"""What handlers do on the days when the orchestrator is not well."""

from __future__ import annotations

from typing import cast

import pytest
from asgi_client import AsgiClient
from fake_orchestrator import FakeOrchestrator
from shop import saga, step

from sagakeep.errors import JournalBroken, JournalCorrupt, SagakeepError, Unavailable
from sagakeep.http.app import make_app
from sagakeep.http.edge import edge
from sagakeep.orchestrator import Orchestrator


@pytest.fixture
def fake() -> FakeOrchestrator:
    return FakeOrchestrator(saga(step("a")))


@pytest.fixture
def api(fake: FakeOrchestrator) -> AsgiClient:
    return AsgiClient(edge(make_app(cast(Orchestrator, fake))))


async def test_a_server_that_is_not_well_says_where(api: AsgiClient) -> None:
    reply = await api.request("GET", "/api/sagas/health")
    assert reply.status == 503
    assert reply.json == {
        "status": "unavailable",
        "checks": {
            "journal": {"ok": True, "detail": "writing"},
            "disk": {"ok": False, "detail": "full"},
        },
        "alerts": {"critical": 0, "warning": 0},
        "pausedServices": [],
    }


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Unavailable("recovering", 7), 503, "7"),
        (JournalBroken("gone"), 503, "5"),
        (JournalCorrupt("gone", 7, "crc"), 500, None),
    ],
)
async def test_what_goes_wrong_becomes_a_problem(
    api: AsgiClient,
    fake: FakeOrchestrator,
    error: SagakeepError,
    status: int,
    retry_after: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.start_error = error
    reply = await api.request("POST", "/api/sagas", json=saga(step("a")))
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers.get("retry-after") == retry_after
    assert b"gone" not in reply.body
