"""Serve an ASGI application over HTTP/1.1, so that no client can end, stall or fill the process.

    listener -> accept -> counted? -> connection (Hypercorn's parser) -> application
                             |             |
                             no: 429/503   a watchdog looks at all of them, once a second

Hypercorn 0.18 does the parsing and the ASGI side, but not the serving: its own loop lets an exception
of one connection climb and end the server, it switches to HTTP/2 without being asked (`PRI`,
`Upgrade: h2c`) and its HTTP/2 raises on hostile input, its sends cannot be cancelled, a head may take
as long as an idle connection, and one whose client has gone is kept as long as an idle one. So here

- each connection is a shell that logs what goes wrong in it and lets nothing climb;
- a connection knows HTTP/1.1 only, and judges each head before it becomes a request (`strict_head`,
  `refusals`);
- one watchdog cuts, by closing the socket under them, connections whose head is not complete after
  `headers_s_max` and those that have not taken a byte for `write_stall_s_max`;
- at `stopping` the listeners close, idle connections close, requests in flight may end until
  `grace_s` has passed; then all that is left is cut. Cancelling does the same without grace.

The application is called for requests only: there is no lifespan. This is the only importer of
Hypercorn.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import h11
import msgspec
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import parse_socket_addr
from starlette.types import ASGIApp

from sagakeep import limits
from sagakeep.bind import Bind
from sagakeep.http.listeners import (
    Accepted,
    accept_from,
    addresses_of,
    close_listeners,
    open_listeners,
)
from sagakeep.http.problems import problem
from sagakeep.http.refusals import Refusal, refusal_of
from sagakeep.http.request_id import new_request_id, secure_headers
from sagakeep.http.strict_head import StrictConnection
from sagakeep.http.unread_body import read_to_end

_log: Final = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 64 << 10  # sent at once: a client that takes one is reading
_WATCH_S: Final = 1.0  # between two looks of the watchdog, at most
_NEWS_S_MAX: Final = 1.0  # for an application to take from its queue, when the reply is over
_REFUSE_S_MAX: Final = 0.5  # to tell a client that there are too many


class ServerLimits(msgspec.Struct, frozen=True):
    """The bounds of a server; a client is an IP address, and those of a Unix socket are not told."""

    connections_max: int = limits.CONNECTIONS_MAX
    connections_per_client_max: int = limits.CONNECTIONS_PER_CLIENT_MAX
    headers_s_max: float = limits.HEADERS_S_MAX
    write_stall_s_max: float = limits.WRITE_STALL_S_MAX
    idle_s_max: float = 75.0  # longer than the clients' own, so that they close first


async def serve_http(
    app: ASGIApp,
    bind: Bind,
    *,
    stopping: trio.Event,
    grace_s: float = limits.GRACE_S,
    server_limits: ServerLimits = ServerLimits(),  # noqa: B008 - frozen
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stopping` is set and what was in flight has ended or `grace_s` is over.

    Tells its addresses (`http://HOST:PORT`, `unix:PATH`) once it listens. Raises ConfigurationError
    when it cannot.
    """
    listeners = await open_listeners(bind)
    server = _Server(app, server_limits)
    async with trio.open_nursery() as connections:
        connections.start_soon(server.watch)
        try:
            admit = partial(server.admit, connections)
            await _accept_until(stopping, listeners, admit, task_status)
            await server.drain(grace_s)
        finally:
            server.cut_all()
            connections.cancel_scope.cancel()


async def _accept_until(
    stopping: trio.Event,
    listeners: list[trio.SocketListener],
    admit: Accepted,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    try:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(accept_from, listener, admit)
            task_status.started(addresses_of(listeners))
            await stopping.wait()
            accepting.cancel_scope.cancel()
    finally:
        close_listeners(listeners)


class _Server:
    """The connections that are open, and what they share."""

    def __init__(self, app: ASGIApp, server_limits: ServerLimits) -> None:
        self._app = ASGIWrapper(cast(ASGIFramework, read_to_end(app)))
        self._limits = server_limits
        self._config = _config(server_limits)
        self._context = WorkerContext(None)
        self._connections: set[_Connection] = set()
        self._clients: Counter[str] = Counter()
        self._emptied = trio.Event()

    async def admit(self, nursery: trio.Nursery, stream: trio.SocketStream) -> None:
        """Start a connection, or tell the client why not."""
        client = _client_of(stream)
        if len(self._connections) >= self._limits.connections_max:
            await _turn_away(stream, HTTPStatus.SERVICE_UNAVAILABLE)
        elif client and self._clients[client] >= self._limits.connections_per_client_max:
            await _turn_away(stream, HTTPStatus.TOO_MANY_REQUESTS)
        else:
            connection = _Connection(self._app, self._config, self._context, stream)
            self._connections.add(connection)
            self._clients[client] += 1
            nursery.start_soon(self._run, connection, client)

    async def _run(self, connection: _Connection, client: str) -> None:
        try:
            with connection.scope:
                await connection.run()
        except* Exception:
            _log.exception("the connection of %s failed", client or "a local client")
        finally:
            connection.cut()
            self._forget(connection, client)

    def _forget(self, connection: _Connection, client: str) -> None:
        self._connections.discard(connection)
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]
        if not self._connections:
            self._emptied.set()

    async def watch(self) -> None:
        """Cut, for ever, the connections whose client is too slow."""
        headers_s_max, write_s_max = self._limits.headers_s_max, self._limits.write_stall_s_max
        while True:
            await trio.sleep(min(_WATCH_S, headers_s_max / 4, write_s_max / 4))
            now_s = trio.current_time()
            for connection in self._connections:
                if connection.is_late(now_s - headers_s_max, now_s - write_s_max):
                    connection.cut()

    async def drain(self, grace_s: float) -> None:
        """Close what is idle and wait, at most so long, for what is not."""
        await self._context.terminated.set()
        self._emptied = trio.Event()
        with trio.move_on_after(grace_s):
            if self._connections:
                await self._emptied.wait()

    def cut_all(self) -> None:
        """Close every connection by force."""
        for connection in self._connections:
            connection.cut()


class _Connection(TCPServer):
    """One client. `sending_since_s` is when the bytes now being sent were begun, else None."""

    def __init__(
        self,
        app: ASGIWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
    ) -> None:
        super().__init__(app, config, context, {}, stream)  # type: ignore[arg-type]  # not TLS
        self._socket_stream = stream
        self._sending_since_s: float | None = None
        self._is_read = self._is_broken = False
        self.scope = trio.CancelScope()
        self._http = _Protocol(self)
        self.protocol = self._http  # type: ignore[assignment]  # never wrapped: it cannot switch

    async def run(self) -> None:
        """Serve requests until either side closes; as Hypercorn's, but for HTTP/1.1 alone."""
        try:
            async with TaskGroup() as tasks:
                self._http.task_group = self._task_group = tasks
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                self._is_read = True
                await self.idle_task.stop()  # it would hold a connection whose client has gone
        except OSError:
            pass
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Send, whole or not at all unless the connection is cut, and note since when."""
        if isinstance(event, Updated) and event.idle and self._is_read:
            await self._close()
            return
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.CancelScope(shield=True):
                    await self._send(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self._tell_broken()

    async def _tell_broken(self) -> None:
        """Tell the application that its client has gone; one that sends on does not look: end it."""
        if self._is_broken:
            self.cut()
        self._is_broken = True
        await self._http.handle(Closed())

    async def _send(self, data: bytes) -> None:
        try:
            for start in range(0, len(data), _CHUNK_BYTES):
                self._sending_since_s = trio.current_time()
                await self._socket_stream.send_all(data[start : start + _CHUNK_BYTES])
        finally:
            self._sending_since_s = None

    async def _close(self) -> None:
        """Close, when what is being sent is sent: the two may not overlap."""
        async with self.send_lock:
            await super()._close()

    def is_late(self, head_before_s: float, send_before_s: float) -> bool:
        """Tell whether a head, or bytes sent, were begun before these times and are not through."""
        head_s, send_s = self._http.head_since_s, self._sending_since_s
        return (head_s is not None and head_s < head_before_s) or (
            send_s is not None and send_s < send_before_s
        )

    def cut(self) -> None:
        """End it now: close the socket, for what is shielded, and cancel the rest. May be repeated."""
        self._socket_stream.socket.close()
        self.scope.cancel()


class _Protocol(H11Protocol):
    """HTTP/1.1 and nothing else.

    `head_since_s` is when a head was begun that is not complete, else None; the first one is due
    from the start.
    """

    def __init__(self, connection: _Connection) -> None:
        socket = connection._socket_stream.socket
        super().__init__(
            connection.app,
            connection.config,
            connection.context,
            TaskGroup(),  # replaced when the connection runs
            ConnectionState({}),
            False,
            parse_socket_addr(socket.family, _name_of(socket.getpeername)),
            parse_socket_addr(socket.family, _name_of(socket.getsockname)),
            connection.protocol_send,
        )
        self.connection = self._strict = StrictConnection()
        self.head_since_s: float | None = trio.current_time()
        self._cut = connection.cut
        self._is_head = False  # the request that is read, or was last

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if self.head_since_s is None and self.stream is None and self.connection.trailing_data[0]:
            self.head_since_s = trio.current_time()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Never leave HTTP/1.1, whatever the request asks for."""

    async def _create_stream(self, request: h11.Request) -> None:
        self.head_since_s = None
        self._is_head = request.method == b"HEAD"
        version = request.http_version
        refusal = refusal_of(request.method, request.target, version, request.headers)
        if refusal is None:
            await super()._create_stream(request)
        else:
            await self._answer(refusal)
            await self.send(Closed())

    async def _close_stream(self) -> None:
        """Tell the application that the client has gone; one that takes no more news is ended."""
        with trio.move_on_after(_NEWS_S_MAX) as telling:
            await super()._close_stream()
        if telling.cancelled_caught:
            self._cut()

    async def _send_error_response(self, status_code: int) -> None:
        status = HTTPStatus(status_code)
        await self._answer(self._strict.refusal or Refusal(status, "this is no HTTP/1.1 request"))

    async def _answer(self, refusal: Refusal) -> None:
        reply = problem(refusal.status, refusal.status.phrase, refusal.detail)
        fields = [*reply.raw_headers, (b"connection", b"close"), *secure_headers(new_request_id())]
        fields += self.config.response_headers("h11")
        has_body = self.connection.our_state is h11.IDLE or not self._is_head
        await self._send_h11_event(h11.Response(status_code=reply.status_code, headers=fields))
        if has_body:
            await self._send_h11_event(h11.Data(data=bytes(reply.body)))
        await self._send_h11_event(h11.EndOfMessage())


def _config(server_limits: ServerLimits) -> Config:
    config = Config()
    config.errorlog = _log
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = server_limits.idle_s_max
    config.keep_alive_max_requests = 1 << 62
    return config


def _name_of(name: Callable[[], Any]) -> Any:
    try:
        return name()
    except OSError:  # the client has gone already
        return None


def _client_of(stream: trio.SocketStream) -> str:
    """Return the client's IP address, `""` for one of a Unix socket or one that has gone."""
    name = _name_of(stream.socket.getpeername)
    return str(name[0]) if isinstance(name, tuple) else ""


async def _turn_away(stream: trio.SocketStream, status: HTTPStatus) -> None:
    """Answer as far as possible without a request; the client may have sent none yet."""
    detail = "there are as many connections as may be; use fewer, or come again"
    reply = problem(status, status.phrase, detail, headers={"Retry-After": "1"})
    fields = [*reply.raw_headers, (b"connection", b"close"), *secure_headers(new_request_id())]
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [b"%s: %s" % field for field in fields]
    with trio.move_on_after(_REFUSE_S_MAX), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(b"\r\n".join([*lines, b"", bytes(reply.body)]))
        await stream.send_eof()
    stream.socket.close()
