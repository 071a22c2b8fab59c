from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from contextlib import closing

import pytest
import trio
from participant_world import BehindMiddleware, Broken, Wanted, request, respond

from sagakeep.participant.answer import Answer
from sagakeep.participant.middleware import BODY_BYTES_MAX, SagaMiddleware
from sagakeep.participant.store import LEASE_S, SqliteStore

ACTION = {"Idempotency-Key": "a"}
UNDO = {"Idempotency-Key": "u", "Saga-Phase": "compensation", "Saga-Action-Key": "a"}
PROBE = {"Idempotency-Key": "a", "Saga-Phase": "probe"}


class App:
    """Answers as it is told to, and counts."""

    def __init__(self, status=200, document=None, *headers):
        self.count = 0
        self.answer = (status, document, *headers)

    async def __call__(self, scope, receive, send):
        self.count += 1
        await respond(send, *self.answer)


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(str(tmp_path / "calls.sqlite"))
    yield store
    store.close()


def status_of(answer):
    return answer[0]


# What is none of its business


async def test_requests_that_name_no_call_go_through(store):
    app = App(200, {"ok": True}, (b"x-own", b"1"))
    both = SagaMiddleware(app, store)
    for _ in range(2):
        status, headers, body = await request(both, {"Accept": "*/*"})
        assert (status, headers, json.loads(body)) == (200, {"x-own": "1"}, {"ok": True})
    assert app.count == 2


async def test_a_lifespan_goes_through(store):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await SagaMiddleware(app, store)({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


# Its answers


async def test_an_answer_is_repeated_with_its_headers(store):
    app = App(201, {"id": 1}, (b"Location", b"/1"), (b"Content-Length", b"9"), (b"Date", b"now"))
    both = SagaMiddleware(app, store)
    first = await request(both, ACTION)
    assert first == (201, {"location": "/1", "content-length": "9"}, b'{"id": 1}')
    assert await request(both, ACTION) == first
    assert app.count == 1


async def test_an_empty_answer_is_one(store):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    both = SagaMiddleware(app, store)
    assert await request(both, ACTION) == (204, {}, b"")
    assert await request(both, ACTION) == (204, {}, b"")


@pytest.mark.parametrize(
    "headers", [{"Saga-Id": "s"}, {"Idempotency-Key": ""}, {**ACTION, "Saga-Phase": "x"}]
)
async def test_a_request_that_does_not_say_which_call_is_400_and_not_worked_on(store, headers):
    app = App()
    status, _, body = await request(SagaMiddleware(app, store), headers)
    assert (status, json.loads(body)["title"]) == (400, "Bad call")
    assert app.count == 0


async def test_a_body_is_read_up_to_its_bound(store):
    both = SagaMiddleware(App(), store)
    assert status_of(await request(both, ACTION, b" " * BODY_BYTES_MAX)) == 200
    assert status_of(await request(both, ACTION, b" " * (BODY_BYTES_MAX + 1))) == 413


async def test_a_client_that_goes_before_its_body_has_ended_has_begun_nothing(store):
    app = App()
    both = SagaMiddleware(app, store)
    part = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert await request(both, ACTION, messages=part) == (0, {}, b"")
    assert app.count == 0
    assert status_of(await request(both, ACTION)) == 200


async def test_the_application_reads_the_body_and_then_the_client(store):
    seen = []

    async def app(scope, receive, send):
        seen.append([(await receive()).get("body"), (await receive())["type"]])
        await respond(send, 200, None)

    await request(SagaMiddleware(app, store), ACTION, b'{"amount": 5}')
    assert seen == [[b'{"amount": 5}', "http.disconnect"]]


async def test_the_same_key_with_another_body_is_refused(store):
    app = App()
    both = SagaMiddleware(app, store)
    await request(both, ACTION, b"1")
    assert status_of(await request(both, ACTION, b"2")) == 422
    assert app.count == 1


# In doubt


@pytest.mark.parametrize("status", [500, 502, 302, 408])
async def test_an_answer_that_says_nothing_is_in_doubt_from_then_on(store, status):
    app = App(status)
    both = SagaMiddleware(app, store)
    assert status_of(await request(both, ACTION)) == status
    status, _, body = await request(both, ACTION)
    assert (status, json.loads(body)["title"]) == (500, "In doubt")
    assert status_of(await request(both, PROBE)) == 500
    assert app.count == 1
    app.answer = (200, {"undone": True})
    assert status_of(await request(both, UNDO)) == 200
    assert status_of(await request(both, ACTION)) == 409
    assert app.count == 2


@pytest.mark.parametrize("answer", [(429, None), (503, None, (b"retry-after", b"5"))])
async def test_an_answer_that_says_not_yet_is_asked_again(store, answer):
    app = App(*answer)
    both = SagaMiddleware(app, store)
    for _ in range(2):
        assert status_of(await request(both, ACTION)) == answer[0]
    assert app.count == 2
    assert status_of(await request(both, UNDO)) == 200
    assert app.count == 2, "an undo of what was not done is not worked on"


async def test_an_application_that_rolls_back_is_asked_again_after_a_failure(store):
    app = App(500)
    both = SagaMiddleware(app, store, rolls_back=True)
    assert status_of(await request(both, ACTION)) == 500
    app.answer = (200, {"id": 1})
    assert status_of(await request(both, ACTION)) == 200
    assert app.count == 2


@pytest.mark.parametrize(("rolls_back", "then"), [(True, 200), (False, 500)])
async def test_an_exception_is_raised_on_and_what_it_leaves_is_declared(store, rolls_back, then):
    is_broken = True

    async def app(scope, receive, send):
        if is_broken:
            raise Broken
        await respond(send, 200, None)

    both = SagaMiddleware(app, store, rolls_back=rolls_back)
    with pytest.raises(Broken):
        await request(both, ACTION)
    is_broken = False
    assert status_of(await request(both, ACTION)) == then


@pytest.mark.parametrize("rolls_back", [True, False])
@pytest.mark.parametrize("body_bytes", [None, (1 << 20) + 1])
async def test_an_answer_without_an_end_or_too_long_is_in_doubt(store, body_bytes, rolls_back):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if body_bytes is not None:
            await send({"type": "http.response.body", "body": b" " * body_bytes})

    both = SagaMiddleware(app, store, rolls_back=rolls_back)
    for _ in range(2):
        status, _, body = await request(both, ACTION)
        assert (status, json.loads(body)["title"]) == (500, "In doubt")


async def test_an_application_that_is_cancelled_leaves_doubt(store):
    begun = trio.Event()

    async def app(scope, receive, send):
        begun.set()
        await trio.sleep_forever()

    both = SagaMiddleware(app, store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, both, ACTION)
        await begun.wait()
        status, headers, _ = await request(both, ACTION)
        assert (status, headers["retry-after"]) == (409, "1")
        assert status_of(await request(both, UNDO)) == 409
        assert status_of(await request(both, PROBE)) == 409
        nursery.cancel_scope.cancel()
    assert status_of(await request(both, ACTION)) == 500


async def test_an_undo_of_what_another_undo_is_at_work_on_waits_for_it(store):
    begun, go_on = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        if dict(scope["headers"])[b"idempotency-key"] == b"u":
            begun.set()
            await go_on.wait()
        await respond(send, 200, None)

    both = SagaMiddleware(app, store)
    await request(both, ACTION)
    second = {**UNDO, "Idempotency-Key": "u-2"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, both, UNDO)
        await begun.wait()
        assert status_of(await request(both, second)) == 409
        go_on.set()
    status, _, body = await request(both, second)
    assert (status, json.loads(body)) == (200, {"undone": False})


async def test_many_at_once_are_worked_on_once(store):
    count, answers = 0, []

    async def app(scope, receive, send):
        nonlocal count
        count += 1
        await trio.lowlevel.checkpoint()
        await respond(send, 200, {"count": count})

    both = SagaMiddleware(app, store)

    async def ask():
        answers.append(status_of(await request(both, ACTION)))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert count == 1
    assert set(answers) <= {200, 409}


def test_it_runs_in_asyncio_as_well(tmp_path):
    store = SqliteStore(str(tmp_path / "calls.sqlite"))
    app = App(200, {"id": 1})
    both = SagaMiddleware(app, store)

    async def main():
        answers = await asyncio.gather(*(request(both, ACTION) for _ in range(5)))
        return {status_of(answer) for answer in answers}, await request(both, ACTION)

    statuses, last = asyncio.run(main())
    store.close()
    assert statuses <= {200, 409}
    assert last[2] == b'{"id": 1}'
    assert app.count == 1


# Other processes, and after a crash


async def test_work_done_before_a_crash_is_told_in_doubt(tmp_path):
    service = BehindMiddleware(str(tmp_path / "calls.sqlite"))
    assert await service.call_async(Wanted("action", "a", then="crash")) == "gone"
    assert await service.call_async(Wanted("action", "a")) == "in doubt"
    assert await service.call_async(Wanted("probe", "a")) == "in doubt"
    assert await service.call_async(Wanted("compensation", "u", "a")) == "did u"
    assert await service.call_async(Wanted("action", "a")) == "too late"
    assert service.ledger() == ["a", "u"]
    service.close()


async def test_a_process_that_is_killed_at_work_leaves_doubt(tmp_path):
    """A real one; the file is what is left of it."""
    path = str(tmp_path / "calls.sqlite")
    program = f"""
import os, sys, trio
sys.path[:0] = {sys.path!r}
from participant_world import request
from sagakeep.participant.middleware import SagaMiddleware
from sagakeep.participant.store import SqliteStore

async def app(scope, receive, send):
    os.kill(os.getpid(), 9)

trio.run(request, SagaMiddleware(app, SqliteStore({path!r})), {ACTION!r})
"""
    died = await trio.run_process([sys.executable, "-c", program], check=False)
    assert died.returncode == -9
    app, now = App(), time.time()
    store = SqliteStore(path, utc_now=lambda: now)
    both = SagaMiddleware(app, store)
    assert status_of(await request(both, ACTION)) == 409, "it may still be at work"
    now += LEASE_S
    assert status_of(await request(both, ACTION)) == 500
    assert app.count == 0
    assert status_of(await request(both, UNDO)) == 200
    assert app.count == 1
    store.close()


async def test_another_process_is_at_work_for_its_lease_and_then_nobody_knows(tmp_path):
    now = 0.0
    stores = [SqliteStore(str(tmp_path / "c.sqlite"), utc_now=lambda: now) for _ in range(2)]
    begun, go_on, answers = trio.Event(), trio.Event(), []

    async def slow(scope, receive, send):
        begun.set()
        await go_on.wait()
        await respond(send, 200, {"id": 1})

    async def ask():
        answers.append(await request(SagaMiddleware(slow, stores[0]), ACTION))

    other = App(200, {"undone": True})
    both = SagaMiddleware(other, stores[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await begun.wait()
        now = LEASE_S - 1
        assert status_of(await request(both, ACTION)) == 409
        now = LEASE_S
        assert status_of(await request(both, ACTION)) == 500
        assert other.count == 0
        assert status_of(await request(both, UNDO)) == 200
        go_on.set()
    assert status_of(answers[0]) == 500, "it was undone meanwhile: nobody knows"
    assert status_of(await request(both, ACTION)) == 409
    for store in stores:
        store.close()


async def test_doubt_is_ended_by_hand(store, tmp_path):
    """The statements are those of docs/participant.md."""
    app = App(500)
    both = SagaMiddleware(app, store)
    await request(both, ACTION)
    with closing(sqlite3.connect(tmp_path / "calls.sqlite")) as db, db:
        db.execute("DELETE FROM saga_calls WHERE call_key = 'a' AND state IN ('begun', 'doubt')")
    app.answer = (200, {"id": 1})
    assert status_of(await request(both, ACTION)) == 200


async def test_calls_are_forgotten_by_their_age(tmp_path):
    now = 0.0
    store = SqliteStore(str(tmp_path / "c.sqlite"), utc_now=lambda: now)
    both = SagaMiddleware(App(), store)
    await request(both, ACTION)
    now = 100.0
    assert store.forget_calls(100.0) == 0
    assert store.forget_calls(99.0) == 1
    store.close()
    store.close()


async def test_a_file_that_cannot_be_written_begins_nothing(tmp_path):
    app = App()
    store = SqliteStore(str(tmp_path / "missing" / "calls.sqlite"))
    with pytest.raises(sqlite3.OperationalError):
        await request(SagaMiddleware(app, store), ACTION)
    assert app.count == 0
    (tmp_path / "missing").mkdir()
    assert status_of(await request(SagaMiddleware(app, store), ACTION)) == 200
    store.close()


def test_an_answer_means_what_the_orchestrator_reads():
    from sagakeep.classification import judgement_of
    from sagakeep.service import Outcome

    for status in range(200, 600):
        for can_wait in (True, False):
            headers = (("retry-after", "1"),) if can_wait else ()
            rule = judgement_of(status, can_wait).rule
            expected = {
                (Outcome.DONE, False): "done",
                (Outcome.NOT_DONE, True): "refused",
                (Outcome.NOT_DONE, False): "not yet",
                (Outcome.UNKNOWN, False): "unknown",
            }[(rule.outcome, rule.permanent)]
            assert Answer(status, headers).meaning.value == expected, status


async def test_a_claim_that_fails_is_rolled_back_and_the_next_one_works(store, tmp_path):
    app = App()
    both = SagaMiddleware(app, store)
    await request(both, {"Idempotency-Key": "other"})
    with closing(sqlite3.connect(tmp_path / "calls.sqlite")) as db, db:
        db.execute("ALTER TABLE saga_calls RENAME TO elsewhere")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await request(both, ACTION)
    assert app.count == 1
    with closing(sqlite3.connect(tmp_path / "calls.sqlite")) as db, db:
        db.execute("ALTER TABLE elsewhere RENAME TO saga_calls")
    assert status_of(await request(both, ACTION)) == 200
