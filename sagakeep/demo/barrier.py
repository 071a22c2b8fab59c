"""The barrier of the demo services: what an action, an undo or a probe means after what came before.

Theory of operation. A service of a saga must take three things that arrive in any order and more than
once: an action, its undo, and a question about the action. The ledger is the barrier that makes this
safe; what each of them means is in the table of `sagakeep.participant.rules`, which this ledger shares
with everybody's services. It adds what a demonstration needs: what was done stands beside the rows, and
a call can be unavailable n times before it is done, which is not done yet.

An undo names the key of its action; it is about that one, and bars that one when it never came.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final, NamedTuple

from sagakeep.participant.call import SagaCall
from sagakeep.participant.rules import Row, Ruling, State, rule_again, rule_probe, rule_undo
from sagakeep.service import DONE, Call, ServiceRefused, ServiceUnavailable

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
    row = _row_of(entry)
    if row is not None:
        return _again(row, entry, deed)
    entry = entry._replace(attempts=entry.attempts + 1)
    if deed.refusal:
        _put(connection, entry._replace(state="refused"))
        return ServiceRefused(deed.refusal)
    if entry.attempts <= deed.times_unavailable:
        _put(connection, entry._replace(state="unavailable"))
        count = f"{entry.attempts} of {deed.times_unavailable} times"
        return ServiceUnavailable(f"{entry.service}.{entry.action} is unavailable, {count}")
    if entry.phase == "compensation":
        return _undo(connection, call, entry, deed.undone_as)
    _put(connection, entry._replace(state="done", result=json.dumps(deed.result)))
    return deed.result


def _again(row: Row, entry: Entry, deed: Deed) -> Result | Exception:
    if rule_again(row, "", False) is Ruling.TOO_LATE:
        how = f"{entry.undone_by} came before it"
        if row.state is State.UNDONE:
            how = f"it was undone by {entry.undone_by}"
        return ServiceRefused(f"too late: {how}")
    if row.state is State.REFUSED:
        return ServiceRefused(deed.refusal or "it was refused before")
    return _result_of(entry)


def _probe(connection: sqlite3.Connection, entry: Entry) -> Result:
    row = _row_of(entry)
    if rule_probe(row, False) is Ruling.KNOWN:
        return {"outcome": "done", "result": _result_of(entry)}
    if row is None:
        _put(connection, entry._replace(state="barred", undone_by="a probe"))
    return {"outcome": "not_done"}


def _undo(connection: sqlite3.Connection, call: Call, undo: Entry, undone_as: str) -> Result:
    """Undo the action, or bar it where it has not come."""
    action = _find(connection, call.action_key) or undo._replace(
        key=call.action_key, phase="action", epoch=_epoch_of(call.action_key), attempts=0
    )
    row = _row_of(action)
    wish = SagaCall(undo.key, "compensation", action.key, call.outcome is DONE)
    is_work = rule_undo(row, wish, False) is Ruling.WORK
    result: Result = {undone_as: False}
    if is_work:
        result = {**_result_of(action), undone_as: True}
    if is_work or row is None:
        state = "undone" if is_work else "barred"
        _put(connection, action._replace(state=state, undone_by=undo.key))
    _put(connection, undo._replace(state="done", result=json.dumps(result)))
    return result


def _row_of(entry: Entry) -> Row | None:
    """The entry as the rules know it; one that only was unavailable is none."""
    if entry.state in ("", "unavailable"):
        return None
    return Row(entry.key, State(entry.state), undone_by=entry.undone_by)


def _entry_of(call: Call) -> Entry:
    """The entry of a call that has not come before; a probe asks about the action."""
    return Entry(
        key=call.idempotency_key,
        service=call.service,
        saga_id=call.saga_id,
        step_id=call.step_id,
        phase="compensation" if call.phase == "compensation" else "action",
        epoch=_epoch_of(call.idempotency_key),
        action=call.action,
        state="",
    )


def _epoch_of(key: str) -> int:
    epoch = key.rpartition("/")[2]
    return int(epoch) if epoch.isdecimal() else 1


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
