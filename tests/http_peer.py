"""A service that says exactly the bytes it is told to, over a real loopback socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

Script = Callable[["Visit"], Awaitable[None]]


class Visit:
    """One connection of a client."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unread = b""

    async def request(self) -> tuple[str, dict[str, str], bytes]:
        """Read one request: its first line, headers (lower case) and body."""
        while b"\r\n\r\n" not in self._unread:
            await self._more()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
        length = int(headers.get("content-length", "0"))
        while len(self._unread) < length:
            await self._more()
        body, self._unread = self._unread[:length], self._unread[length:]
        return line, headers, body

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise trio.BrokenResourceError
        self._unread += data

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def reply(self, status: int, body: bytes = b"", *fields: str) -> None:
        head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields, "", ""]
        await self.say("\r\n".join(head).encode() + body)

    async def wait_gone(self) -> None:
        """Wait until the client has closed."""
        while True:
            try:
                if not await self.stream.receive_some():
                    return
            except trio.BrokenResourceError:
                return

    def reset_at_close(self) -> None:
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def open_peer(script: Script) -> AsyncIterator[str]:
    """Serve each connection by the script; yields the URL."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await script(Visit(stream))
            except trio.BrokenResourceError:
                pass

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            nursery.cancel_scope.cancel()
