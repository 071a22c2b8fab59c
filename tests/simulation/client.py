"""Clients: each begins one saga, and then asks for things. They outlive the orchestrator's crashes.

A wish is made again until it is answered, in the next process if need be; whoever creates with an id or a key of
its own may ask again, and whoever has neither gives up. A client waits until its saga stands still, so that a
process without a crash ends when all is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgspec
import trio
from asgi_client import AsgiClient, Reply

from sagakeep.actors.saga_query import SagaQuery
from sagakeep.errors import (
    IdempotencyKeyReused,
    MoveRefused,
    SagaExists,
    SagakeepError,
    SagaNotFound,
    UnknownStep,
)
from sagakeep.events import Record
from sagakeep.orchestrator import Orchestrator
from sagakeep.state import MOVING, SagaState
from sagakeep.validation import parse_definition
from simulation.configuration import SagaPlan, Wish

STILL_WITHIN_S = 1_000.0  # how long a client waits for its saga in one go
AGAIN_AFTER_S = 0.5
WATCHES_FOR_S = 4.0
EDITED = {"by": "hand"}
TRIES_MAX = 400  # of one wish in one process; a disk that is full may take its time


class Answer(NamedTuple):
    """What came of a wish: `kind` is ok, or the name of the refusal; `state` is shown by the Python API only."""

    kind: str
    saga_id: str = ""
    sequence: int = 0
    is_new: bool = False
    status: str = ""
    state: SagaState | None = None
    records: tuple[Record, ...] | None = None
    ids: tuple[str, ...] | None = None


class Asked(NamedTuple):
    """What had been answered, to anybody, when a wish was made: sequences by saga, and who was deleted."""

    sequences: dict[str, int]
    deleted: frozenset[str]


class Witness(Protocol):
    """Is told of every answer, and knows whether its process still lives."""

    def asks(self) -> Asked: ...

    def heard(self, client: Client, wish: Wish, answer: Answer, asked: Asked) -> None: ...

    def saw_body(self, body: bytes) -> None: ...


class Client:
    """One saga's client. `saga_id` is "" until it knows, or for good."""

    def __init__(self, number: int, plan: SagaPlan) -> None:
        self.number = number
        self.plan = plan
        self.saga_id = ""
        self.is_created = False
        self.gave_up = False
        self.deleted = False
        self.left = list(plan.wishes)
        self._is_asking = False

    async def run(self, orchestrator: Orchestrator, app: Any, witness: Witness) -> None:
        """Go on from where the last process ended."""
        api = HttpApi(app, witness) if self.plan.by_http else PythonApi(orchestrator)
        await trio.sleep(self.plan.starts_after_s)
        if not self.is_created and not self.gave_up:
            await self._create(api, witness)
        while self.left and self.is_created:
            wish = self.left[0]
            await trio.sleep(wish.after_s)
            await self._ask(api, witness, wish)
            self.left.pop(0)
        if self.is_created and not self.deleted:
            await self._rest(orchestrator, witness)

    async def _create(self, api: Api, witness: Witness) -> None:
        if self._is_asking and not (self.plan.idempotency_key or "id" in self.plan.document):
            self.gave_up = True  # it may have been created, and nobody can ask
            return
        self._is_asking = True
        answer = await self._ask(api, witness, Wish(0.0, "create"))
        if answer.kind in ("ok", "exists"):
            self.saga_id = answer.saga_id
            self.is_created = True
        else:
            self.gave_up = True

    async def _ask(self, api: Api, witness: Witness, wish: Wish) -> Answer:
        for _ in range(TRIES_MAX):
            asked = witness.asks()
            answer = await api.ask(self, wish)
            witness.heard(self, wish, answer, asked)
            if answer.kind != "unavailable":
                return answer
            await trio.sleep(AGAIN_AFTER_S)
        return answer

    async def _rest(self, orchestrator: Orchestrator, witness: Witness) -> None:
        asked = witness.asks()
        try:
            state = await orchestrator.wait(self.saga_id, STILL_WITHIN_S)
        except SagakeepError:
            return
        answer = Answer("ok", state.id, state.sequence, status=str(state.status), state=state)
        witness.heard(self, Wish(0.0, "wait"), answer, asked)


class Api(Protocol):
    """A way to reach the orchestrator."""

    async def ask(self, client: Client, wish: Wish) -> Answer: ...


class PythonApi:
    """The orchestrator's own methods."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def ask(self, client: Client, wish: Wish) -> Answer:
        return await _answer(client, lambda: self._do(client, wish))

    async def _do(self, client: Client, wish: Wish) -> Answer:
        sagas = self._orchestrator
        match wish.kind:
            case "create" | "again":
                return await self._create(client)
            case "compensate":
                return _shown(await sagas.compensate(client.saga_id, step_id=wish.step_id, by="op"))
            case "retry":
                return _shown(await sagas.retry(client.saga_id, by="op"))
            case "down":
                return _shown(await sagas.compensate(client.saga_id, down_to=wish.step_id, by="op"))
            case "pause":
                return _shown(await sagas.pause(client.saga_id, by="op"))
            case "resume":
                return _shown(await sagas.resume(client.saga_id, by="op"))
            case "finish":
                return _shown(await sagas.finish(client.saga_id, by="op"))
            case "skip":
                return _shown(await sagas.skip(client.saga_id, wish.step_id, by="op"))
            case "edit":
                return _shown(await sagas.edit(client.saga_id, wish.step_id, EDITED, by="op"))
            case "delete":
                await sagas.delete(client.saga_id, by="op")
                return Answer("ok", client.saga_id)
            case "events":
                records = await sagas.events(client.saga_id, limit=10_000)
                return Answer("ok", client.saga_id, records=tuple(records))
            case "watch":
                return await self._watch(client)
            case "list":
                page = await sagas.list(SagaQuery())
                return Answer("ok", client.saga_id, ids=tuple(state.id for state in page.sagas))
            case _:
                return _shown(await sagas.describe(client.saga_id))

    async def _watch(self, client: Client) -> Answer:
        """Every record from the first on, for a while."""
        records = []
        with trio.move_on_after(WATCHES_FOR_S):
            async with self._orchestrator.watch(client.saga_id) as stream:
                async for record in stream:
                    records.append(record)
        return Answer("ok", client.saga_id, records=tuple(records))

    async def _create(self, client: Client) -> Answer:
        plan = client.plan
        digest = hashlib.sha256(json.dumps(plan.document).encode()).digest()
        started = await self._orchestrator.start(
            parse_definition(plan.document, self._orchestrator.services),
            idempotency_key=plan.idempotency_key,
            body_digest=digest if plan.idempotency_key else b"",
        )
        return _shown(started.saga)._replace(is_new=started.is_new)


def _shown(state: SagaState) -> Answer:
    return Answer("ok", state.id, state.sequence, status=str(state.status), state=state)


async def _answer(client: Client, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    saga_id = client.saga_id or str(client.plan.document.get("id", ""))
    try:
        return await ask()
    except SagaExists:
        return Answer("exists", saga_id)
    except SagaNotFound:
        return Answer("gone", saga_id)
    except IdempotencyKeyReused:
        return Answer("reused", saga_id)
    except (MoveRefused, UnknownStep):
        return Answer("refused", saga_id)
    except SagakeepError as error:
        return Answer("unavailable", saga_id, status=str(error))


class HttpApi:
    """The application, without a network."""

    def __init__(self, app: Any, witness: Witness) -> None:
        self._client = AsgiClient(app)
        self._witness = witness

    async def ask(self, client: Client, wish: Wish) -> Answer:
        reply = await self._do(client, wish)
        self._witness.saw_body(reply.body)
        saga_id = client.saga_id or str(client.plan.document.get("id", ""))
        if reply.status < 300:
            return _read(reply, saga_id, wish)
        kinds = {404: "gone", 409: "refused", 422: "reused", 503: "unavailable"}
        kind = kinds.get(reply.status, f"status {reply.status}")
        if reply.status == 409 and wish.kind in ("create", "again"):
            kind = "exists"
        return Answer(kind, saga_id, status=reply.body.decode()[:200])

    async def _do(self, client: Client, wish: Wish) -> Reply:
        saga = f"/api/sagas/{client.saga_id}"
        match wish.kind:
            case "create" | "again":
                key = client.plan.idempotency_key
                headers = {"Idempotency-Key": key} if key else {}
                document = client.plan.document
                return await self._client.request(
                    "POST", "/api/sagas", json=document, headers=headers
                )
            case "compensate":
                wanted = {"stepID": wish.step_id} if wish.step_id else {}
                return await self._client.request("PUT", f"{saga}/compensate", json=wanted)
            case "retry":
                return await self._client.request("POST", f"{saga}/retry")
            case "down":
                wanted = {"downTo": wish.step_id}
                return await self._client.request("PUT", f"{saga}/compensate", json=wanted)
            case "pause" | "resume" | "finish":
                return await self._client.request("PUT", f"{saga}/{wish.kind}")
            case "skip" | "edit":
                said = {
                    "stepID": wish.step_id,
                    **({"payload": EDITED} if wish.kind == "edit" else {}),
                }
                return await self._client.request("PUT", f"{saga}/{wish.kind}", json=said)
            case "delete":
                return await self._client.request("DELETE", saga)
            case "events":
                return await self._client.request("GET", f"{saga}/events")
            case "list":
                return await self._client.request("GET", "/api/sagas")
            case _:
                return await self._client.request("GET", saga)


def _read(reply: Reply, saga_id: str, wish: Wish) -> Answer:
    if wish.kind == "list":
        return Answer("ok", saga_id, ids=tuple(one["id"] for one in reply.json["sagas"]))
    if wish.kind in ("events", "delete"):
        return Answer("ok", saga_id)
    body = msgspec.json.decode(reply.body)
    sequence = (
        int(reply.headers["etag"].strip('W/"').split("-")[0]) if "etag" in reply.headers else 0
    )
    return Answer("ok", body["id"], sequence, reply.status == 201, body["status"])


def is_still(state: SagaState) -> bool:
    return state.status not in MOVING
