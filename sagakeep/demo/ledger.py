"""The ledger of the demo services: a file that survives the process, and one thread that writes it.

All calls that wait share one transaction: a hop into a thread costs more than an entry. SQLite syncs at
its checkpoints only: what was entered survives the end of the process at any instant, as the journal does,
but not a power cut. A real service would set `synchronous` to FULL. What is entered: `demo_barrier`.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Final

import trio

from sagakeep.demo.barrier import SCHEMA, Deed, Entry, Result, read_entries, settle
from sagakeep.service import Call

FILE_NAME: Final = "demo-ledger.sqlite"


class _Work:
    """A call that waits for its answer; None is not yet, an exception is to be raised."""

    __slots__ = ("answer", "call", "deed")

    def __init__(self, call: Call, deed: Deed | None) -> None:
        self.call = call
        self.deed = deed
        self.answer: Result | Exception | None = None


class Ledger:
    """The one ledger of a directory, which must exist at the first entry."""

    def __init__(self, directory: str) -> None:
        self._path = f"{directory}/{FILE_NAME}"
        self._thread = trio.CapacityLimiter(1)
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[_Work] = []
        self._batch_ended: trio.Event | None = None  # of the batch that is at work

    async def enter(self, call: Call, deed: Deed) -> Result:
        """Do what the call asks for, once, and return the result. Entered when it returns.

        Raises ServiceRefused or ServiceUnavailable.
        """
        return await self._settle(_Work(call, deed))

    async def probe(self, call: Call) -> Result:
        """Say whether the action happened; if it did not, it will not."""
        return await self._settle(_Work(call, None))

    async def aclose(self) -> None:
        """Close the file; may be repeated."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await trio.to_thread.run_sync(connection.close, limiter=self._thread)

    async def _settle(self, work: _Work) -> Result:
        """Wait for the batch at work, then be part of the next one, which the first to come runs."""
        self._waiting.append(work)
        while work.answer is None:
            if self._batch_ended is None:
                await self._run_batch()
            else:
                await self._batch_ended.wait()
        if isinstance(work.answer, Exception):
            raise work.answer
        return work.answer

    async def _run_batch(self) -> None:
        batch, self._waiting = self._waiting, []
        ended = self._batch_ended = trio.Event()
        try:
            await trio.to_thread.run_sync(self._transact, batch, limiter=self._thread)
        finally:
            self._waiting = [work for work in batch if work.answer is None] + self._waiting
            self._batch_ended = None
            ended.set()

    def _transact(self, batch: list[_Work]) -> None:
        """Answer all in one transaction; a refusal is an answer, for it is entered too."""
        if self._connection is None:
            self._connection = _open(self._path)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            answers = [settle(connection, work.call, work.deed) for work in batch]
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        for work, answer in zip(batch, answers, strict=True):
            work.answer = answer


def read_ledger(directory: str) -> list[Entry]:
    """Return all entries, in the order in which the calls first came; also beside a running server."""
    connection = sqlite3.connect(f"file:{directory}/{FILE_NAME}?mode=ro", uri=True)
    try:
        return read_entries(connection)
    finally:
        connection.close()


def _open(path: str) -> sqlite3.Connection:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(SCHEMA)
    return connection
