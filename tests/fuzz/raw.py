"""Raw: fuzz a real server with bytes over real sockets, and hold it to what no client may change.

The process lives and logs no error; a good request is answered well, before, between and after all others;
every reply is whole, has a status that is declared, and its request id; of 5xx there are only those that
the protocol asks for: 501 (tunnels, upgrades, codings), 503 (with Retry-After) and 505 (versions). Whoever
sends all there is gets an answer, or the end of the connection, in bounded time; a stream of events goes on.
When the clients have gone no connection is left, and SIGTERM ends the process with 0.
"""

from __future__ import annotations

import re
import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from fuzz.requests import Ending, Sent, make_sent
from fuzz.server import SLOW_S_MAX, Broken, Server, running_server

CLIENTS: Final = 16  # at a time
CHECK_EVERY: Final = 500  # clients, between two looks at the process
REPLY_S_MAX: Final = 10 + 2 * SLOW_S_MAX
STATUSES: Final = frozenset(
    {100, 200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 417, 421, 422}
    | {307, 412, 429, 431, 501, 503, 505}
)
_STATUS_LINE: Final = re.compile(rb"(?<![\w/])HTTP/1\.1 ([0-9]{3}) [A-Za-z ]*\r\n")
_STREAM: Final = b"\r\ncontent-type: text/event-stream"
_GOOD: Final = b"GET /api/sagas/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def fuzz_raw(
    directory: Path, requests: int, seed: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, int]:
    """Run so many clients against a server of its own; return how many replies had which status.

    Raises Broken, which names the client that can be made again. `advance` is told of each that is through.
    """
    with running_server(directory) as server:
        run = _Run(server, seed, advance)
        trio.run(run.run, requests)
        server.check_rest()
        trio.run(run.check_well)
        server.end()
    counts = {str(status): count for status, count in sorted(run.statuses.items())}
    return {"requests": requests, "replies": sum(run.statuses.values()), **counts}


class _Run:
    def __init__(self, server: Server, seed: int, advance: Callable[[int], None]) -> None:
        self._server = server
        self._seed = seed
        self._advance = advance
        self._next = 0
        self.statuses: Counter[int] = Counter()

    async def run(self, requests: int) -> None:
        """Send them all, several at a time."""
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(self._send_some, requests)

    async def _send_some(self, requests: int) -> None:
        while self._next < requests:
            number, self._next = self._next, self._next + 1
            sent = make_sent(self._seed, number)
            try:
                self.statuses.update(check_said(sent, await _exchange(self._server.port, sent)))
            except (Broken, OSError) as error:
                self._server.check_alive()
                raise Broken(f"client {number} of seed {self._seed}: {error}") from error
            self._advance(1)
            if number % CHECK_EVERY == 0:
                self._server.check_alive()
                await self.check_well()

    async def check_well(self) -> None:
        """Raise Broken unless a good client is served."""
        reply = await _exchange(self._server.port, Sent([_GOOD], Ending.SHUT, True))
        if not reply.startswith(b"HTTP/1.1 200 "):
            raise Broken(f"a good request got {reply[:200]!r}")


def check_said(sent: Sent, said: bytes) -> list[int]:
    """Hold what the server said to what it may say; return the statuses. Raises Broken."""
    statuses = []
    for found in _STATUS_LINE.finditer(said):
        statuses.append(int(found[1]))
        _check_head(statuses[-1], said[found.start() :].partition(b"\r\n\r\n")[0])
    if sent.is_good and (not statuses or statuses[0] == 400 or statuses[0] >= 500):
        raise Broken(f"the good request {sent.parts[0][:300]!r} got {said[:300]!r}")
    if said and not said.startswith(b"HTTP/1.1 "):
        raise Broken(f"the reply begins with {said[:100]!r}")
    return statuses


def _check_head(status: int, head: bytes) -> None:
    if status not in STATUSES:
        raise Broken(f"status {status} is not declared: {head!r}")
    if status >= 200 and b"\r\nx-request-id: " not in head:
        raise Broken(f"a reply without a request id: {head!r}")
    if status >= 400 and b"\r\ncontent-type: application/problem+json" not in head:
        raise Broken(f"an error that is no problem document: {head!r}")
    if status == 503 and b"\r\nretry-after: " not in head.lower():
        raise Broken(f"a 503 without Retry-After: {head!r}")


async def _exchange(port: int, sent: Sent) -> bytes:
    """Be one client; return all that the server said."""
    said = bytearray()
    with trio.move_on_after(REPLY_S_MAX) as scope:
        async with await _connect(port) as stream:
            try:
                for part in sent.parts:
                    await stream.send_all(part)
                await _end(stream, sent.ending, said)
            except trio.BrokenResourceError:
                pass  # the server refuses to read on, which is an answer
    if scope.cancelled_caught and _STREAM not in said:  # which goes on while its client reads
        raise Broken(f"nothing came for {REPLY_S_MAX:.0f} s, but {bytes(said[:300])!r}")
    return bytes(said)


async def _connect(port: int) -> trio.SocketStream:
    """Connect as `open_tcp_stream`, which first thinks of several addresses, in a third of the time."""
    sock = trio.socket.socket()
    try:
        await sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def _end(stream: trio.SocketStream, ending: Ending, said: bytearray) -> None:
    match ending:
        case Ending.SHUT:
            await stream.send_eof()
            while data := await stream.receive_some():
                said += data
        case Ending.WAIT:
            with trio.move_on_after(0.05):
                said += await stream.receive_some()
        case Ending.RESET:
            linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        case Ending.LEAVE:
            pass
