"""The file of the rows: its schema, and the judgement whether it can be trusted.

The file is derived from the journal and disposable. `synchronous=NORMAL` in WAL mode costs an fsync for
a checkpoint, none for a commit: after a power failure the newest transactions may be missing, but what is
there is whole, and `applied_through` is of the same transaction, so the journal's tail fills the gap.

Against damage of any other kind: at `open` the header, the version of the schema, the journal's uuid and
the size of the file must be right (a look at every page takes too long); and whoever meets damage later
leaves a mark beside it, `PATH.damaged`. What is wrong is deleted and begun anew, at 0.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

SCHEMA_VERSION: Final = 4
WAIT_S: Final = 5.0  # for somebody who looks into the file with a tool

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREADABLE: Final = _DAMAGE | {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_ERROR}  # cut short, no table
_PAGES_BETWEEN_CHECKPOINTS: Final = 4_000  # 16 MB of write-ahead log

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE meta (journal_uuid TEXT NOT NULL, applied_through INTEGER NOT NULL);
CREATE TABLE saga (
    saga_id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL,
    created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    frame INTEGER NOT NULL, offset INTEGER NOT NULL, deleted INTEGER NOT NULL,
    body_digest BLOB NOT NULL, idempotency_key TEXT NOT NULL, steps TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_created ON saga (created_us, saga_id, deleted) WHERE deleted = 0;
CREATE INDEX by_status ON saga (status, created_us, saga_id, name, deleted) WHERE deleted = 0;
CREATE INDEX by_name ON saga (name, created_us, saga_id, deleted) WHERE deleted = 0;
CREATE INDEX by_erasure ON saga (frame, offset) WHERE deleted = 1;
CREATE INDEX by_key ON saga (idempotency_key, created_us) WHERE idempotency_key <> '';
CREATE TABLE tag (
    key TEXT NOT NULL, value TEXT NOT NULL, created_us INTEGER NOT NULL, saga_id TEXT NOT NULL,
    PRIMARY KEY (key, value, created_us, saga_id)
) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


class RowFile:
    """One path, and the SQLite file there; waits `wait_s` for a stranger's lock."""

    def __init__(self, path: str, *, wait_s: float = WAIT_S) -> None:
        self._path = path
        self._wait_s = wait_s
        self._damaged = Path(f"{path}.damaged")

    def open(self, journal_uuid: str, journal_end: int | None) -> tuple[sqlite3.Connection, int]:
        """A connection that writes, and the position that the rows reflect; an empty file if need be.

        `journal_end` is where the journal ends, None for not known: rows from beyond it are of records
        that are no more. Raises sqlite3.OperationalError or OSError when the path cannot be used.
        """
        if self._damaged.exists() or not os.path.exists(self._path):
            return self._create(journal_uuid), 0
        connection = self._connect("rwc")
        try:
            _tune(connection)
            applied_through = _applied_through(connection, self._path, journal_uuid)
        except sqlite3.DatabaseError as error:
            if _code(error) not in _UNREADABLE:
                connection.close()
                raise
            applied_through = None
        if applied_through is None or (journal_end is not None and applied_through > journal_end):
            connection.close()
            return self._create(journal_uuid), 0
        return connection, applied_through

    def connect_reading(self) -> sqlite3.Connection:
        """Another connection, which cannot write; after `open`."""
        return self._connect("ro")

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Leave the mark when damage is met, so that the next start builds the file anew."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if _code(error) in _DAMAGE:
                self._damaged.touch(mode=0o600)
            raise

    def _create(self, journal_uuid: str) -> sqlite3.Connection:
        """Make an empty file in the place of whatever is there; the mark of damage goes last."""
        for path in (f"{self._path}-wal", f"{self._path}-shm", self._path, str(self._damaged)):
            with suppress(FileNotFoundError):
                os.unlink(path)
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = self._connect("rwc")  # whose other files get the modes of this one
        connection.execute("PRAGMA journal_mode = WAL")
        _tune(connection)
        create_rows(connection, journal_uuid)
        return connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        """Connect without implicit transactions; the caller sees to one thread at a time."""
        address = f"{Path(self._path).absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(
            address, self._wait_s, uri=True, isolation_level=None, check_same_thread=False
        )


def create_rows(connection: sqlite3.Connection, journal_uuid: str) -> None:
    """Make the tables in an empty database; they reflect nothing of the journal yet."""
    connection.executescript(_SCHEMA)
    connection.execute("INSERT INTO meta VALUES (?, 0)", (journal_uuid,))


def number(cursor: sqlite3.Cursor) -> int:
    """The one number that a statement gives."""
    value: object = cursor.fetchone()[0]
    assert isinstance(value, int)
    return value


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is in the file no more
    connection.execute("PRAGMA cache_size = -8192")  # 8 MiB: the busy ends of six trees
    connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_BETWEEN_CHECKPOINTS}")


def _applied_through(connection: sqlite3.Connection, path: str, journal_uuid: str) -> int | None:
    """Read how far the rows are, None if they are of another schema or journal, or cut short."""
    if number(connection.execute("PRAGMA user_version")) != SCHEMA_VERSION:
        return None
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = number(connection.execute("PRAGMA page_count"))
    if os.path.getsize(path) != pages * number(connection.execute("PRAGMA page_size")):
        return None
    return reflected(connection, journal_uuid)


def reflected(connection: sqlite3.Connection, journal_uuid: str) -> int | None:
    """The position that the rows reflect, None if they are of another journal."""
    with closing(connection.execute("SELECT journal_uuid, applied_through FROM meta")) as cursor:
        found: list[tuple[object, object]] = cursor.fetchall()
    match found:
        case [(uuid, int(applied_through))] if uuid == journal_uuid:
            return applied_through
        case _:
            return None


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; errors of the Python module itself have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
