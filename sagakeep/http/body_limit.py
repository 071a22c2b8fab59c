"""Bound what a request's body may weigh, what all of them together may, and how long one may take to arrive.

Bodies are kept in memory until they are whole. So there is room for so many bytes of those that are being
read or served, whoever sends them; a body for which there is none is refused for now (503).

The refusal is an HTTPException raised from `receive`, so that it passes through an application as any
of its own; one that lets it out is answered here. Only the time spent waiting for the client counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import anyio
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagakeep.http.problems import problem

_CLOSE: Final = {"Connection": "close"}
_LATER: Final = {**_CLOSE, "Retry-After": "1"}


class BodyRefused(HTTPException):
    """The body is too long (413) or too slow (408), or there is no room for it now (503)."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] = _CLOSE
    ) -> None:
        super().__init__(status, detail, headers)


def limit_body(
    app: ASGIApp,
    *,
    bytes_max: int,
    batch_path: str,
    batch_bytes_max: int,
    all_bytes_max: int,
    seconds_max: float,
) -> ASGIApp:
    """Wrap an application; POSTs to `batch_path` have a bound of their own."""
    room = _Room(all_bytes_max)

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        is_batch = scope["method"] == "POST" and scope["path"] == batch_path
        body = _Body(receive, room, batch_bytes_max if is_batch else bytes_max, seconds_max)
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
        finally:
            room.bytes_left += body.bytes_taken

    return wrapped


class _Room:
    """What all bodies share."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_left = bytes_max


class _Body:
    def __init__(self, receive: Receive, room: _Room, bytes_max: int, seconds_max: float) -> None:
        self._receive = receive
        self._room = room
        self.bytes_taken = 0
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
        self._take(len(message.get("body", b"")))
        self._ended = not message.get("more_body", False)
        return message

    def _take(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise self._too_long()
        if size > self._room.bytes_left:
            detail = "there is no room for this body beside those that are being read"
            raise BodyRefused(HTTPStatus.SERVICE_UNAVAILABLE, detail, _LATER)
        self._room.bytes_left -= size
        self.bytes_taken += size

    def _too_long(self) -> BodyRefused:
        detail = f"a body here has at most {self._bytes_max} bytes"
        return BodyRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _content_length(scope: Scope) -> int:
    given = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(given[0]) if given and given[0].isdigit() else 0


def _reply(refused: BodyRefused, instance: str) -> ASGIApp:
    title = HTTPStatus(refused.status_code).phrase
    headers = refused.headers
    return problem(refused.status_code, title, refused.detail, instance=instance, headers=headers)
