"""A question for sagas, and the SQL that answers it, newest first.

`Scan` is where an answer starts: one range of one index, read backwards, so that a page costs what it
shows and not what the table holds.

    filter     scan
    none       by_created             (created_us, saga_id)
    status     by_status      (status, created_us, saga_id, name)
    name       by_name          (name, created_us, saga_id)
    a tag      tag's key  (key, value, created_us, saga_id)

With several filters there are several scans to choose from; `sagakeep.actors.rows` asks each how long it
is, up to a bound, and starts at the shortest. `INDEXED BY` and `CROSS JOIN` fix the rest of the plan:
SQLite has no statistics of a table that is written all the time, and its guess would be wrong on the day
it matters. Ids are chosen first, in the index alone if it knows enough; rows are read for those only.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

import msgspec

from sagakeep import limits
from sagakeep.errors import SagakeepError
from sagakeep.state import SagaStatus

Value = str | int | bytes | None  # what SQLite keeps

_MICROSECONDS_MAX: Final = (1 << 63) - 1
_TIME_S_MAX: Final = 9e12  # in microseconds still one of SQLite's integers
_CURSOR: Final = re.compile(rf"(\d{{1,19}}):({limits.NAME_PATTERN[1:-1]})")
_CURSOR_CHARS_MAX: Final = 256  # base64 of 19 digits and of the longest id


class BadCursor(SagakeepError):
    """The cursor is none of ours: begin again without one."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"cursor {cursor[:80]!r} is not one that was given out: begin without it")


class SagaQuery(msgspec.Struct, frozen=True, gc=False):
    """Which sagas; all filters must be met.

    The bounds are UTC seconds, inclusive, of the time of creation in whole microseconds. `limit` is at
    least 1; `cursor` is "" for the first page, else the `next_cursor` of the page before.
    """

    status: SagaStatus | None = None
    name: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    created_after: float | None = None
    created_before: float | None = None
    limit: int = limits.PAGE_DEFAULT
    cursor: str = ""


class Place(NamedTuple):
    """A place in the order of the list; a row there has been shown."""

    created_us: int
    saga_id: str


class Scan(NamedTuple):
    """One range of one index: the table, how to reach it, and what its entries must meet."""

    table: str
    source: str
    conditions: tuple[str, ...]
    values: tuple[Value, ...]
    tag: tuple[str, str] | None = None


def microseconds(utc_s: float) -> int:
    """The time as it is stored and compared: what RFC 3339 with six digits can say."""
    return round(utc_s * 1e6)


def encode_cursor(place: Place) -> str:
    """An opaque, URL-safe text for a place."""
    text = f"{place.created_us}:{place.saga_id}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> Place:
    """The place that `encode_cursor` was given. Raises BadCursor for any other text."""
    try:
        padding = "=" * (-len(cursor) % 4)
        text = urlsafe_b64decode(cursor[:_CURSOR_CHARS_MAX] + padding).decode("ascii")
    except ValueError as error:
        raise BadCursor(cursor) from error
    parts = _CURSOR.fullmatch(text)
    if parts is None or int(parts[1]) > _MICROSECONDS_MAX:
        raise BadCursor(cursor)
    place = Place(int(parts[1]), parts[2])
    if encode_cursor(place) != cursor:  # base64 has several spellings; one of them is ours
        raise BadCursor(cursor)
    return place


def scans(query: SagaQuery) -> list[Scan]:
    """Every range that holds all answers, of which one is to be read; at equal length the first."""
    found = []
    if query.status is not None:
        found.append(_saga_scan(query, "by_status", "saga.status = ?", query.status.value))
    if query.name is not None:
        found.append(_saga_scan(query, "by_name", "saga.name = ?", query.name))
    found += [_tag_scan(query, tag) for tag in query.tags]
    return found or [_saga_scan(query, "by_created")]


def length_sql(scan: Scan, bound: int) -> tuple[str, tuple[Value, ...]]:
    """How long is the scan? Counts to `bound` at most."""
    where = " AND ".join(scan.conditions)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {scan.source} WHERE {where} LIMIT ?)"
    return sql, (*scan.values, bound)


def page_sql(
    query: SagaQuery, scan: Scan, columns: str, rows_max: int
) -> tuple[str, tuple[Value, ...]]:
    """The first rows of the scan that meet the whole query, newest first."""
    chosen, values = ids_sql(query, scan)
    sql = (
        f"SELECT {columns} FROM ({chosen} LIMIT ?) AS chosen"
        " CROSS JOIN saga ON saga.saga_id = chosen.saga_id"
        " ORDER BY chosen.created_us DESC, chosen.saga_id DESC"
    )
    return sql, (*values, rows_max)


def ids_sql(query: SagaQuery, scan: Scan) -> tuple[str, tuple[Value, ...]]:
    """The ids of all that meet the query, newest first, in the order of the scan."""
    body, values = _body(query, scan)
    columns = f"{scan.table}.created_us, {scan.table}.saga_id"
    order = f"{scan.table}.created_us DESC, {scan.table}.saga_id DESC"
    return f"SELECT {columns} {body} ORDER BY {order}", values


def count_sql(query: SagaQuery, scan: Scan) -> tuple[str, tuple[Value, ...]]:
    """How many rows meet the query?"""
    body, values = _body(query, scan)
    return f"SELECT count(*) {body}", values


def _body(query: SagaQuery, scan: Scan) -> tuple[str, tuple[Value, ...]]:
    """FROM and WHERE: the scan, and a look at the other table for what the scan does not say.

    A tag needs no look at its saga to know that it is not deleted: the tags go with the deletion.
    """
    source, conditions, values = scan.source, list(scan.conditions), list(scan.values)
    if scan.table == "tag" and (query.status is not None or query.name is not None):
        source += " CROSS JOIN saga ON saga.saga_id = tag.saga_id"
    if query.status is not None and "by_status" not in source:
        conditions.append("saga.status = ?")
        values.append(query.status.value)
    if query.name is not None and "by_name" not in source:
        conditions.append("saga.name = ?")
        values.append(query.name)
    for tag in query.tags:
        if tag != scan.tag:
            conditions.append(
                "EXISTS (SELECT 1 FROM tag AS other WHERE other.key = ? AND other.value = ? AND"
                f" other.created_us = {scan.table}.created_us AND other.saga_id = {scan.table}.saga_id)"
            )
            values += tag
    return f"FROM {source} WHERE {' AND '.join(conditions)}", tuple(values)


def _tag_scan(query: SagaQuery, tag: tuple[str, str]) -> Scan:
    conditions, values = _range(query, "tag")
    return Scan(
        table="tag",
        source="tag",
        conditions=("tag.key = ?", "tag.value = ?", *conditions),
        values=(*tag, *values),
        tag=tag,
    )


def _saga_scan(query: SagaQuery, index: str, condition: str = "", value: str = "") -> Scan:
    conditions, values = _range(query, "saga")
    if condition:
        conditions, values = [condition, *conditions], [value, *values]
    return Scan(
        table="saga",
        source=f"saga INDEXED BY {index}",
        conditions=("saga.deleted = 0", *conditions),
        values=tuple(values),
    )


def _range(query: SagaQuery, table: str) -> tuple[list[str], list[Value]]:
    """The cursor and the bounds as one range: two upper ends would leave SQLite a choice."""
    conditions, values = list[str](), list[Value]()
    ends = list[Place]()
    if query.cursor:
        ends.append(decode_cursor(query.cursor))
    if query.created_before is not None:
        ends.append(Place(_bound_us(query.created_before) + 1, ""))
    if ends:
        conditions.append(f"({table}.created_us, {table}.saga_id) < (?, ?)")
        values += min(ends)
    if query.created_after is not None:
        conditions.append(f"{table}.created_us >= ?")
        values.append(_bound_us(query.created_after))
    return conditions, values


def _bound_us(utc_s: float) -> int:
    return microseconds(max(-_TIME_S_MAX, min(utc_s, _TIME_S_MAX)))
