"""A client of an ASGI application, without a network: it sends and checks what the protocol allows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import trio
from starlette.types import ASGIApp, Message


class Reply(NamedTuple):
    """Names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Stream:
    """A reply whose body comes bit by bit; `chunk` is b"" at its end."""

    def __init__(self, head: Reply, chunks: trio.MemoryReceiveChannel[bytes]) -> None:
        self.status, self.headers, _ = head
        self._chunks = chunks
        self._unread = b""

    async def chunk(self) -> bytes:
        try:
            return await self._chunks.receive()
        except trio.EndOfChannel:
            return b""

    async def block(self) -> str:
        """The next text up to an empty line, "" at the end."""
        while b"\n\n" not in self._unread:
            chunk = await self.chunk()
            if not chunk:
                assert not self._unread
                return ""
            self._unread += chunk
        block, _, self._unread = self._unread.partition(b"\n\n")
        return block.decode()

    async def event(self) -> dict[str, str]:
        """The next event's fields; what is no event is passed over. Empty at the end."""
        while block := await self.block():
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            if "data" in fields:
                return fields
        return {}


class AsgiClient:
    """`check` sees every reply that was read whole."""

    def __init__(
        self, app: ASGIApp, check: Callable[[str, str, Reply], None] = lambda *_: None
    ) -> None:
        self._app = app
        self._check = check

    async def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask and read the whole reply."""
        if json is not None:
            body, headers = _encoded(json), {"Content-Type": "application/json", **(headers or {})}
        async with self.stream(method, target, body, headers=headers) as stream:
            whole = bytearray()
            while chunk := await stream.chunk():
                whole += chunk
        reply = Reply(stream.status, stream.headers, bytes(whole))
        self._check(method, target, reply)
        return reply

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Stream]:
        """Ask and read while the reply comes; the client is gone when the block is left."""
        into, chunks = trio.open_memory_channel[bytes](100)
        exchange = _Exchange(body, into)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.run, self._app, _scope(method, target, headers or {}))
            yield Stream(await exchange.wait_head(), chunks)
            exchange.gone.set()


class _Exchange:
    def __init__(self, body: bytes, chunks: trio.MemorySendChannel[bytes]) -> None:
        half = len(body) // 2
        self._parts = [body[:half], body[half:]]
        self._chunks = chunks
        self._head: Reply | None = None
        self._has_head = trio.Event()
        self.gone = trio.Event()

    async def run(self, app: ASGIApp, scope: dict[str, object]) -> None:
        with self._chunks:
            await app(scope, self._receive, self._send)

    async def wait_head(self) -> Reply:
        await self._has_head.wait()
        assert self._head
        return self._head

    async def _receive(self) -> Message:
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            assert self._head is None
            headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
            assert all(name == name.lower() for name, _ in headers)
            self._head = Reply(message["status"], dict(headers))
            self._has_head.set()
            return
        assert self._head is not None
        if message["body"]:
            await self._chunks.send(message["body"])
        if not message.get("more_body"):
            self._chunks.close()


def _scope(method: str, target: str, headers: Mapping[str, str]) -> dict[str, object]:
    path, _, query = target.partition("?")
    raw = {"host": "localhost", **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in raw.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }


def _encoded(document: object) -> bytes:
    return json.dumps(document).encode()
