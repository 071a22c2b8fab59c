"""The file of the rows, in memory. It is derived from the journal, so a crash may treat it badly.

A process has its own SQLite database in memory; what outlives it are images, one after each transaction. After a
crash the newest is there, or an older one, or none: `crash` chooses.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from random import Random
from typing import Final

from sagakeep.actors.row_file import RowFile, create_rows, reflected

IMAGES_MAX: Final = 4
PAGE_BYTES: Final = 512  # images are copied often, and their tables are small


class MemoryRows:
    """What is on the disk in place of `index.sqlite`."""

    def __init__(self, fails: Callable[[], bool] = lambda: False) -> None:
        """`fails` says of each access whether it fails."""
        self.fails = fails
        self.images: list[bytes] = []
        self._current: MemoryRowFile | None = None

    def file(self, path: str) -> RowFile:
        """The file, as one process uses it; the port `row_file`."""
        self._current = MemoryRowFile(path, self)
        return self._current

    def keep(self, image: bytes) -> None:
        """A transaction was committed."""
        self.images = [*self.images[1 - IMAGES_MAX :], image]

    def crash(self, random: Random | None = None) -> None:
        """The process is no more; None keeps all that was committed."""
        if self._current is not None:
            self._current.close()
            self._current = None
        if random is None or not self.images:
            return
        match random.choice(("newest", "older", "none")):
            case "older":
                self.images = self.images[: random.randint(1, len(self.images))]
            case "none":
                self.images = []


class MemoryRowFile(RowFile):
    """One connection for all, since calls are made one at a time."""

    def __init__(self, path: str, kept: MemoryRows) -> None:
        super().__init__(path)
        self._kept = kept
        self._connection = _connect()
        self._changes = 0

    def open(self, journal_uuid: str, journal_end: int | None) -> tuple[sqlite3.Connection, int]:
        if self._kept.images:
            self._connection.deserialize(self._kept.images[-1])
            through = reflected(self._connection, journal_uuid)
            if through is not None and (journal_end is None or through <= journal_end):
                return self._connection, through
            self._connection.close()
            self._connection = _connect()
            self._kept.images = []
        self._connection.deserialize(_empty())
        self._connection.execute("UPDATE meta SET journal_uuid = ?", (journal_uuid,))
        self._changes = self._connection.total_changes
        return self._connection, 0

    def connect_reading(self) -> sqlite3.Connection:
        return self._connection

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Fail when it is time to, or keep an image of what was committed."""
        if self._kept.fails():
            raise sqlite3.OperationalError("disk I/O error")
        yield
        if self._connection.total_changes != self._changes:
            self._changes = self._connection.total_changes
            self._kept.keep(self._connection.serialize())

    def close(self) -> None:
        self._connection.close()


@cache
def _empty() -> bytes:
    """Tables without rows; made once, for it takes longer than all else that a small world does with them."""
    connection = _connect()
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    create_rows(connection, "")
    return connection.serialize()


def _connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
