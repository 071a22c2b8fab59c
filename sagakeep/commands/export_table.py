"""The two tables of an export: a row for each saga, and a row for each step. Their columns only ever grow.

Every column has one type, so that the table can become a Parquet file as it is: text, integer, number (seconds)
or time (UTC, microseconds, RFC 3339). Only columns that are nullable have nulls; an empty text is a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sagakeep.published import SagaView
from sagakeep.saga_status import FINAL

Cell = str | int | float | None


class Column(NamedTuple):
    """A column: `kind` is text, integer, number or time."""

    name: str
    kind: str
    nullable: bool = False


SAGA_COLUMNS: Final = (
    Column("saga_id", "text"),
    Column("name", "text"),
    Column("status", "text"),
    Column("created_at", "time"),
    Column("updated_at", "time"),
    Column("deadline", "time", nullable=True),
    Column("duration_s", "number", nullable=True),
    Column("steps", "integer"),
    Column("steps_completed", "integer"),
    Column("steps_failed", "integer"),
    Column("retry_count", "integer"),
    Column("on_failure", "text"),
    Column("reason", "text"),
    Column("error", "text"),
    Column("tags", "text"),
)
STEP_COLUMNS: Final = (
    Column("saga_id", "text"),
    Column("saga_name", "text"),
    Column("saga_created_at", "time"),
    Column("position", "integer"),
    Column("step_id", "text"),
    Column("service", "text"),
    Column("action", "text"),
    Column("compensation", "text"),
    Column("kind", "text"),
    Column("status", "text"),
    Column("outcome", "text", nullable=True),
    Column("retry_count", "integer"),
    Column("next_attempt_at", "time", nullable=True),
    Column("error", "text"),
    Column("depends_on", "text"),
    Column("attempts", "integer"),
    Column("started_at", "time", nullable=True),
    Column("ended_at", "time", nullable=True),
    Column("duration_s", "number", nullable=True),
    Column("error_code", "text"),
)
TABLES: Final[Mapping[str, tuple[Column, ...]]] = {"sagas": SAGA_COLUMNS, "steps": STEP_COLUMNS}


def rows_of(table: str, saga: SagaView) -> Iterator[Sequence[Cell]]:
    """The rows of a saga in a table, their cells in the order of the columns."""
    if table == "sagas":
        yield _saga_row(saga)
    else:
        yield from _step_rows(saga)


def _saga_row(saga: SagaView) -> Sequence[Cell]:
    return (
        saga["id"],
        saga["name"],
        saga["status"],
        saga["createdAt"],
        saga["updatedAt"],
        saga["deadline"],
        duration_s_of(saga),
        len(saga["steps"]),
        len(saga["completedSteps"]),
        len(saga["failedSteps"]),
        saga["retryCount"],
        saga["onFailure"],
        saga["reason"],
        saga["error"],
        _text(saga["tags"]),
    )


def _step_rows(saga: SagaView) -> Iterator[Sequence[Cell]]:
    for position, step in enumerate(saga["steps"], 1):
        yield (
            saga["id"],
            saga["name"],
            saga["createdAt"],
            position,
            step["id"],
            step["service"],
            step["action"],
            step["compensation"],
            step["kind"],
            step["status"],
            step["outcome"],
            step["retryCount"],
            step["nextAttemptAt"],
            step["error"],
            _text(step["dependsOn"]),
            step["attempts"],
            step["startedAt"],
            step["endedAt"],
            _seconds(step["startedAt"], step["endedAt"]),
            step["errorCode"],
        )


def duration_s_of(saga: SagaView) -> float | None:
    """From the creation to the last change, of a saga that is final."""
    if saga["status"] not in FINAL:
        return None
    return _seconds(saga["createdAt"], saga["updatedAt"])


def _seconds(since: str | None, until: str | None) -> float | None:
    if since is None or until is None:
        return None
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
