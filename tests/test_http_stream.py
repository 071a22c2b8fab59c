"""What a stream does when nothing comes, when nobody listens, and when the server ends."""

from __future__ import annotations

import json
from typing import cast

import pytest
import trio
from asgi_client import AsgiClient, Stream
from fake_orchestrator import FakeOrchestrator
from shop import saga, step
from trio.testing import MockClock, wait_all_tasks_blocked

from sagakeep.http.app import make_app
from sagakeep.http.edge import edge
from sagakeep.http.live_reply import PING_S
from sagakeep.messages import AttemptEnded
from sagakeep.orchestrator import Orchestrator, StreamLagged
from sagakeep.service import AttemptResult, Outcome

STREAM = {"Accept": "text/event-stream"}
PATH = "/api/sagas/s-1/events"
DONE = AttemptEnded("a", "action", 1, 1, AttemptResult(Outcome.DONE))


@pytest.fixture
def fake() -> FakeOrchestrator:
    return FakeOrchestrator(saga(step("a")))


@pytest.fixture
def api(fake: FakeOrchestrator) -> AsgiClient:
    return AsgiClient(edge(make_app(cast(Orchestrator, fake))))


async def history_of(stream: Stream) -> None:
    for name in ("saga_created", "saga_started", "step_started"):
        assert (await stream.event())["event"] == name


async def test_a_quiet_stream_is_kept_alive(api: AsgiClient, autojump_clock: MockClock) -> None:
    async with api.stream("GET", PATH, headers=STREAM) as stream:
        await history_of(stream)
        began_s = trio.current_time()
        assert await stream.block() == ": ping"
        assert await stream.block() == ": ping"
        assert trio.current_time() - began_s == pytest.approx(2 * PING_S)


async def test_a_saga_that_ends_ends_the_stream(api: AsgiClient, fake: FakeOrchestrator) -> None:
    async with api.stream("GET", PATH, headers=STREAM) as stream:
        await history_of(stream)
        fake.tell(DONE)
        assert (await stream.event())["event"] == "step_completed"
        assert (await stream.event())["event"] == "saga_completed"
        assert await stream.chunk() == b""
    assert fake.watchers == 0


async def test_a_server_that_drains_ends_the_stream_cleanly(
    api: AsgiClient, fake: FakeOrchestrator
) -> None:
    async with api.stream("GET", PATH, headers=STREAM) as stream:
        await history_of(stream)
        fake.stopping.set()
        assert await stream.chunk() == b""
    assert fake.watchers == 0


async def test_a_client_that_goes_leaves_nothing_behind(
    api: AsgiClient, fake: FakeOrchestrator
) -> None:
    async with api.stream("GET", PATH, headers=STREAM) as stream:
        await history_of(stream)
        assert fake.watchers == 1
    assert fake.watchers == 0


async def test_a_client_that_goes_while_events_wait_leaves_nothing_behind(
    api: AsgiClient, fake: FakeOrchestrator
) -> None:
    async with api.stream("GET", PATH, headers=STREAM):
        for _ in range(200):  # more than the client's channel holds
            fake.tell(AttemptEnded("a", "action", 9, 9, AttemptResult(Outcome.DONE)))
            await wait_all_tasks_blocked()
    assert fake.watchers == 0


async def test_a_client_that_is_too_slow_is_told_and_can_resume(
    api: AsgiClient, fake: FakeOrchestrator
) -> None:
    async with api.stream("GET", PATH, headers=STREAM) as stream:
        await history_of(stream)
        fake.fail_watchers(StreamLagged("too slow"))
        assert await stream.block() == ": too slow"
        assert await stream.chunk() == b""


async def test_a_record_that_was_seen_in_part_is_sent_in_part(api: AsgiClient) -> None:
    async with api.stream("GET", PATH, headers=STREAM | {"Last-Event-ID": "2"}) as stream:
        event = await stream.event()
    assert (event["id"], event["event"]) == ("3", "step_started")
    assert json.loads(event["data"])["payload"] == {"attempt": 1, "epoch": 1}


async def test_a_head_of_a_stream_is_that_of_a_page(api: AsgiClient) -> None:
    reply = await api.request("HEAD", PATH, headers=STREAM)
    assert reply.headers["content-type"] == "application/json"
