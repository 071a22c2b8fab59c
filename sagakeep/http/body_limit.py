"""Bound what a request's body may weigh and how long it may take to arrive.

The refusal is an HTTPException raised from `receive`, so that it passes through an application as any
of its own; one that lets it out is answered here. Only the time spent waiting for the client counts.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import anyio
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagakeep.http.problems import problem

_CLOSE: Final = {"Connection": "close"}


class BodyRefused(HTTPException):
    """The body is too long (413) or too slow (408)."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(status, detail, _CLOSE)


def limit_body(
    app: ASGIApp, *, bytes_max: int, batch_path: str, batch_bytes_max: int, seconds_max: float
) -> ASGIApp:
    """Wrap an application; POSTs to `batch_path` have a bound of their own."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        is_batch = scope["method"] == "POST" and scope["path"] == batch_path
        body = _Body(receive, batch_bytes_max if is_batch else bytes_max, seconds_max)
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            body.expect(_content_length(scope))
            await app(scope, body.receive, send_noting)
        except BodyRefused as refused:
            if not started:
                await _reply(refused, scope["path"])(scope, receive, send)

    return wrapped


class _Body:
    def __init__(self, receive: Receive, bytes_max: int, seconds_max: float) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._bytes_left = bytes_max
        self._seconds_max = seconds_max
        self._seconds_left = seconds_max
        self._ended = False

    def expect(self, length: int) -> None:
        """Refuse a body for what it says it will be."""
        if length > self._bytes_max:
            raise self._too_long()

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()
        began_s = anyio.current_time()
        with anyio.move_on_after(self._seconds_left) as waiting:
            message = await self._receive()
        if waiting.cancelled_caught:
            detail = f"the body did not arrive within {self._seconds_max:g} s"
            raise BodyRefused(HTTPStatus.REQUEST_TIMEOUT, detail)
        self._seconds_left -= anyio.current_time() - began_s
        self._bytes_left -= len(message.get("body", b""))
        if self._bytes_left < 0:
            raise self._too_long()
        self._ended = not message.get("more_body", False)
        return message

    def _too_long(self) -> BodyRefused:
        detail = f"a body here has at most {self._bytes_max} bytes"
        return BodyRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _content_length(scope: Scope) -> int:
    given = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(given[0]) if given and given[0].isdigit() else 0


def _reply(refused: BodyRefused, instance: str) -> ASGIApp:
    title = HTTPStatus(refused.status_code).phrase
    return problem(refused.status_code, title, refused.detail, instance=instance, headers=_CLOSE)
