"""Rows: one row a saga, in SQLite: written in large transactions, found by id or key, listed newest first.

Everything here blocks and belongs in threads; `sagakeep.actors.read_model` is the side that awaits.

Four connections: one writes, three only read (look-ups, lists and analytics, so that what takes long delays
no look-up). In WAL mode none waits for another.

An insert holds many rows, because Python lets go of its lock for each statement and has to win it back
from the event loop: beside a busy loop, rows one by one take twice as long.

A deleted saga keeps its row, for its id and its idempotency key are never used again; it is in no list
index (they are partial) and loses its tags and figures. `deleted` is 1 until its records are erased, then 2.

A saga at rest has in its row the figures of its steps, as a JSON array: a row for each of them would cost three
times as much at every end of a saga, and look-ups and deletions of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from itertools import chain, islice
from typing import Final

import msgspec

from sagakeep.actors.analytics_query import Chosen, analyse
from sagakeep.actors.row_file import RowFile, number
from sagakeep.actors.saga_query import (
    Place,
    SagaQuery,
    Scan,
    Value,
    count_sql,
    encode_cursor,
    ids_sql,
    length_sql,
    microseconds,
    page_sql,
    scans,
)
from sagakeep.analytics import Analytics
from sagakeep.state import MOVING, SagaState, SagaStatus
from sagakeep.step_figures import compact_figures_of

Entry = tuple[SagaState, tuple[int, int]]  # a state, and the position of the record that led to it

IDS_AT_ONCE: Final = 500  # of one look-up; SQLite allows 999 or more
SCAN_LENGTH_MAX: Final = 10_000  # entries counted to compare scans; 0.5 ms each

_ROWS_AT_ONCE: Final = (1024, 16, 1)  # of one INSERT; few sizes, so that all stay prepared
_NO_FIGURES: Final = "[]"
_GROUP: Final = 4_096  # entries that are turned into rows at a time

_COLUMNS: Final = (
    "saga.saga_id, saga.name, saga.status, saga.created_us, saga.updated_us, saga.frame, saga.offset,"
    " saga.deleted, saga.body_digest"
)
_UPSERT: Final = (
    " ON CONFLICT (saga_id) DO UPDATE SET status = excluded.status, updated_us = excluded.updated_us,"
    " frame = excluded.frame, offset = excluded.offset, deleted = excluded.deleted,"
    " body_digest = excluded.body_digest, steps = excluded.steps"
)


def _insert(table: str, width: int, rows: int, end: str = "") -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}{end}"


_WRITE_SAGAS: Final = {size: _insert("saga", 11, size, _UPSERT) for size in _ROWS_AT_ONCE}
_WRITE_TAGS: Final = {
    size: _insert("tag", 4, size, " ON CONFLICT DO NOTHING") for size in _ROWS_AT_ONCE
}
_DROP_TAG: Final = "DELETE FROM tag WHERE key = ? AND value = ? AND created_us = ? AND saga_id = ?"
_ERASE: Final = "UPDATE saga SET deleted = 2, name = '' WHERE saga_id = ? AND deleted = 1"
_UNERASED: Final = (
    f"SELECT {_COLUMNS} FROM saga INDEXED BY by_erasure"
    " WHERE deleted = 1 AND (frame, offset) > (?, ?) AND frame < ? ORDER BY frame, offset LIMIT ?"
)
_TAGGED: Final = (
    "SELECT saga_id FROM tag WHERE key = ? AND value = ? AND created_us BETWEEN ? AND ?"
)
_FIND: Final = f"SELECT {_COLUMNS} FROM saga WHERE saga_id = ?"
_FIND_KEY: Final = (
    f"SELECT {_COLUMNS} FROM saga INDEXED BY by_key WHERE idempotency_key = ? AND idempotency_key <> ''"
    " ORDER BY created_us LIMIT 1"
)


class Row(msgspec.Struct, frozen=True, gc=False):
    """A saga in a list; its times are in whole microseconds.

    `frame` and `offset` are the position of the saga's last record in the journal; the rest of the saga
    is read from there.
    """

    saga_id: str
    name: str
    status: SagaStatus
    created_at_utc_s: float
    updated_at_utc_s: float
    frame: int
    offset: int
    deleted: bool = False
    body_digest: bytes = b""


class RowPage(msgspec.Struct, frozen=True, gc=False):
    """Rows by (time of creation, id) descending; `next_cursor` is "" when nothing follows."""

    rows: tuple[Row, ...]
    next_cursor: str = ""


def row_of(state: SagaState, position: tuple[int, int]) -> Row:
    """The row of a state, the same as comes back once it was written."""
    return Row(
        saga_id=state.id,
        name=state.definition.name,
        status=state.status,
        created_at_utc_s=microseconds(state.created_at_utc_s) / 1e6,
        updated_at_utc_s=microseconds(state.updated_at_utc_s) / 1e6,
        frame=position[0],
        offset=position[1],
        deleted=state.deleted,
        body_digest=b"" if state.deleted else state.body_digest,
    )


class Rows:
    """The file. `write` may run in one thread at a time, look-ups in one, lists and counts in one,
    analytics in one."""

    def __init__(self, file: RowFile) -> None:
        self._file = file
        self._writing: sqlite3.Connection
        self._finding: sqlite3.Connection
        self._listing: sqlite3.Connection
        self._counting: sqlite3.Connection

    def open(self, journal_uuid: str, journal_end: int | None) -> int:
        """Open the file, or an empty one in its place; return the position that its rows reflect."""
        self._writing, applied_through = self._file.open(journal_uuid, journal_end)
        self._finding = self._file.connect_reading()
        self._listing = self._file.connect_reading()
        self._counting = self._file.connect_reading()
        return applied_through

    def close(self) -> None:
        """Close all connections; the last one, which writes, tidies the write-ahead log away."""
        for connection in (self._finding, self._listing, self._counting, self._writing):
            connection.close()

    def write(self, entries: Collection[Entry], applied_through: int) -> None:
        """Insert or update the entries' rows and move `applied_through`, in one transaction."""
        with self._file.watch(), self._writing:
            self._writing.execute("BEGIN")
            waiting = iter(entries)
            while group := list(islice(waiting, _GROUP)):
                self._write_group(group)
            self._writing.execute("UPDATE meta SET applied_through = ?", (applied_through,))

    def erase(self, saga_ids: Sequence[str]) -> None:
        """Their records are erased: forget what of them is not needed, and leave it in no file."""
        with self._file.watch():
            with self._writing:
                self._writing.execute("BEGIN")
                self._writing.executemany(_ERASE, [(saga_id,) for saga_id in saga_ids])
            self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def tagged(self, tag: tuple[str, str], first_us: int, last_us: int) -> set[str]:
        """The sagas with a tag that were created between two times, in microseconds, both included."""
        with self._file.watch():
            found = self._listing.execute(_TAGGED, (*tag, first_us, last_us)).fetchall()
        return {saga_id for (saga_id,) in found}

    def unerased(self, after: tuple[int, int], below: int, limit: int) -> list[Row]:
        """The first deleted sagas with records that are not erased, by the position of their last one.

        Only those whose last record stands behind the position `after`, in a frame below the position `below`.
        """
        with self._file.watch():
            found = self._finding.execute(_UNERASED, (*after, below, limit)).fetchall()
        return [_row(values) for values in found]

    def find(self, saga_id: str) -> Row | None:
        """The row of this id, deleted or not."""
        return self._find_one(_FIND, saga_id)

    def find_key(self, idempotency_key: str) -> Row | None:
        """The first saga that was created under the key, deleted or not."""
        return self._find_one(_FIND_KEY, idempotency_key)

    def find_many(self, saga_ids: Sequence[str]) -> dict[str, Row]:
        """The rows that there are of these ids, deleted or not."""
        found: dict[str, Row] = {}
        for start in range(0, len(saga_ids), IDS_AT_ONCE):
            some = saga_ids[start : start + IDS_AT_ONCE]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT {_COLUMNS} FROM saga WHERE saga_id IN ({marks})"
            with self._file.watch():
                rows = [_row(values) for values in self._finding.execute(sql, some).fetchall()]
            found.update((row.saga_id, row) for row in rows)
        return found

    def page(self, query: SagaQuery) -> RowPage:
        """The rows that meet the query. Raises BadCursor."""
        with self._file.watch():
            sql, values = page_sql(
                query, self._shortest_scan(query, self._listing), _COLUMNS, query.limit + 1
            )
            found = self._listing.execute(sql, values).fetchall()
        rows = tuple(_row(values) for values in found[: query.limit])
        if len(found) <= query.limit:
            return RowPage(rows)
        last = rows[-1]
        return RowPage(
            rows, encode_cursor(Place(microseconds(last.created_at_utc_s), last.saga_id))
        )

    def count(self, query: SagaQuery) -> int:
        """How many rows meet the query, from its cursor on? Raises BadCursor."""
        with self._file.watch():
            sql, values = count_sql(query, self._shortest_scan(query, self._listing))
            return number(self._listing.execute(sql, values))

    def analyse(self, query: SagaQuery) -> Analytics:
        """What the newest `query.limit` sagas that meet the query have in common."""
        with self._file.watch():
            chosen = ids_sql(query, self._shortest_scan(query, self._counting))
            return analyse(self._counting, Chosen(*chosen, query.limit))

    def _find_one(self, sql: str, value: str) -> Row | None:
        with self._file.watch():
            found = self._finding.execute(sql, (value,)).fetchall()
        return _row(found[0]) if found else None

    def _shortest_scan(self, query: SagaQuery, connection: sqlite3.Connection) -> Scan:
        found = scans(query)
        if len(found) == 1:
            return found[0]
        return min(
            found, key=lambda scan: number(connection.execute(*length_sql(scan, SCAN_LENGTH_MAX)))
        )

    def _write_group(self, group: list[Entry]) -> None:
        self._write_rows(_WRITE_SAGAS, [_values(state, position) for state, position in group])
        tagged = [state for state, _ in group if state.definition.tags]
        tags = [tag for state in tagged if not state.deleted for tag in _tag_values(state)]
        gone = [tag for state in tagged if state.deleted for tag in _tag_values(state)]
        self._write_rows(_WRITE_TAGS, tags)
        self._writing.executemany(_DROP_TAG, gone)

    def _write_rows(self, statements: dict[int, str], rows: list[tuple[Value, ...]]) -> None:
        start = 0
        for size, statement in statements.items():
            while len(rows) - start >= size:
                some = rows[start : start + size]
                self._writing.execute(statement, tuple(chain.from_iterable(some)))
                start += size


def _row(values: tuple[str, str, str, int, int, int, int, int, bytes]) -> Row:
    saga_id, name, status, created_us, updated_us, frame, offset, deleted, digest = values
    return Row(
        saga_id,
        name,
        SagaStatus(status),
        created_us / 1e6,
        updated_us / 1e6,
        frame,
        offset,
        bool(deleted),
        digest,
    )


def _values(state: SagaState, position: tuple[int, int]) -> tuple[Value, ...]:
    return (
        state.id,
        state.definition.name,
        state.status.value,
        microseconds(state.created_at_utc_s),
        microseconds(state.updated_at_utc_s),
        *position,
        state.deleted,
        b"" if state.deleted else state.body_digest,
        state.idempotency_key,  # never None: sqlite3 looks for an adapter for it, as long as for half a row
        _NO_FIGURES if state.deleted or state.status in MOVING else _figures(state),
    )


def _figures(state: SagaState) -> str:
    return msgspec.json.encode(compact_figures_of(state)).decode()


def _tag_values(state: SagaState) -> list[tuple[Value, ...]]:
    created_us = microseconds(state.created_at_utc_s)
    return [(key, value, created_us, state.id) for key, value in state.definition.tags.items()]
