"""End a reply whose request has not been read to its end.

A reply may be complete while its request still arrives (a 413, a 401). Two things would then go wrong.
A connection that is closed with unread bytes is reset, and the client may never see the reply; so the
rest is read and dropped, for a while. And Hypercorn waits for ever to hand the rest to an application
that no longer asks; so while the last message is sent, somebody asks.
"""

from __future__ import annotations

from typing import Final

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S_MAX: Final = 1.0
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


def read_to_end(app: ASGIApp) -> ASGIApp:
    """Wrap an application so that no request is left unread."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _FRAMING.isdisjoint(name for name, _ in scope["headers"]):
            await app(scope, receive, send)
            return
        body = _Body(receive)

        async def send_or_linger(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if not is_last or body.ended.is_set():
                await send(message)
            else:
                await _end(message, body, send)

        await app(scope, body.receive, send_or_linger)

    return wrapped


class _Body:
    """What arrives of a request; `ended` is set when nothing more will."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = anyio.Event()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self.ended.set()
        return message

    async def drop(self) -> None:
        """Read and forget, to the end."""
        while not self.ended.is_set():
            await self.receive()


async def _end(message: Message, body: _Body, send: Send) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(body.drop)
        await send({**message, "more_body": True})
        with anyio.move_on_after(LINGER_S_MAX):
            await body.ended.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        tasks.cancel_scope.cancel()
