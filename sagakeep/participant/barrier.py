"""The barrier: a call is looked up, worked on and answered in one transaction of the service's own database.

    with db:                                                   the transaction is the service's
        with barrier(db, request.headers, request.body) as call:
            if call.is_new:                                    else the answer is there
                db.execute("INSERT INTO charges ...")
                call.done({"chargeId": "ch_1"})
    return call.status, call.headers, call.body                after the commit, and not before

Whatever the block raises rolls the transaction back, the barrier's rows with it: nothing was done, and the next
request with this key is a new one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sagakeep.participant.answer import Answer, Meaning, answer_of, problem, value_of
from sagakeep.participant.call import CallInvalid, Headers, read_call
from sagakeep.participant.claim import Asker, Claim, digest_of, make_claim, settle
from sagakeep.participant.rules import Row
from sagakeep.participant.table import NAME, CallTable, Connection


class NoTransaction(Exception):
    """The connection commits each statement by itself, so nothing is safe: begin a transaction first."""


class BarrierCall:
    """One call, as its service sees it.

    `action_key` is that of the action that it is about: what an undo finds by it is what it is to undo.
    """

    def __init__(self, action_key: str, claim: Claim | None, answer: Answer | None) -> None:
        self.action_key = action_key
        self._claim = claim
        self._answer = answer
        self.is_new = answer is None
        """Is the work to be done? Else there is an answer, and nothing is to be done."""

    @property
    def action_result(self) -> object:
        """What the action answered, of a new undo; None when that is not known."""
        action = self._claim.action if self._claim is not None else None
        return value_of(action.answer) if action is not None else None

    def done(self, result: object = None, status: int = 200) -> None:
        """Say that the work is done. The result is JSON. Raises AnswerTooLong, TypeError or ValueError."""
        self._set(answer_of(result, status), Meaning.DONE)

    def refuse(self, detail: str, status: int = 422) -> None:
        """Say that nothing was done and never will be; to be tried again, raise an exception instead."""
        self._set(problem(status, "Refused", detail), Meaning.REFUSED)

    @property
    def status(self) -> int:
        return self._ready.status

    @property
    def headers(self) -> dict[str, str]:
        return dict(self._ready.headers)

    @property
    def body(self) -> bytes:
        return self._ready.body

    @property
    def _ready(self) -> Answer:
        if self._answer is None:
            raise RuntimeError("the block has not ended: there is no answer yet")
        return self._answer

    def _set(self, answer: Answer, meaning: Meaning) -> None:
        if not self.is_new:
            raise RuntimeError("the call has its answer: do the work only where `is_new`")
        if answer.meaning is not meaning:
            raise ValueError(f"the status {answer.status} does not say {meaning.value}")
        self._answer = answer


@contextmanager
def barrier(
    connection: Connection,
    headers: Headers,
    body: bytes = b"",
    *,
    table: str = NAME,
    paramstyle: str = "",
) -> Iterator[BarrierCall]:
    """Look a call up in the connection's open transaction; the block does the work if the call is new.

    A new call that says neither `done` nor `refuse` is done, without a result. With the body a key that is
    used again for something else is refused. Headers that do not say which call this is are answered 400.
    Raises NoTransaction.
    """
    try:
        wanted = read_call(headers)
    except CallInvalid as error:
        yield BarrierCall("", None, problem(400, "Bad call", str(error)))
        return
    rows = CallTable(connection, name=table, paramstyle=paramstyle)
    asker = Asker(secrets.token_hex(8), time.time(), _is_at_work)
    _check_transaction(connection)
    claim = make_claim(rows, wanted, digest_of(wanted, body), asker)
    call = BarrierCall(wanted.action_key, claim, claim.answer)
    yield call
    if call.is_new:
        if call._answer is None:
            call.done()
        settle(rows, claim, call._answer, time.time())


def forget_calls(
    connection: Connection,
    older_than_s: float,
    *,
    rows_max: int = 10_000,
    table: str = NAME,
    paramstyle: str = "",
) -> int:
    """Delete rows that nobody has changed for so long; return how many. In a transaction of the caller's.

    A call that comes later than that is a new one: keep rows for longer than any saga lives.
    """
    rows = CallTable(connection, name=table, paramstyle=paramstyle)
    return rows.expire(time.time() - older_than_s, rows_max)


def _is_at_work(row: Row) -> bool:
    """Never: who is at work has not committed, and nobody sees it."""
    return False


def _check_transaction(connection: object) -> None:
    """Ask the drivers that tell: sqlite3 says `in_transaction`, psycopg has a status, which is 0 for none."""
    is_idle = getattr(getattr(connection, "info", None), "transaction_status", None) == 0
    commits = getattr(connection, "autocommit", False) is True
    if getattr(connection, "in_transaction", None) is False:
        is_idle = True
        commits = commits or getattr(connection, "isolation_level", "") is None
    if is_idle and commits:
        raise NoTransaction("no transaction is open: the barrier has to be in the one of the work")
