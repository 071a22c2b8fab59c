"""Where the middleware keeps its calls: a protocol, and a SQLite file that fulfils it.

Theory of operation. A claim is committed before the work begins, and settled after it has ended. What a crash
leaves between them is `begun`. Whether somebody is still at work on such a call:

    begun by this process      it knows: the claim is among those that it has not let go
    begun by another           assumed for `lease_s` after it was begun; then nobody knows

An action in doubt is never run again. Only its undo goes on from there, and the action is undone from then on;
so an application must not work on a call for longer than `lease_s` beside other processes on the same file.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final, Protocol

from sagakeep.participant.answer import Answer
from sagakeep.participant.call import SagaCall
from sagakeep.participant.claim import Asker, Claim, make_claim, settle
from sagakeep.participant.rules import Row
from sagakeep.participant.table import CallTable
from sagakeep.participant.thread import OneThread

LEASE_S: Final = 60.0


class Store(Protocol):
    """What the middleware needs. A store in another database has `make_claim` and `settle` to build on."""

    async def claim(self, call: SagaCall, digest: str) -> Claim:
        """Begin a call, or find its answer. Durable when it returns; two that come at once get one claim."""
        ...

    async def settle(self, claim: Claim, answer: Answer | None) -> Answer:
        """End a claim; None: nothing was done. Durable when it returns; returns what is to be answered."""
        ...

    def let_go(self, claim: Claim) -> None:
        """Say that nobody is at work on a claim any more, settled or not. Never blocks."""
        ...


class SqliteStore:
    """A SQLite file, which other processes may use at the same time. Durable: each commit is synced."""

    def __init__(
        self, path: str, *, lease_s: float = LEASE_S, utc_now: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._lease_s = lease_s
        self._utc_now = utc_now
        self._process = secrets.token_hex(8)
        self._numbers = count(1)
        self._at_work: set[str] = set()
        self._thread = OneThread()
        self._lock = threading.Lock()  # for who does not come by that thread
        self._connection: sqlite3.Connection | None = None

    async def claim(self, call: SagaCall, digest: str) -> Claim:
        name = f"{self._process}:{next(self._numbers)}"
        self._at_work.add(name)
        try:
            claim = await self._thread.run(lambda: self._claim(call, digest, name))
        except BaseException:
            self._at_work.discard(name)
            raise
        if claim.answer is not None:
            self._at_work.discard(name)
        return claim

    async def settle(self, claim: Claim, answer: Answer | None) -> Answer:
        return await self._thread.run(lambda: self._settle(claim, answer))

    def let_go(self, claim: Claim) -> None:
        self._at_work.discard(claim.row.claim)

    def forget_calls(self, older_than_s: float, rows_max: int = 10_000) -> int:
        """Delete rows that nobody has changed for so long; return how many. Blocks."""
        with self._transaction() as table:
            return table.expire(self._utc_now() - older_than_s, rows_max)

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._thread.close()
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _claim(self, call: SagaCall, digest: str, name: str) -> Claim:
        with self._transaction() as table:
            return make_claim(table, call, digest, Asker(name, self._utc_now(), self._is_at_work))

    def _settle(self, claim: Claim, answer: Answer | None) -> Answer:
        with self._transaction() as table:
            return settle(table, claim, answer, self._utc_now())

    def _is_at_work(self, row: Row) -> bool:
        if row.claim.startswith(f"{self._process}:"):
            return row.claim in self._at_work
        return self._utc_now() < row.at_utc_s + self._lease_s

    @contextmanager
    def _transaction(self) -> Iterator[CallTable]:
        with self._lock:
            if self._connection is None:
                self._connection = _open(self._path)
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield CallTable(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise


def _open(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        CallTable(connection).create()
    except BaseException:
        connection.close()
        raise
    return connection
