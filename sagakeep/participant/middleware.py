"""An ASGI middleware that makes a whole application safe to be called twice, late and in any order.

    app = SagaMiddleware(app, SqliteStore("calls.sqlite"))

It looks every request up that has an Idempotency-Key or a word of a saga, answers it if its answer is known, and
otherwise lets the application work and keeps what it answers, before anybody is told:

    request --> claim, committed --> the application --> its answer, committed --> the client
                        `------------- a crash here: in doubt ------'

It has no part in the application's transaction, so it cannot know what was done before a crash, an exception or a
5xx. Then nothing is run again under that key: the answer is 500, which an orchestrator reads as "not known", and
undoes. An application that leaves nothing behind where it fails says so with `rolls_back`, or by the answers 429
and 503 with Retry-After. The barrier does not have this gap: use it where there is a database to share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Final

from sagakeep.participant.answer import BYTES_MAX, IN_DOUBT, Answer, problem
from sagakeep.participant.call import CallInvalid, is_call, read_call
from sagakeep.participant.claim import Claim, digest_of
from sagakeep.participant.store import Store

Message = MutableMapping[str, object]
Scope = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES_MAX: Final = 2 << 20  # an orchestrator's payload has at most 1 MiB

_NOT_KEPT: Final = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
)
_TOO_LARGE: Final = problem(413, "Too large", f"a call has at most {BODY_BYTES_MAX} bytes")


class SagaMiddleware:
    """An ASGI application around another; for asyncio and trio.

    `rolls_back`: where the application raises, or answers 5xx, nothing of its work remains.
    """

    def __init__(self, app: App, store: Store, *, rolls_back: bool = False) -> None:
        self._app = app
        self._store = store
        self._rolls_back = rolls_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        if scope["type"] != "http" or not is_call(headers):
            await self._app(scope, receive, send)
            return
        try:
            call = read_call(headers)
        except CallInvalid as error:
            await _reply(send, problem(400, "Bad call", str(error)))
            return
        body = await _read(receive)
        if body is None:
            return  # the client has gone, and nothing was begun
        if len(body) > BODY_BYTES_MAX:
            await _reply(send, _TOO_LARGE)
            return
        claim = await self._store.claim(call, digest_of(call, body))
        try:
            answer = claim.answer or await self._work(claim, scope, _Body(body, receive))
        finally:
            self._store.let_go(claim)
        await _reply(send, answer)

    async def _work(self, claim: Claim, scope: Scope, body: _Body) -> Answer:
        reply = _Collected()
        try:
            await self._app({**scope, "extensions": {}}, body.receive, reply.send)
        except Exception:
            await self._store.settle(claim, None if self._rolls_back else IN_DOUBT)
            raise
        answer = reply.answer()
        if answer is None:
            return await self._store.settle(claim, IN_DOUBT)
        if self._rolls_back and answer.status >= 500:
            await self._store.settle(claim, None)
            return answer
        return await self._store.settle(claim, answer)


class _Body:
    """The body of a request that was read already, for the application to read."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}


class _Collected:
    """What the application sends, kept instead of sent."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()
        self._has_ended = False

    async def send(self, message: Message) -> None:
        match message:
            case {"type": "http.response.start", "status": int(status)}:
                self._status = status
                self._headers = tuple(_kept(message))
            case {"type": "http.response.body"}:
                body = message.get("body", b"")
                if isinstance(body, bytes) and len(self._body) <= BYTES_MAX:
                    self._body += body
                self._has_ended = not message.get("more_body", False)

    def answer(self) -> Answer | None:
        """Return what was sent; None for an answer without an end, or one that is too long to be read."""
        if not self._status or not self._has_ended or len(self._body) > BYTES_MAX:
            return None
        return Answer(self._status, self._headers, bytes(self._body))


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    headers = scope.get("headers", ())
    return list(headers) if isinstance(headers, list | tuple) else []


def _kept(message: Mapping[str, object]) -> list[tuple[str, str]]:
    headers = message.get("headers", ())
    assert isinstance(headers, list | tuple), "ASGI: headers are a sequence of pairs"
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    return [(name, value) for name, value in pairs if name not in _NOT_KEPT]


async def _read(receive: Receive) -> bytes | None:
    """Read the body, and not much beyond its bound; None when the client has gone."""
    body = bytearray()
    while len(body) <= BODY_BYTES_MAX:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunk = message.get("body", b"")
        body += chunk if isinstance(chunk, bytes) else b""
        if not message.get("more_body", False):
            break
    return bytes(body)


async def _reply(send: Send, answer: Answer) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status not in (204, 304):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
