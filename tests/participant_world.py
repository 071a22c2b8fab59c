"""A service with a ledger, behind the barrier and behind the middleware; and what both should come to.

`then` says what the service makes of a call that it is to work on:

    done      it does the work
    refuse    it refuses for good
    later     nothing was done yet
    raise     it does the work, and raises
    crash     it does the work, and the process ends
    die       the process ends before the work
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import NamedTuple

import trio

from sagakeep.participant import barrier, schema
from sagakeep.participant.middleware import SagaMiddleware
from sagakeep.participant.store import SqliteStore


class Crash(BaseException):
    """The process ends: nobody cleans up."""


class Broken(Exception):
    """The service's own bug."""


class Wanted(NamedTuple):
    """One request."""

    phase: str
    key: str
    action_key: str = ""
    is_known_done: bool = False
    then: str = "done"
    body: bytes = b"{}"

    def headers(self):
        headers = {"Idempotency-Key": self.key, "Saga-Phase": self.phase}
        if self.phase == "compensation":
            headers["Saga-Action-Key"] = self.action_key
            headers["Saga-Step-Outcome"] = "done" if self.is_known_done else "unknown"
        return headers


def words_of(status, headers, body):
    """Name an answer."""
    document = json.loads(body) if body else None
    match status, document:
        case 200, {"did": key}:
            return f"did {key}"
        case 200, {"undone": False}:
            return "empty"
        case 200, {"outcome": "done", "result": {"did": key}}:
            return f"known {key}"
        case 200, {"outcome": "not_done"}:
            return "not done"
        case 409, _:
            return "busy" if "retry-after" in headers else "too late"
        case 422, {"title": "Key reused"}:
            return "other body"
        case 422, _:
            return "refused"
        case 500, {"title": "In doubt"}:
            return "in doubt"
        case _:
            return f"{status} {document}"


class BehindBarrier:
    """Its ledger and the barrier's rows are in one transaction."""

    is_one_transaction = True

    def __init__(self, path):
        self.path = path
        with closing(sqlite3.connect(path)) as db, db:
            for statement in ("CREATE TABLE ledger (key)", *schema()):
                db.execute(statement)

    def call(self, wanted):
        db = sqlite3.connect(self.path)
        try:
            with db, barrier(db, wanted.headers(), wanted.body) as call:
                if call.is_new:
                    self._work(db, call, wanted)
            return words_of(call.status, call.headers, call.body)
        except Crash:
            return "gone"
        except Broken:
            return "raised"
        finally:
            db.close()

    def _work(self, db, call, wanted):
        match wanted.then:
            case "refuse":
                call.refuse("no")
                return
            case "later":
                raise Broken
            case "die":
                raise Crash
        db.execute("INSERT INTO ledger VALUES (?)", [wanted.key])
        match wanted.then:
            case "raise":
                raise Broken
            case "crash":
                raise Crash
        call.done({"did": wanted.key})

    def ledger(self):
        with closing(sqlite3.connect(self.path)) as db:
            return [key for (key,) in db.execute("SELECT key FROM ledger ORDER BY rowid")]

    def close(self):
        pass


class BehindMiddleware:
    """Its ledger knows nothing of the middleware's rows."""

    is_one_transaction = False

    def __init__(self, path):
        self.path = path
        self._ledger = []
        self._then = "done"
        self.now = 0.0
        self._start()

    def _start(self):
        self.store = SqliteStore(self.path, utc_now=lambda: self.now)
        self.app = SagaMiddleware(self._app, self.store)

    def call(self, wanted):
        return trio.run(self.call_async, wanted)

    async def call_async(self, wanted):
        self._then = wanted.then
        try:
            return words_of(*await request(self.app, wanted.headers(), wanted.body))
        except Broken:
            return "raised"
        except Crash:
            self.close()
            self.now += 1_000
            self._start()
            return "gone"

    async def _app(self, scope, receive, send):
        assert (await receive())["body"] == b"{}"
        key = dict(scope["headers"])[b"idempotency-key"].decode()
        match self._then:
            case "refuse":
                await respond(send, 422, {"detail": "no"})
                return
            case "later":
                await respond(send, 503, {}, (b"Retry-After", b"1"))
                return
            case "die":
                raise Crash
        self._ledger.append(key)
        match self._then:
            case "raise":
                raise Broken
            case "crash":
                raise Crash
        await respond(send, 200, {"did": key})

    def ledger(self):
        return self._ledger

    def close(self):
        self.store.close()


async def respond(send, status, document, *headers):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    body = json.dumps(document).encode()
    await send({"type": "http.response.body", "body": body[:3], "more_body": True})
    await send({"type": "http.response.body", "body": body[3:]})


async def request(app, headers, body=b"{}", *, messages=None, method="POST"):
    """Call an ASGI application as its server would; returns status, headers and body."""
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/pay", "headers": pairs}
    half = len(body) // 2
    waiting = messages or [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:]},
    ]
    sent = []

    async def receive():
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return 0, {}, b""
    fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, b"".join(one.get("body", b"") for one in sent[1:])


class Model:
    """What is to be answered, told once more and in other words than the rules."""

    def __init__(self, is_one_transaction):
        self._is_one_transaction = is_one_transaction
        self._calls = {}  # key: "done", "empty", "refused" or "doubt"
        self._barred = set()
        self._undone_by = {}
        self.ledger = []

    def call(self, wanted):
        known = self._look_up(wanted)
        return known or self._work(wanted)

    def _look_up(self, wanted):
        key = wanted.key
        is_closed = key in self._barred or key in self._undone_by
        if wanted.phase == "probe":
            return self._probe(key, is_closed)
        if is_closed:
            return "too late"
        if key in self._calls:
            told = {"done": f"did {key}", "doubt": "in doubt"}
            return told.get(self._calls[key], self._calls[key])
        return self._look_up_undo(wanted) if wanted.phase == "compensation" else None

    def _probe(self, key, is_closed):
        if not is_closed and self._calls.get(key) == "done":
            return f"known {key}"
        if not is_closed and self._calls.get(key) == "doubt":
            return "in doubt"
        if key not in self._calls:
            self._barred.add(key)
        return "not done"

    def _look_up_undo(self, wanted):
        action = wanted.action_key
        if action in self._undone_by:
            if self._calls.get(self._undone_by[action]) == "doubt":
                return "in doubt"
        elif self._calls.get(action) in ("done", "doubt"):
            return None
        elif self._calls.get(action) is None:
            if wanted.is_known_done:
                return None
            self._barred.add(action)
        self._calls[wanted.key] = "empty"
        return "empty"

    def _work(self, wanted):
        is_undo = wanted.phase == "compensation"
        then = wanted.then
        if self._is_one_transaction and then not in ("done", "refuse"):
            return "gone" if then in ("crash", "die") else "raised"
        if then in ("refuse", "later"):
            if is_undo and wanted.action_key not in self._calls:
                self._barred.add(wanted.action_key)
            if then == "refuse":
                self._calls[wanted.key] = "refused"
            return "refused" if then == "refuse" else "503 {}"
        if is_undo:
            self._barred.discard(wanted.action_key)
            self._undone_by[wanted.action_key] = wanted.key
        if then != "die":
            self.ledger.append(wanted.key)
        self._calls[wanted.key] = "done" if then == "done" else "doubt"
        return {"done": f"did {wanted.key}", "raise": "raised"}.get(then, "gone")
