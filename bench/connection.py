"""A client's connection: HTTP/1.1 as plainly as a benchmark can, so that the server is what is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import msgspec
import trio


class Answer(NamedTuple):
    status: int
    body: bytes

    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])


class Connection:
    """Kept alive; one request at a time."""

    def __init__(self, stream: trio.abc.Stream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._unread = b""

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        await self._stream.send_all(head.encode() + b"\r\n" + body)
        return await self._answer()

    async def post(self, path: str, body: bytes, *, expect: int = 201) -> Answer:
        """Raise when the answer is any other than it must be."""
        return checked(await self.ask("POST", path, body), expect)

    async def put(self, path: str, body: bytes) -> Answer:
        return checked(await self.ask("PUT", path, body), 202)

    async def get(self, path: str) -> Answer:
        return checked(await self.ask("GET", path), 200)

    async def _answer(self) -> Answer:
        head = (await self._until(b"\r\n\r\n")).lower()
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            length = int(head[at + 17 :].split(b"\r", 1)[0])
            return Answer(int(head[9:12]), await self._take(length))
        if b"\r\ntransfer-encoding: chunked" in head:
            return Answer(int(head[9:12]), await self._chunks())
        raise AssertionError(f"a reply of unknown length: {head!r}")

    async def _chunks(self) -> bytes:
        body = b""
        while length := int(await self._until(b"\r\n"), 16):
            body += await self._take(length)
            await self._until(b"\r\n")
        await self._until(b"\r\n")
        return body

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            await self._more()
        found, _, self._unread = self._unread.partition(mark)
        return found

    async def _take(self, length: int) -> bytes:
        while len(self._unread) < length:
            await self._more()
        taken, self._unread = self._unread[:length], self._unread[length:]
        return taken

    async def _more(self) -> None:
        data = await self._stream.receive_some(1 << 18)
        if not data:
            raise EOFError(f"the server closed after {self._unread!r}")
        self._unread += data


def checked(answer: Answer, status: int) -> Answer:
    if answer.status != status:
        raise AssertionError(f"expected {status}, got {answer.status}: {answer.body[:500]!r}")
    return answer


@asynccontextmanager
async def open_connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """Connect so many times to a server of this machine."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            connections.append(Connection(stream, f"127.0.0.1:{port}"))
        yield connections
