"""The table of calls: one row for each key, in the service's own database.

Whoever inserts the row of a key is at work on it. The primary key decides between two that come at once, no look
before the insert does; in PostgreSQL the second waits there for the end of the first one's transaction, in SQLite
for the database. So the table wants a database that has `INSERT ... ON CONFLICT DO NOTHING` (SQLite since 3.24,
PostgreSQL since 9.5, and what speaks like them).

A statement is written once, with `?`; drivers that want `%s` (psycopg and its kin) get that.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Final, Protocol

from sagakeep.participant.answer import answer_of_text
from sagakeep.participant.rules import Row, State

NAME: Final = "saga_calls"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS {table} (
    call_key VARCHAR(512) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    claim VARCHAR(64) NOT NULL,
    undone_by VARCHAR(512) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    answer TEXT NOT NULL,
    at_utc_s DOUBLE PRECISION NOT NULL
)
""".strip()
_INDEX: Final = "CREATE INDEX IF NOT EXISTS {index}_by_time ON {table} (at_utc_s)"
_COLUMNS: Final = "call_key, state, claim, undone_by, digest, answer, at_utc_s"
_INSERT: Final = (
    f"INSERT INTO {{table}} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (call_key) DO NOTHING"
)
_FIND: Final = f"SELECT {_COLUMNS} FROM {{table}} WHERE call_key = ?"
_REPLACE: Final = (
    "UPDATE {table} SET state = ?, claim = ?, undone_by = ?, digest = ?, answer = ?, at_utc_s = ?"
    " WHERE call_key = ? AND state = ? AND claim = ? AND undone_by = ?"
)
_DELETE: Final = "DELETE FROM {table} WHERE call_key = ? AND state = ? AND claim = ?"
_EXPIRE: Final = (
    "DELETE FROM {table} WHERE call_key IN"
    " (SELECT call_key FROM {table} WHERE at_utc_s < ? ORDER BY at_utc_s LIMIT ?)"
)
_PLACES: Final = {"qmark": "?", "format": "%s", "pyformat": "%s"}


class Cursor(Protocol):
    """What is used of a driver's cursor (DB-API 2.0, PEP 249)."""

    @property
    def rowcount(self) -> int: ...
    def execute(self, operation: str, parameters: Sequence[object], /) -> object: ...
    def fetchone(self) -> object: ...
    def close(self) -> None: ...


class Connection(Protocol):
    """What is used of a driver's connection; the transaction is its user's."""

    def cursor(self) -> Cursor: ...


def schema(name: str = NAME) -> tuple[str, str]:
    """Return the statements that make the table and its index; they may be repeated.

    Raises ValueError for a bad name.
    """
    table = _checked(name)
    return _SCHEMA.format(table=table), _INDEX.format(table=table, index=table.split(".")[-1])


class CallTable:
    """The rows as one connection sees them, in the transaction that it has open.

    Raises TypeError when the driver's paramstyle is not known and not given, ValueError for a bad name.
    """

    def __init__(self, connection: Connection, *, name: str = NAME, paramstyle: str = "") -> None:
        self._connection = connection
        self._name = _checked(name)
        self._place = _PLACES.get(paramstyle or _paramstyle_of(connection), "")
        if not self._place:
            kind = type(connection)
            raise TypeError(
                f"the paramstyle of {kind.__module__}.{kind.__qualname__} is not known:"
                f" give one of {', '.join(_PLACES)}"
            )

    def create(self) -> None:
        for statement in schema(self._name):
            self._run(statement, ()).close()

    def insert(self, row: Row) -> bool:
        """Add a row; False when its key is there, whoever put it."""
        return self._count(_INSERT, (row.key, *_values(row))) == 1

    def find(self, key: str) -> Row | None:
        cursor = self._run(_FIND, (key,))
        try:
            found = cursor.fetchone()
        finally:
            cursor.close()
        return _row(*found) if isinstance(found, tuple | list) else None

    def replace(self, old: Row, new: Row) -> bool:
        """Put a new row in the place of an old one; False when that has changed."""
        was = (old.key, old.state.value, old.claim, old.undone_by)
        return self._count(_REPLACE, (*_values(new), *was)) == 1

    def delete(self, row: Row) -> bool:
        return self._count(_DELETE, (row.key, row.state.value, row.claim)) == 1

    def expire(self, before_utc_s: float, rows_max: int) -> int:
        """Delete the oldest rows; return how many."""
        return self._count(_EXPIRE, (before_utc_s, rows_max))

    def _count(self, statement: str, parameters: Sequence[object]) -> int:
        cursor = self._run(statement, parameters)
        count = cursor.rowcount
        cursor.close()
        return count

    def _run(self, statement: str, parameters: Sequence[object]) -> Cursor:
        text = statement.format(table=self._name).replace("?", self._place)
        cursor = self._connection.cursor()
        try:
            cursor.execute(text, parameters)
        except BaseException:
            cursor.close()
            raise
        return cursor


def _paramstyle_of(connection: object) -> str:
    """Find the paramstyle of the driver that a connection is of; "" when it does not say."""
    for kind in type(connection).__mro__:
        names = kind.__module__.split(".")
        for count in range(len(names), 0, -1):
            style = getattr(sys.modules.get(".".join(names[:count])), "paramstyle", None)
            if isinstance(style, str):
                return style
    return ""


def _values(row: Row) -> tuple[object, ...]:
    """The columns behind the key."""
    answer = row.answer.to_text() if row.answer is not None else ""
    return row.state.value, row.claim, row.undone_by, row.digest, answer, row.at_utc_s


def _row(
    key: str, state: str, claim: str, undone_by: str, digest: str, answer: str, at_utc_s: float
) -> Row:
    kept = answer_of_text(answer) if answer else None
    return Row(key, State(state), claim, undone_by, digest, kept, at_utc_s)


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,40}(\.[A-Za-z_][A-Za-z0-9_]{0,40})?", name):
        raise ValueError(f"{name!r} is no name of a table")
    return name
