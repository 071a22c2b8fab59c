"""The barrier of the demo services: what an action, an undo or a probe means after what came before.

Theory of operation. A service of a saga must take three things that arrive in any order and more than
once: an action, its undo, and a question about the action. The ledger is the barrier that makes this
safe; a real service would keep the same rows in its own database, in the transaction of the deed.

    what comes                  what is there             what happens
    action                      nothing, refused          done; or refused
                                unavailable n times       once more, or done
                                done                      the same result again
                                undone, barred            refused: too late
    undo                        the action, done          undone
                                no such action            its place is barred, nothing else
    undo again                  the undo                  the same result again
    probe                       the action, done          done, and its result
                                no such action            not done, and its place is barred

An undo names its step, not the action's key; so it is about the step's latest action, and when that
one never came, about the one that would have been the next.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final, NamedTuple

from sagakeep.service import Call, ServiceRefused, ServiceUnavailable

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    service TEXT NOT NULL,
    saga_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    phase TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    result TEXT NOT NULL,
    undone_by TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_of_step ON entries (service, saga_id, step_id, phase, epoch);
"""
_COLUMNS: Final = (
    "key, service, saga_id, step_id, phase, epoch, action, state, attempts, result, undone_by"
)

Result = dict[str, object]


class Entry(NamedTuple):
    """One call. `state` is done, undone, refused, unavailable or barred; `result` is JSON."""

    key: str
    service: str
    saga_id: str
    step_id: str
    phase: str
    epoch: int
    action: str
    state: str
    attempts: int = 0
    result: str = "{}"
    undone_by: str = ""


class Deed(NamedTuple):
    """What a service would do for a call.

    A `refusal` is done instead of it. `times_unavailable` is how often the call fails before. The
    `result` is that of the action; `undone_as` names the member that its undo adds.
    """

    result: Result
    undone_as: str
    refusal: str = ""
    times_unavailable: int = 0


def read_entries(connection: sqlite3.Connection) -> list[Entry]:
    """Return all entries, in the order in which the calls first came."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY id")
    return [Entry(*row) for row in rows]


def settle(connection: sqlite3.Connection, call: Call, deed: Deed | None) -> Result | Exception:
    """Enter one call, in a transaction of the caller's, and answer it; an exception is to be raised.

    Without a deed it is a probe.
    """
    entry = _find(connection, call.idempotency_key) or _entry_of(call)
    if deed is None:
        return _probe(connection, entry)
    match entry.state:
        case "done":
            return _result_of(entry)
        case "undone":
            return ServiceRefused(f"too late: it was undone by {entry.undone_by}")
        case "barred":
            return ServiceRefused(f"too late: {entry.undone_by} came before it")
    entry = entry._replace(attempts=entry.attempts + 1)
    if deed.refusal:
        _put(connection, entry._replace(state="refused"))
        return ServiceRefused(deed.refusal)
    if entry.attempts <= deed.times_unavailable:
        _put(connection, entry._replace(state="unavailable"))
        count = f"{entry.attempts} of {deed.times_unavailable} times"
        return ServiceUnavailable(f"{entry.service}.{entry.action} is unavailable, {count}")
    if entry.phase == "compensation":
        return _undo(connection, entry, deed.undone_as)
    _put(connection, entry._replace(state="done", result=json.dumps(deed.result)))
    return deed.result


def _probe(connection: sqlite3.Connection, entry: Entry) -> Result:
    if entry.state == "done":
        return {"outcome": "done", "result": _result_of(entry)}
    if entry.state != "undone":
        _put(connection, entry._replace(state="barred", undone_by="a probe"))
    return {"outcome": "not_done"}


def _undo(connection: sqlite3.Connection, undo: Entry, undone_as: str) -> Result:
    """Undo the step's latest action, or bar the one that has not come."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM entries WHERE service = ? AND saga_id = ? AND step_id = ?"
        " AND phase = 'action' ORDER BY epoch DESC LIMIT 1",
        (undo.service, undo.saga_id, undo.step_id),
    )
    row = rows.fetchone()
    latest = Entry(*row) if row else None
    result: dict[str, object] = {undone_as: False}
    if latest is not None and latest.state == "done":
        result = {**_result_of(latest), undone_as: True}
        _put(connection, latest._replace(state="undone", undone_by=undo.key))
    elif latest is not None and latest.state == "unavailable":
        _put(connection, latest._replace(state="barred", undone_by=undo.key))
    else:
        epoch = latest.epoch + 1 if latest is not None else 1
        key = f"{undo.saga_id}/{undo.step_id}/action/{epoch}"
        _put(connection, undo._replace(key=key, phase="action", epoch=epoch, state="barred",
                                       attempts=0, undone_by=undo.key))  # fmt: skip
    _put(connection, undo._replace(state="done", result=json.dumps(result)))
    return result


def _entry_of(call: Call) -> Entry:
    """The entry of a call that has not come before; a probe asks about the action."""
    epoch = call.idempotency_key.rpartition("/")[2]
    return Entry(
        key=call.idempotency_key,
        service=call.service,
        saga_id=call.saga_id,
        step_id=call.step_id,
        phase="compensation" if call.phase == "compensation" else "action",
        epoch=int(epoch) if epoch.isdecimal() else 1,
        action=call.action,
        state="",
    )


def _result_of(entry: Entry) -> Result:
    result: Result = json.loads(entry.result)
    return result


def _find(connection: sqlite3.Connection, key: str) -> Entry | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE key = ?", (key,)).fetchone()
    return Entry(*row) if row else None


def _put(connection: sqlite3.Connection, entry: Entry) -> None:
    places = ", ".join("?" * len(entry))
    connection.execute(
        f"INSERT INTO entries ({_COLUMNS}) VALUES ({places}) ON CONFLICT (key) DO UPDATE SET"
        " state = excluded.state, attempts = excluded.attempts, result = excluded.result,"
        " undone_by = excluded.undone_by",
        entry,
    )
