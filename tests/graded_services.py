"""Services to be graded, on loopback: one that does all by itself, and what can be wrong with it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework

from sagakeep.participant import barrier, schema


@asynccontextmanager
async def open_service(app: ASGIFramework) -> AsyncIterator[str]:
    """Serve an application by Hypercorn; yields its URL."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 0.1
    config.errorlog = None
    config.h11_max_incomplete_size = 64 << 10
    failure = None
    async with trio.open_nursery() as nursery:
        stop = trio.Event()

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)

        (url,) = await nursery.start(run)
        try:
            yield url
        except Exception as error:  # raised below, and not in a group
            failure = error
        stop.set()
    if failure is not None:
        raise failure


class Ledgered:
    """An ASGI application that counts its effects and shows the count at /ledger."""

    def __init__(self):
        self.actions = 0
        self.undos = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._lifespan(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["path"] == "/ledger":
            status, headers, reply = 200, {}, json.dumps(self.counts()).encode()
        else:
            headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
            status, headers, reply = await self.answer(headers, body)
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        fields.append((b"content-length", str(len(reply)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": reply})

    async def _lifespan(self, receive, send):
        for name in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{name}.complete"})

    def counts(self):
        return {"actions": self.actions, "undos": self.undos}

    async def answer(self, headers, body):
        raise NotImplementedError


class Naive(Ledgered):
    """Does what it is told, whenever it is told: it has to be protected by others."""

    async def answer(self, headers, body):
        await trio.lowlevel.checkpoint()
        if headers.get("saga-phase") == "compensation":
            self.undos += 1
            return 200, {}, b'{"undone": true}'
        self.actions += 1
        return 200, {}, json.dumps({"id": self.actions}).encode()


class ByHand(Ledgered):
    """Does all by itself and in memory; each of its `faults` is one thing that services get wrong."""

    def __init__(self, *faults):
        super().__init__()
        self.faults = set(faults)
        self.calls = {}
        self.undone = set()
        self.barred = set()

    async def answer(self, headers, body):
        key, phase = headers.get("idempotency-key", ""), headers.get("saga-phase", "action")
        action, step = headers.get("saga-action-key", key), headers.get("saga-id", "")
        if "short-column" in self.faults:
            key = key[:200]
        status, document = self._refusal(key, phase, body) or await self._answer(
            key, phase, action, step, body
        )
        headers = {"retry-after": "0"} if document == "busy" else {}
        return status, headers, json.dumps(document).encode()

    def _refusal(self, key, phase, body):
        if "garbage" not in self.faults:
            if not key or phase not in ("action", "compensation", "probe"):
                return 400, "which call is this?"
            if len(key) > 512:
                return 400, "too long"
        elif not key or len(key) > 512:
            return 500, "KeyError"
        if "short-column" in self.faults and len(key) == 200:
            return 500, "DataError: value too long for type character varying(200)"
        return None

    async def _answer(self, key, phase, action, step, body):
        if phase == "probe":
            return self._probe(key)
        known = self._known(key, body)
        if known is not None:
            return known
        if phase == "compensation":
            return self._undo(key, action, step)
        if key in self.barred or step in self.barred:
            return 409, "too late"
        if "race" in self.faults and "at-once" in step:
            await trio.sleep(0.2)  # looked up, and not yet written
        if "refuses-when-busy" in self.faults:
            self.calls[key] = (409, "in progress"), body
            await trio.sleep(0.2 if "at-once" in step else 0)
        self.actions += 1
        return self._keep(key, (200, {"id": self.actions}), body)

    def _known(self, key, body):
        if key in self.undone:
            return (200, {"id": 0}) if "done-after-undo" in self.faults else (409, "too late")
        if "by-body" in self.faults:
            key = body
        if key not in self.calls or "no-keys" in self.faults:
            return None
        answer, first_body = self.calls[key]
        if body != first_body and "by-body" not in self.faults:
            return None if "other-body" in self.faults else (422, "another body")
        if answer[0] == 200 and "new-answer" in self.faults:
            return 200, {"id": len(self.calls), "again": self.actions + self.undos, "key": key}
        return answer

    def _undo(self, key, action, step):
        if "undo-blindly" in self.faults:
            self.undos += 1
            return self._keep(key, (200, {"undone": True}), b"{}")
        if action in self.undone and "second-undo" in self.faults:
            return 409, "it was undone"
        if action in self.undone or action not in self.calls:
            return self._undo_nothing(key, action, step)
        self.undone.add(action)
        self.undos += 1
        if "undo-forgets" in self.faults:
            return 200, {"undone": True, "number": self.undos}
        return self._keep(key, (200, {"undone": True}), b"{}")

    def _undo_nothing(self, key, action, step):
        if "empty-undo" in self.faults:
            return 500, "DoesNotExist"
        if "no-bar" not in self.faults and action not in self.undone:
            self.barred.add(step if "bars-the-step" in self.faults else action)
        return self._keep(key, (200, {"undone": False}), b"{}")

    def _probe(self, key):
        if "probe-404" in self.faults:
            return 404, "what?"
        if key in self.calls and (key not in self.undone or "probe-history" in self.faults):
            result = None if "probe-empty" in self.faults else self.calls[key][0][1]
            return 200, {"outcome": "done", "result": result}
        if "probe-no-bar" not in self.faults:
            self.barred.add(key)
        return 200, {"outcome": "not_done"}

    def _keep(self, key, answer, body):
        self.calls[body if "by-body" in self.faults else key] = answer, body
        return answer


class BySqlite(Ledgered):
    """The barrier, in a SQLite file; each request in a thread of its own."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        with closing(sqlite3.connect(path)) as db, db:
            for statement in (*schema(), "CREATE TABLE effects (phase)"):
                db.execute(statement)

    async def answer(self, headers, body):
        return await trio.to_thread.run_sync(self._answer, headers, body)

    def _answer(self, headers, body):
        with closing(sqlite3.connect(self._path)) as db:
            with db, barrier(db, headers, body) as call:
                if call.is_new:
                    phase = headers.get("saga-phase", "action")
                    found = db.execute("INSERT INTO effects VALUES (?)", [phase])
                    call.done({"id": found.lastrowid})
            return call.status, call.headers, call.body

    def counts(self):
        with closing(sqlite3.connect(self._path)) as db:
            counts = dict(db.execute("SELECT phase, count(*) FROM effects GROUP BY phase"))
        return {"actions": counts.get("action", 0), "undos": counts.get("compensation", 0)}


class ByPostgres(Ledgered):
    """The barrier, in PostgreSQL; each request in a thread and with a connection of its own."""

    def __init__(self, where):
        super().__init__()
        self._where = where
        with self._connect() as db:
            for statement in (*schema(), "CREATE TABLE effects (id BIGSERIAL, phase TEXT)"):
                db.execute(statement)

    def _connect(self):
        import psycopg

        return psycopg.connect(self._where)

    async def answer(self, headers, body):
        return await trio.to_thread.run_sync(self._answer, headers, body)

    def _answer(self, headers, body):
        with self._connect() as db, barrier(db, headers, body) as call:
            if call.is_new:
                phase = headers.get("saga-phase", "action")
                row = db.execute("INSERT INTO effects (phase) VALUES (%s) RETURNING id", [phase])
                call.done({"id": row.fetchone()[0]})
        return call.status, call.headers, call.body

    def counts(self):
        with self._connect() as db:
            counts = dict(db.execute("SELECT phase, count(*) FROM effects GROUP BY phase"))
        return {"actions": counts.get("action", 0), "undos": counts.get("compensation", 0)}
