"""A client that sends exactly the bytes it is told to, and a server for it to attack."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from starlette.types import ASGIApp

from sagakeep.bind import Bind
from sagakeep.http.server import serve_http

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Client:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unread = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def reply(self) -> Reply:
        """Read one reply whose length is told."""
        head = await self._until(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
        length = int(headers.get("content-length", "0"))
        while len(self._unread) < length:
            await self._more()
        body, self._unread = self._unread[:length], self._unread[length:]
        return Reply(int(line.split()[1]), headers, body)

    async def ask(self, data: bytes) -> Reply:
        await self.send(data)
        return await self.reply()

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            await self._more()
        found, _, self._unread = self._unread.partition(mark)
        return found

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError(self._unread)
        self._unread += data

    async def wait_closed(self) -> None:
        """Read until the server has closed, whatever it says."""
        try:
            while await self.stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass

    async def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await self.stream.aclose()


class Server:
    def __init__(self, addresses: list[str], stopping: trio.Event) -> None:
        self.addresses = addresses
        self.stopping = stopping
        self.ended = trio.Event()

    @asynccontextmanager
    async def open_client(self) -> AsyncIterator[Client]:
        port = int(self.addresses[0].rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            yield Client(stream)

    async def is_well(self) -> bool:
        """Tell whether a good client is served."""
        async with self.open_client() as client:
            return (await client.ask(GET)).status == 200


@asynccontextmanager
async def open_server(app: ASGIApp, **options: object) -> AsyncIterator[Server]:
    """Serve at a free port; ends gracefully, and must end within 10 s."""
    stopping = trio.Event()
    bind = options.pop("bind", Bind(port=0))
    serve = partial(serve_http, app, bind, stopping=stopping, **options)

    async def run(task_status: trio.TaskStatus[list[str]]) -> None:
        await serve(task_status=task_status)
        server.ended.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            server = Server([], stopping)
            server.addresses = await nursery.start(run)
            yield server
            stopping.set()
