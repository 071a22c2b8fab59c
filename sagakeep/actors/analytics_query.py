"""The question behind analytics, in SQL: a few rows come back, whatever the number of sagas that are looked at.

All counting and sorting is SQLite's, in one call for each part of the answer: Python lets go of its lock for
that long, while row by row it would have to win it back from the loop each time.

    chosen    the newest sagas that meet the query, at most its limit
    kept      their rows
    called    the calls of their steps, from the figures that the row of a saga at rest has
              (`sagakeep.step_figures.StepFigures`, an array each, in the order of its fields; what is missing at
              its end has the default)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sagakeep import limits
from sagakeep.actors.saga_query import Value
from sagakeep.analytics import (
    DIGITS,
    PERCENTILES,
    Analytics,
    CallFigures,
    Failure,
    NameFigures,
    Ranks,
)
from sagakeep.saga_status import SagaStatus


class Chosen(NamedTuple):
    """Which sagas are looked at: a statement for their ids, the newest first, and how many at most."""

    sql: str
    values: tuple[Value, ...]
    limit: int


_KEPT: Final = """WITH chosen AS ({chosen} LIMIT ?),
kept AS (
    SELECT saga.name, saga.status, saga.updated_us - saga.created_us AS took, saga.steps
    FROM chosen CROSS JOIN saga ON saga.saga_id = chosen.saga_id
)"""
_FIELDS: Final = (
    "name, json_extract(one.value, '$[0]') AS step_id, '{phase}' AS phase,"
    " json_extract(one.value, '$[1]') AS service, json_extract(one.value, '$[2]') AS action,"
    " json_extract(one.value, '$[{attempts}]') AS attempts,"
    " json_extract(one.value, '$[{took}]') AS took, json_extract(one.value, '$[{error}]') AS error"
)
_ACTIONS: Final = _FIELDS.format(phase="action", attempts=3, took=4, error=5)
_UNDOS: Final = _FIELDS.format(phase="compensation", attempts=6, took=7, error=8)
_UNDONE: Final = "status <> 'completed'"  # most sagas; nothing of them failed, or was undone


def _cut(took: str) -> str:
    """As `sagakeep.analytics.cut_us`, of what takes less than a year."""
    cases = [
        f"WHEN {took} < {10**size} THEN {took} / {10 ** (size - DIGITS)} * {10 ** (size - DIGITS)}"
        for size in range(DIGITS, 15)
    ]
    return f"CASE {' '.join(cases)} ELSE {took} END"


def _ranks(place: str, count: str) -> str:
    """The values at PERCENTILES of what is sorted by `took`; `place` counts up to each value."""
    return ", ".join(
        f"min(CASE WHEN {place} * 100 >= {count} * {percent} THEN took END)"
        for percent in PERCENTILES
    )


_COUNT: Final = "SELECT count(*) FROM kept"
_NAMES: Final = """, most AS (
    SELECT name, count(*) AS sagas, count(*) OVER () AS names FROM kept
    GROUP BY name ORDER BY sagas DESC, name LIMIT ?
)
SELECT most.name, most.names, kept.status, count(*) FROM most CROSS JOIN kept ON kept.name = most.name
GROUP BY most.name, kept.status ORDER BY most.sagas DESC, most.name, kept.status"""
_DURATIONS: Final = f""", placed AS (
    SELECT name, took, row_number() OVER (PARTITION BY name ORDER BY took) AS place,
        count(*) OVER (PARTITION BY name) AS all_of FROM kept WHERE status = 'completed'
)
SELECT name, {_ranks("place", "all_of")} FROM placed
WHERE name IN (SELECT name FROM kept GROUP BY name ORDER BY count(*) DESC, name LIMIT ?) GROUP BY name"""
_CALLS: Final = f""", called AS (
    SELECT {_ACTIONS} FROM kept CROSS JOIN json_each(kept.steps) AS one
    UNION ALL SELECT {_UNDOS} FROM kept CROSS JOIN json_each(kept.steps) AS one WHERE {_UNDONE}
), counted AS (
    SELECT name, step_id, phase, service, action, {_cut("took")} AS took, count(*) AS calls,
        sum(attempts) AS attempts FROM called WHERE took IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6
), placed AS (
    SELECT *, sum(calls) OVER (PARTITION BY name, step_id, phase, service, action ORDER BY took) AS place,
        sum(calls) OVER (PARTITION BY name, step_id, phase, service, action) AS all_of FROM counted
)
SELECT name, step_id, phase, service, action, sum(calls), sum(attempts) * 1.0 / sum(calls),
    {_ranks("place", "all_of")} AS slowest, count(*) OVER () FROM placed
GROUP BY name, step_id, phase, service, action
ORDER BY slowest DESC, name, step_id, phase, service, action LIMIT ?"""
_FAILURES: Final = f""", called AS (
    SELECT {_ACTIONS} FROM kept CROSS JOIN json_each(kept.steps) AS one WHERE {_UNDONE}
    UNION ALL SELECT {_UNDOS} FROM kept CROSS JOIN json_each(kept.steps) AS one WHERE {_UNDONE}
)
SELECT name, step_id, phase, error, count(*) AS sagas, count(*) OVER () FROM called WHERE error <> ''
GROUP BY name, step_id, phase, error ORDER BY sagas DESC, name, step_id, phase, error LIMIT ?"""


def analyse(connection: sqlite3.Connection, chosen: Chosen) -> Analytics:
    """Look at the sagas, as they are at one moment."""

    def ask(rest: str, *bounds: int) -> list[tuple[Any, ...]]:
        sql = _KEPT.format(chosen=chosen.sql) + rest
        return connection.execute(sql, (*chosen.values, chosen.limit, *bounds)).fetchall()

    with connection:
        connection.execute("BEGIN")
        [(sagas,)] = ask(_COUNT)
        is_whole = sagas < chosen.limit or _count_all(connection, chosen) == sagas
        names, names_count = _names(
            ask(_NAMES, limits.ANALYTICS_NAMES_MAX), ask(_DURATIONS, limits.ANALYTICS_NAMES_MAX)
        )
        calls = ask(_CALLS, limits.ANALYTICS_CALLS_MAX)
        failures = ask(_FAILURES, limits.ANALYTICS_FAILURES_MAX)
    return Analytics(
        sagas,
        is_whole,
        names,
        tuple(map(_call_figures, calls)),
        tuple(Failure(*one[:-1]) for one in failures),
        (names_count - len(names), _left_out(calls), _left_out(failures)),
    )


def _count_all(connection: sqlite3.Connection, chosen: Chosen) -> int:
    """How many there are, up to one more than are looked at."""
    sql = f"SELECT count(*) FROM ({chosen.sql} LIMIT ?)"
    [(count,)] = connection.execute(sql, (*chosen.values, chosen.limit + 1)).fetchall()
    return int(count)


def _names(
    counts: Iterable[tuple[str, int, str, int]], durations: Iterable[tuple[Any, ...]]
) -> tuple[tuple[NameFigures, ...], int]:
    taken = {name: _seconds(ranks) for name, *ranks in durations}
    by_name: dict[str, dict[SagaStatus, int]] = {}
    names_count = 0
    for name, all_names, status, count in counts:
        names_count = all_names
        by_name.setdefault(name, {})[SagaStatus(status)] = count
    nothing: Ranks = (None,) * len(PERCENTILES)
    figures = tuple(NameFigures(name, by, taken.get(name, nothing)) for name, by in by_name.items())
    return figures, names_count


def _call_figures(row: tuple[Any, ...]) -> CallFigures:
    name, step_id, phase, service, action, calls, attempts_mean, *ranks, _all = row
    return CallFigures(name, step_id, phase, service, action, calls, attempts_mean, _seconds(ranks))


def _left_out(rows: list[tuple[Any, ...]]) -> int:
    """The last column of each says how many there would be without a bound."""
    return int(rows[0][-1]) - len(rows) if rows else 0


def _seconds(ranks_us: Iterable[int | None]) -> Ranks:
    return tuple(None if one is None else one / 1e6 for one in ranks_us)
