"""The barrier in PostgreSQL, where two transactions are at work on one table at the same time."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from participant_world import Broken

from sagakeep.participant import NoTransaction, barrier, forget_calls, schema

psycopg = pytest.importorskip("psycopg")

ACTION = {"Idempotency-Key": "s/pay/action/1"}
UNDO = {
    "Idempotency-Key": "s/pay/compensation/1",
    "Saga-Phase": "compensation",
    "Saga-Action-Key": "s/pay/action/1",
}
PROBE = {**ACTION, "Saga-Phase": "probe"}


@pytest.fixture
def connect(postgres):
    server = postgres()
    with psycopg.connect(server) as db:
        for statement in ("CREATE TABLE ledger (id BIGSERIAL, key TEXT)", *schema()):
            db.execute(statement)
    opened = []

    def connect(**options):
        opened.append(psycopg.connect(server, **options))
        return opened[-1]

    yield connect
    for db in opened:
        db.close()


def call(db, headers, work=None, result=None):
    with db.transaction(), barrier(db, headers) as call:
        if call.is_new:
            db.execute("INSERT INTO ledger (key) VALUES (%s)", [headers["Idempotency-Key"]])
            if work is not None:
                work()
            call.done(result)
    return call.status, json.loads(call.body)


def ledger(db):
    with db.transaction():
        return [key for (key,) in db.execute("SELECT key FROM ledger ORDER BY id")]


def test_calls_are_answered_once_and_undone_once(connect):
    db = connect()
    assert call(db, ACTION, result={"é": "\0"}) == (200, {"é": "\0"})
    assert call(db, ACTION) == (200, {"é": "\0"})
    assert call(db, PROBE)[1]["outcome"] == "done"
    assert call(db, UNDO, result={"undone": True})[0] == 200
    assert call(db, UNDO) == (200, {"undone": True})
    assert call(db, ACTION)[0] == 409
    assert call(db, PROBE) == (200, {"outcome": "not_done"})
    assert ledger(db) == ["s/pay/action/1", "s/pay/compensation/1"]
    with db.transaction():
        assert forget_calls(db, -60) == 2


def test_an_undo_of_nothing_bars_the_action(connect):
    db = connect()
    assert call(db, UNDO) == (200, {"undone": False})
    assert call(db, ACTION)[0] == 409
    assert ledger(db) == []


def test_what_the_block_raises_leaves_nothing(connect):
    db = connect()

    def fail():
        raise Broken

    with pytest.raises(Broken):
        call(db, ACTION, fail)
    assert ledger(db) == []
    assert call(db, ACTION)[0] == 200


def test_a_connection_that_commits_by_itself_is_refused(connect):
    db = connect(autocommit=True)
    with pytest.raises(NoTransaction), barrier(db, ACTION):
        pytest.fail("the block must not run")
    assert call(db, ACTION)[0] == 200  # `transaction()` begins one
    assert ledger(db) == ["s/pay/action/1"]


@pytest.mark.parametrize("other", ["action", "compensation", "probe"])
def test_whoever_comes_while_the_action_runs_waits_for_its_end(connect, other):
    first, second, watch = connect(), connect(), connect(autocommit=True)
    inside, go_on = threading.Event(), threading.Event()

    def work():
        inside.set()
        assert go_on.wait(30)

    headers = {"action": ACTION, "compensation": UNDO, "probe": PROBE}[other]
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(call, first, ACTION, work, {"id": 1})
        assert inside.wait(30)
        waiting = threads.submit(call, second, headers, None, {"undone": True})
        _wait_blocked(watch, second.info.backend_pid)
        assert not waiting.done()
        go_on.set()
        assert running.result(30) == (200, {"id": 1})
        answer = waiting.result(30)
    expected = {
        "action": (200, {"id": 1}),
        "compensation": (200, {"undone": True}),
        "probe": (200, {"outcome": "done", "result": {"id": 1}}),
    }
    assert answer == expected[other]
    assert ledger(watch)[:1] == ["s/pay/action/1"]
    assert len(ledger(watch)) == (2 if other == "compensation" else 1)


@pytest.mark.parametrize("other", ["action", "compensation"])
def test_whoever_waited_for_what_was_rolled_back_is_the_first(connect, other):
    first, second, watch = connect(), connect(), connect(autocommit=True)
    inside, go_on = threading.Event(), threading.Event()

    def work():
        inside.set()
        assert go_on.wait(30)
        raise Broken

    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(call, first, ACTION, work)
        assert inside.wait(30)
        waiting = threads.submit(call, second, ACTION if other == "action" else UNDO)
        _wait_blocked(watch, second.info.backend_pid)
        go_on.set()
        with pytest.raises(Broken):
            running.result(30)
        assert waiting.result(30)[0] == 200
    assert ledger(watch) == (["s/pay/action/1"] if other == "action" else [])
    assert call(first, ACTION)[0] == (200 if other == "action" else 409)


def test_many_at_once_in_any_order_agree(connect):
    """Ten of each at the same time: one of both orders, and the ledger is of that one."""
    for number in range(8):
        action = {"Idempotency-Key": f"{number}/action"}
        undo = {
            "Idempotency-Key": f"{number}/undo",
            "Saga-Phase": "compensation",
            "Saga-Action-Key": f"{number}/action",
        }
        connections = [connect() for _ in range(6)]
        jobs = [action, undo] * 3
        with ThreadPoolExecutor(len(jobs)) as threads:
            answers = list(threads.map(call, connections, jobs))
        mine = [key for key in ledger(connections[0]) if key.startswith(f"{number}/")]
        assert mine in ([], [action["Idempotency-Key"], undo["Idempotency-Key"]])
        assert len({str(answer) for answer in answers[1::2]}) == 1
        for db in connections:
            db.close()


def _wait_blocked(watch, pid):
    """Ask the server until that connection waits for another one's lock; it is told, not slept for."""
    deadline = 30 * 1_000
    for _ in range(deadline):
        found = watch.execute(
            "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid]
        ).fetchone()
        if found == ("Lock",):
            return
    pytest.fail("nobody waits")


def test_a_stricter_isolation_fails_instead_of_doubling(connect):
    """The second one saw the world before the first one's end, so it cannot go on; the next request can."""
    first, second, watch = connect(), connect(), connect(autocommit=True)
    for db in (first, second):
        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    inside, go_on = threading.Event(), threading.Event()

    def work():
        inside.set()
        assert go_on.wait(30)

    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(call, first, ACTION, work, {"id": 1})
        assert inside.wait(30)
        waiting = threads.submit(call, second, ACTION)
        _wait_blocked(watch, second.info.backend_pid)
        go_on.set()
        assert running.result(30) == (200, {"id": 1})
        with pytest.raises(psycopg.errors.SerializationFailure):
            waiting.result(30)
    assert call(second, ACTION) == (200, {"id": 1})
    assert ledger(watch) == ["s/pay/action/1"]
