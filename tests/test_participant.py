from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from participant_world import BehindBarrier, Broken, Wanted

from sagakeep.participant import AnswerTooLong, NoTransaction, barrier, forget_calls, schema
from sagakeep.participant.answer import Answer, answer_of_text, value_of
from sagakeep.participant.call import KEY_CHARS_MAX, CallInvalid, SagaCall, read_call
from sagakeep.participant.claim import Asker, digest_of, make_claim
from sagakeep.participant.rules import (
    Row,
    Ruling,
    State,
    rule_again,
    rule_probe,
    rule_second_undo,
    rule_undo,
)
from sagakeep.participant.table import CallTable

ACTION = {"Idempotency-Key": "s/pay/action/1", "Saga-Phase": "action"}
UNDO = {
    "Idempotency-Key": "s/pay/compensation/1",
    "Saga-Phase": "compensation",
    "Saga-Action-Key": "s/pay/action/1",
    "Saga-Step-Outcome": "unknown",
}
PROBE = {**ACTION, "Saga-Phase": "probe", "Saga-Action-Key": "s/pay/action/1"}


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "service.sqlite")
    with closing(sqlite3.connect(path)) as db, db:
        for statement in ("CREATE TABLE ledger (key)", *schema()):
            db.execute(statement)
    return path


@pytest.fixture
def db(path):
    with closing(sqlite3.connect(path)) as db:
        yield db


def call(db, headers, result=None, body=b"", **options):
    """One request of a small service; returns the status and the value of the body."""
    with db, barrier(db, headers, body, **options) as call:
        if call.is_new:
            db.execute("INSERT INTO ledger VALUES (?)", [headers["Idempotency-Key"]])
            call.done(result)
    return call.status, json.loads(call.body)


def ledger(db):
    return [key for (key,) in db.execute("SELECT key FROM ledger")]


# What it needs


def test_a_service_that_takes_it_loads_nothing_else_that_is_ours_or_of_others():
    program = (
        "import sys; before = set(sys.modules)\n"
        "import sagakeep.participant, sagakeep.participant.middleware, sagakeep.participant.store\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    ours = {name for name in loaded if name.split(".")[0] == "sagakeep"}
    assert "sagakeep.participant.middleware" in ours
    assert {name for name in ours if not name.startswith("sagakeep.participant")} == {"sagakeep"}
    assert not {name.split(".")[0] for name in loaded - ours} - sys.stdlib_module_names


# The barrier


def test_the_same_key_gets_the_same_answer_and_the_work_is_done_once(db):
    first = call(db, ACTION, {"chargeId": "ch_1"})
    assert first == (200, {"chargeId": "ch_1"})
    assert call(db, ACTION, {"chargeId": "ch_2"}) == first
    assert ledger(db) == ["s/pay/action/1"]


def test_an_undo_learns_what_the_action_answered(db):
    call(db, ACTION, {"chargeId": "ch_1"})
    with db, barrier(db, UNDO) as undo:
        assert undo.is_new
        assert undo.action_result == {"chargeId": "ch_1"}
        undo.done({"undone": True})
    assert call(db, UNDO)[1] == {"undone": True}
    status, problem = call(db, ACTION)
    assert (status, problem["title"]) == (409, "Too late")


def test_an_undo_of_nothing_is_done_and_bars_the_action(db):
    with db, barrier(db, UNDO) as undo:
        assert not undo.is_new
        assert undo.action_result is None
    assert (undo.status, json.loads(undo.body)) == (200, {"undone": False})
    assert call(db, ACTION)[0] == 409
    assert ledger(db) == []


def test_an_undo_of_what_was_done_for_certain_is_work_though_its_row_has_expired(db):
    call(db, {**UNDO, "Saga-Step-Outcome": "done"}, {"undone": True})
    assert ledger(db) == ["s/pay/compensation/1"]
    assert call(db, ACTION)[0] == 409


def test_an_undo_that_was_refused_can_be_asked_for_again(db):
    call(db, ACTION)
    with db, barrier(db, UNDO) as undo:
        undo.refuse("the bank is closed")
    assert (undo.status, undo.headers["content-type"]) == (422, "application/problem+json")
    assert call(db, PROBE) == (200, {"outcome": "done", "result": None})
    assert call(db, {**UNDO, "Idempotency-Key": "s/pay/compensation/2"}, {"undone": True})[0] == 200
    assert ledger(db) == ["s/pay/action/1", "s/pay/compensation/2"]


def test_a_second_undo_of_the_same_action_is_empty(db):
    call(db, ACTION)
    call(db, UNDO, {"undone": True})
    second = {**UNDO, "Idempotency-Key": "s/pay/compensation/2", "Saga-Step-Outcome": "done"}
    assert call(db, second) == (200, {"undone": False})


def test_a_refusal_is_kept_and_its_undo_is_empty(db):
    with db, barrier(db, ACTION) as action:
        action.refuse("over the limit", 403)
    assert call(db, ACTION)[0] == 403
    assert call(db, PROBE) == (200, {"outcome": "not_done"})
    assert call(db, UNDO) == (200, {"undone": False})
    assert ledger(db) == []


def test_a_probe_tells_what_happened_and_keeps_its_word(db):
    assert call(db, PROBE) == (200, {"outcome": "not_done"})
    assert call(db, ACTION)[0] == 409
    other = {name: value.replace("s/", "t/") for name, value in PROBE.items()}
    call(db, {**other, "Saga-Phase": "action"}, {"id": 7})
    assert call(db, other) == (200, {"outcome": "done", "result": {"id": 7}})


def test_what_the_block_raises_leaves_nothing(db):
    def work():
        with db, barrier(db, ACTION):
            db.execute("INSERT INTO ledger VALUES ('lost')")
            raise Broken

    with pytest.raises(Broken):
        work()
    assert ledger(db) == []
    assert call(db, ACTION, {"id": 1}) == (200, {"id": 1})


def test_a_block_that_says_nothing_is_done_without_a_result(db):
    with db, barrier(db, ACTION) as action:
        pass
    assert (action.status, action.body) == (200, b"null")


def test_a_key_that_is_used_for_another_body_or_phase_is_refused(db):
    call(db, ACTION, {"id": 1}, body=b'{"amount": 5}')
    assert call(db, ACTION, body=b'{"amount": 6}')[0] == 422
    as_undo = {**UNDO, "Idempotency-Key": ACTION["Idempotency-Key"], "Saga-Action-Key": "other"}
    assert call(db, as_undo, body=b'{"amount": 5}')[0] == 422
    assert ledger(db) == ["s/pay/action/1"]


def test_a_connection_that_commits_by_itself_is_refused(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(NoTransaction), barrier(db, ACTION):
            pytest.fail("the block must not run")
        db.execute("BEGIN IMMEDIATE")
        assert call(db, ACTION)[0] == 200


def test_an_answer_that_nobody_would_read_rolls_the_work_back(db):
    with pytest.raises(AnswerTooLong, match="1048578 bytes; at most 1048576"):
        call(db, ACTION, "x" * (1 << 20))
    assert ledger(db) == []
    assert call(db, ACTION, "x" * ((1 << 20) - 2))[0] == 200


def test_answers_are_said_where_they_mean_something(db):
    with db, barrier(db, ACTION) as action:
        with pytest.raises(RuntimeError, match="no answer yet"):
            _ = action.status
        with pytest.raises(ValueError, match="503 does not say refused"):
            action.refuse("busy", 503)
        with pytest.raises(ValueError, match="409 does not say done"):
            action.done(None, 409)
        action.done()
    with db, barrier(db, ACTION) as again, pytest.raises(RuntimeError, match="has its answer"):
        again.done()


def test_two_at_once_do_the_work_once(path):
    """The second waits for the first one's transaction, then has its answer."""
    inside, answers = threading.Barrier(2), []

    def serve():
        with closing(sqlite3.connect(path)) as db:
            inside.wait()
            answers.append(call(db, ACTION, {"by": threading.get_ident()}))

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers[0] == answers[1]
    with closing(sqlite3.connect(path)) as db:
        assert len(ledger(db)) == 1


def test_rows_are_forgotten_by_their_age(db):
    call(db, ACTION)
    with db:
        assert forget_calls(db, 60) == 0
        assert forget_calls(db, -60, rows_max=0) == 0
        assert forget_calls(db, -60) == 1
    assert call(db, ACTION)[0] == 200
    assert len(ledger(db)) == 2


def test_the_table_may_have_another_name(db):
    with db:
        for statement in schema("payment_calls"):
            db.execute(statement)
    call(db, ACTION, {"id": 1}, table="payment_calls")
    assert db.execute("SELECT count(*) FROM payment_calls").fetchone() == (1,)
    for name in ("x; DROP TABLE ledger", "", "1", "a.b.c", "é"):
        with pytest.raises(ValueError, match="is no name of a table"):
            schema(name)


def test_the_world_says_the_same(tmp_path):
    """The service that the property test uses is one."""
    service = BehindBarrier(str(tmp_path / "s.sqlite"))
    assert service.call(Wanted("action", "a")) == "did a"
    assert service.call(Wanted("action", "b", then="crash")) == "gone"
    assert service.ledger() == ["a"]


# Headers


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"Idempotency-Key": ""}, "Idempotency-Key is missing"),
        ({"Idempotency-Key": "k" * (KEY_CHARS_MAX + 1)}, "513 characters; at most 512"),
        ({"Idempotency-Key": "ké"}, "not printable ASCII"),
        ({"Idempotency-Key": "a\x00b"}, "not printable ASCII"),
        ({"Saga-Phase": "Action"}, "Saga-Phase is 'Action'"),
        ({"Saga-Phase": "compensation"}, "Saga-Action-Key is missing"),
        (
            {"Saga-Phase": "compensation", "Saga-Action-Key": "s/pay/action/1"},
            "the compensation's own",
        ),
        ({"idempotency-key": "other"}, "Idempotency-Key is there twice"),
    ],
)
def test_headers_that_do_not_say_which_call_are_answered_400_and_nothing_is_written(
    db, change, complaint
):
    headers = {**ACTION, **change}
    with pytest.raises(CallInvalid, match=complaint):
        read_call(headers)
    with db, barrier(db, headers) as found:
        assert not found.is_new
    assert found.status == 400
    assert complaint in json.loads(found.body)["detail"]
    assert db.execute("SELECT count(*) FROM saga_calls").fetchone() == (0,)


def test_headers_are_read_from_what_frameworks_have():
    class Django:
        def items(self):
            return ACTION.items()

    pairs = [(name.lower().encode(), value.encode()) for name, value in ACTION.items()]
    expected = read_call(ACTION)
    assert (expected.key, expected.phase, expected.action_key) == (
        "s/pay/action/1",
        "action",
        "s/pay/action/1",
    )
    assert read_call(Django()) == read_call(pairs) == expected
    assert read_call({"idempotency-key": "k" * KEY_CHARS_MAX}).phase == "action"
    assert read_call(PROBE).action_key == "s/pay/action/1"
    assert not read_call(UNDO).is_known_done


# The table


class Psycopg:
    """A driver that wants `%s`; sqlite3 behind it shows that nothing but the place differs."""

    def __init__(self, db):
        self._db = db
        self.seen = []

    def cursor(self):
        cursor, seen = self._db.cursor(), self.seen

        class Cursor:
            rowcount = property(lambda _: cursor.rowcount)
            fetchone, close = cursor.fetchone, cursor.close

            def execute(self, operation, parameters):
                seen.append(operation)
                assert "?" not in operation
                return cursor.execute(operation.replace("%s", "?"), parameters)

        return Cursor()


def test_a_driver_gets_its_own_places(db):
    other = Psycopg(db)
    for style in ("format", "pyformat"):
        with db, barrier(other, {"Idempotency-Key": style}, paramstyle=style) as found:
            assert found.is_new
    assert any("%s" in operation for operation in other.seen)


def test_a_driver_that_is_not_known_has_to_be_told(db):
    with (
        pytest.raises(TypeError, match=r"paramstyle of .*Psycopg is not known"),
        barrier(Psycopg(db), ACTION),
    ):
        pytest.fail("the block must not run")


def test_a_row_is_replaced_only_where_nobody_has_changed_it(db):
    table = CallTable(db)
    row = Row("k", State.BEGUN, "c-1", at_utc_s=1.5)
    assert table.insert(row)
    assert not table.insert(row._replace(claim="c-2"))
    answer = Answer(201, (("x", "é"),), b"\xff\x00")
    done = row._replace(state=State.DONE, answer=answer)
    assert not table.replace(row._replace(claim="c-2"), done)
    assert table.replace(row, done)
    assert table.find("k") == done
    assert not table.delete(row)
    assert table.delete(done)
    assert table.find("k") is None


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', b"\xff\x00", "é\x00".encode()])
def test_an_answer_is_kept_as_text_without_nul(body):
    answer = Answer(200, (("content-type", "x"),), body)
    assert "\0" not in answer.to_text()
    assert answer_of_text(answer.to_text()) == answer


def test_a_body_that_is_no_json_has_no_value():
    assert value_of(Answer(200, (), b"<html>")) is None
    assert value_of(None) is None


# Two at once, where the other one's transaction ends between two statements


class Losing(CallTable):
    """Somebody else changes a row before each of so many statements that would."""

    losses = 0

    def _loses(self):
        self.losses -= 1
        return self.losses >= 0

    def replace(self, old, new):
        return not self._loses() and super().replace(old, new)

    def find(self, key):
        return None if self._loses() else super().find(key)


def losing(db, losses):
    table = Losing(db)
    table.losses = losses
    return table


def claim(table, headers):
    wanted = read_call(headers)
    asker = Asker("c-1", 1.0, lambda row: False)
    return make_claim(table, wanted, digest_of(wanted, b""), asker)


@pytest.mark.parametrize(("losses", "ruling"), [(3, Ruling.REPEAT), (100, Ruling.BUSY)])
def test_a_row_that_goes_away_while_it_is_looked_at_is_looked_for_again(db, losses, ruling):
    call(db, ACTION)
    assert claim(losing(db, losses), ACTION).ruling is ruling


@pytest.mark.parametrize(("losses", "ruling"), [(3, Ruling.KNOWN), (100, Ruling.BUSY)])
def test_a_probe_of_a_row_that_goes_away_is_tried_again(db, losses, ruling):
    call(db, ACTION)
    assert claim(losing(db, losses), PROBE).ruling is ruling


@pytest.mark.parametrize(("losses", "ruling"), [(3, Ruling.WORK), (100, Ruling.BUSY)])
def test_an_undo_of_a_row_that_changes_is_tried_again_and_then_left(db, losses, ruling):
    call(db, ACTION)
    assert claim(losing(db, losses), UNDO).ruling is ruling
    row = CallTable(db).find(UNDO["Idempotency-Key"])
    assert (row is None) == (ruling is Ruling.BUSY), "who is busy has begun nothing"


# The rules


@pytest.mark.parametrize(
    ("state", "again", "undo", "known_undo", "probe"),
    [
        (State.BEGUN, Ruling.IN_DOUBT, Ruling.WORK, Ruling.WORK, Ruling.IN_DOUBT),
        (State.DOUBT, Ruling.IN_DOUBT, Ruling.WORK, Ruling.WORK, Ruling.IN_DOUBT),
        (State.DONE, Ruling.REPEAT, Ruling.WORK, Ruling.WORK, Ruling.KNOWN),
        (State.REFUSED, Ruling.REPEAT, Ruling.EMPTY, Ruling.EMPTY, Ruling.NOT_DONE),
        (State.UNDONE, Ruling.TOO_LATE, Ruling.EMPTY, Ruling.EMPTY, Ruling.NOT_DONE),
        (State.BARRED, Ruling.TOO_LATE, Ruling.EMPTY, Ruling.WORK, Ruling.NOT_DONE),
    ],
)
def test_each_state_has_its_ruling(state, again, undo, known_undo, probe):
    row = Row("a", state)
    wish = SagaCall("u", "compensation", "a")
    assert rule_again(row, "", False) is again
    assert rule_undo(row, wish, False) is undo
    assert rule_undo(row, wish._replace(is_known_done=True), False) is known_undo
    assert rule_probe(row, False) is probe
    is_begun = state is State.BEGUN
    assert (rule_again(row, "", True) is Ruling.BUSY) == is_begun
    assert (rule_undo(row, wish, True) is Ruling.BUSY) == is_begun
    assert (rule_probe(row, True) is Ruling.BUSY) == is_begun
    second = {State.BEGUN: Ruling.IN_DOUBT, State.DOUBT: Ruling.IN_DOUBT}.get(state, Ruling.EMPTY)
    assert rule_second_undo(row, False) is second
    assert (rule_second_undo(row, True) is Ruling.BUSY) == is_begun


def test_what_is_not_there_has_its_ruling():
    wish = SagaCall("u", "compensation", "a")
    assert rule_undo(None, wish, False) is Ruling.EMPTY
    assert rule_undo(None, wish._replace(is_known_done=True), False) is Ruling.WORK
    assert rule_second_undo(None, False) is Ruling.EMPTY
    assert rule_probe(None, False) is Ruling.NOT_DONE
