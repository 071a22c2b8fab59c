from __future__ import annotations

import json
import os
import resource
import socket
import stat
import tracemalloc
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from fuzz.attacks import ATTACKS
from http_client import GET, Client, Reply, Server, open_server
from starlette.types import Receive, Scope, Send

from sagakeep import limits
from sagakeep.bind import Bind
from sagakeep.errors import ConfigurationError
from sagakeep.http.refusals import HEADERS_MAX, TARGET_BYTES_MAX
from sagakeep.http.server import ServerLimits, serve_http

OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
OK_BODY = {"type": "http.response.body", "body": b"ok"}


async def say_ok(scope: Scope, receive: Receive, send: Send) -> None:
    """Reply without having read the request."""
    await send(OK)
    await send(OK_BODY)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def pour(scope: Scope, receive: Receive, send: Send) -> None:
    """Send for ever, unless the path says otherwise; never look whether anybody is there."""
    if scope["path"] != "/pour":
        await say_ok(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


POUR = GET.replace(b"/ ", b"/pour ", 1)


class Gate:
    """An application that replies when it is let."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.opened = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        await self.opened.wait()
        await say_ok(scope, receive, send)


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def test_a_request_is_served_and_the_server_does_not_name_itself():
    async with open_server(say_ok) as server, server.open_client() as client:
        assert server.addresses[0].startswith("http://127.0.0.1:")
        reply = await client.ask(GET)
        assert (reply.status, reply.body) == (200, b"ok")
        assert "server" not in reply.headers


async def test_a_connection_serves_requests_one_after_another_and_pipelined():
    async with open_server(echo) as server, server.open_client() as client:
        for body in (b"one", b"two"):
            assert (await client.ask(post(body))).body == body
        await client.send(post(b"three") + post(b"four") + GET)
        assert [(await client.reply()).body for _ in range(3)] == [b"three", b"four", b""]


async def test_a_pipelined_head_in_pieces_is_served():
    async with open_server(echo) as server, server.open_client() as client:
        await client.send(post(b"one") + post(b"two")[:20])
        assert (await client.reply()).body == b"one"
        await client.send(post(b"two")[20:])
        assert (await client.reply()).body == b"two"


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_is_no_plain_request_is_refused_and_ends_nothing_else(attack: str):
    status, data = ATTACKS[attack]
    async with open_server(say_ok) as server:
        async with server.open_client() as client:
            reply = await client.ask(data)
            assert reply.status == status
            check_problem(reply)
            await client.wait_closed()
        assert await server.is_well()
        assert not server.ended.is_set()


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_after_a_good_request_is_refused_too(attack: str):
    status, data = ATTACKS[attack]
    async with open_server(echo) as server:
        async with server.open_client() as client:
            await client.send(post(b"good") + data)
            assert (await client.reply()).body == b"good"
            assert (await client.reply()).status == status
        assert await server.is_well()


@pytest.mark.parametrize(
    ("status", "rest"),
    [
        (501, b"Upgrade: h2c\r\n\r\n"),
        (400, b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
)
async def test_a_refusal_of_a_head_has_no_body(
    status: int, rest: bytes, caplog: pytest.LogCaptureFixture
):
    async with open_server(echo) as server, server.open_client() as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n" + rest)
        said = b""
        while data := await client.stream.receive_some():
            said += data
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert said.endswith(b"\r\n\r\n")
    assert caplog.records == []


async def test_a_head_at_the_limits_is_served():
    fields = b"X: y\r\n" * (HEADERS_MAX - 1)
    async with open_server(say_ok) as server, server.open_client() as client:
        assert (await client.ask(GET[:-2] + fields + b"\r\n")).status == 200
        assert (await client.ask(head_of(limits.HEADERS_BYTES_MAX))).status == 200
        target = b"/" + b"x" * (TARGET_BYTES_MAX - 1)
        assert (await client.ask(GET.replace(b"/ ", target + b" ", 1))).status == 200


def head_of(size: int) -> bytes:
    """A head of so many bytes, its last line included."""
    head = GET[:-2] + b"X: %s\r\n\r\n"
    return head % (b"x" * (size - len(head) + 2))


@pytest.mark.parametrize("piece", [1 << 20, 10_000])
async def test_a_head_of_one_byte_more_is_refused_whole_or_in_pieces(piece: int):
    head = head_of(limits.HEADERS_BYTES_MAX + 1)
    async with open_server(say_ok) as server, server.open_client() as client:
        await client.send(head[:piece])
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.send(head[piece:])
        assert (await client.reply()).status == 431


@pytest.mark.parametrize("rest", [b"\r\n", b"G", GET, b"\x00" * 70_000])
async def test_what_comes_after_the_last_request_is_nobodys(
    rest: bytes, caplog: pytest.LogCaptureFixture
):
    last = GET[:-2] + b"Connection: close\r\n\r\n"
    async with open_server(say_ok) as server:
        for _ in range(10):
            async with server.open_client() as client:
                assert (await client.ask(last + rest)).status == 200
                await client.wait_closed()
        assert await server.is_well()
    assert caplog.records == []


async def test_what_comes_after_the_last_request_takes_no_memory():
    gate = Gate()
    async with open_server(gate) as server, server.open_client() as client:
        await client.send(GET[:-2] + b"Connection: close\r\n\r\n")
        await gate.entered.wait()
        tracemalloc.start()
        try:
            for _ in range(100):
                await client.send(b"x" * 100_000)
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()
        gate.opened.set()
        assert (await client.reply()).status == 200


async def test_a_broken_body_ends_its_connection_only(caplog: pytest.LogCaptureFixture):
    async with open_server(echo) as server:
        async with server.open_client() as client:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            await client.send(head + b"zz\r\n")
            await client.wait_closed()
        assert await server.is_well()
    assert caplog.records == []


async def test_an_application_that_raises_ends_its_request_only():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await say_ok(scope, receive, send)
        raise ExceptionGroup("two", [ValueError(), KeyError()])

    async with open_server(app) as server:
        async with server.open_client() as client:
            assert (await client.ask(POUR)).status == 500
        assert await server.is_well()


async def test_a_client_that_resets_ends_its_connection_only():
    gate = Gate()
    async with open_server(gate) as server:
        async with server.open_client() as client:
            await client.send(GET)
            await gate.entered.wait()
            await client.reset()
        for _ in range(50):
            async with server.open_client() as client:
                await client.send(GET)
                await client.reset()
        gate.opened.set()
        assert await server.is_well()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", GET[:-2]])
async def test_a_head_that_does_not_come_is_cut(begun: bytes):
    async with open_server(say_ok, server_limits=ServerLimits(headers_s_max=0.1)) as server:
        async with server.open_client() as client:
            await client.send(begun)
            await client.wait_closed()
        assert await server.is_well()


async def test_a_head_that_drips_is_cut_after_a_good_request_too():
    async with (
        open_server(say_ok, server_limits=ServerLimits(headers_s_max=0.1)) as server,
        server.open_client() as client,
    ):
        assert (await client.ask(GET)).status == 200
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, client)
            await client.wait_closed()
            nursery.cancel_scope.cancel()


async def drip(client: Client) -> None:
    try:
        await client.send(b"GET / HTTP/1.1\r\n")
        while True:
            await client.send(b"X: y\r\n")
            await trio.sleep(0.02)
    except trio.BrokenResourceError:
        pass


async def test_an_idle_connection_outlives_the_deadline_of_a_head():
    options = {"server_limits": ServerLimits(headers_s_max=0.05, idle_s_max=5)}
    async with open_server(say_ok, **options) as server, server.open_client() as client:
        for _ in range(2):
            assert (await client.ask(GET)).status == 200
            await trio.sleep(0.2)


async def test_an_idle_connection_is_closed_in_the_end():
    options = {"server_limits": ServerLimits(idle_s_max=0.1)}
    async with open_server(say_ok, **options) as server, server.open_client() as client:
        assert (await client.ask(GET)).status == 200
        await client.wait_closed()


async def test_a_client_that_does_not_read_is_cut():
    options = {"server_limits": ServerLimits(write_stall_s_max=0.1), "grace_s": 5}
    async with open_server(pour, **options) as server, server.open_client() as client:
        await client.send(POUR)
        assert await client.stream.receive_some(100)
        server.stopping.set()
        with trio.fail_after(2):
            await server.ended.wait()


async def test_a_client_that_reads_slowly_is_not_cut():
    options = {"server_limits": ServerLimits(write_stall_s_max=0.3), "grace_s": 0}
    async with open_server(pour, **options) as server, server.open_client() as client:
        await client.send(POUR)
        for _ in range(20):
            assert await client.stream.receive_some(1 << 20)
            await trio.sleep(0.03)


async def test_an_application_that_never_looks_ends_when_its_client_has_gone():
    async with open_server(pour, grace_s=5) as server:
        async with server.open_client() as client:
            await client.send(POUR)
            assert await client.stream.receive_some(100)
        server.stopping.set()
        with trio.fail_after(2):
            await server.ended.wait()


async def test_at_the_stop_idle_connections_close_and_requests_in_flight_end():
    gate = Gate()
    async with (
        open_server(gate, grace_s=5) as server,
        server.open_client() as idle,
        server.open_client() as busy,
    ):
        await busy.send(GET)
        await gate.entered.wait()
        server.stopping.set()
        await idle.wait_closed()
        with pytest.raises(OSError, match="all attempts to connect"):
            await server.is_well()
        gate.opened.set()
        assert (await busy.reply()).body == b"ok"
        await busy.wait_closed()
        await server.ended.wait()


async def test_the_stop_waits_for_a_request_no_longer_than_its_grace():
    gate = Gate()
    async with open_server(gate, grace_s=0.1) as server, server.open_client() as client:
        await client.send(GET)
        await gate.entered.wait()
        server.stopping.set()
        await server.ended.wait()
        await client.wait_closed()


async def test_a_client_that_does_not_read_does_not_hold_up_the_stop():
    async with open_server(pour, grace_s=0.1) as server, server.open_client() as client:
        await client.send(POUR)
        assert await client.stream.receive_some(100)
        await trio.testing.wait_all_tasks_blocked(0.05)
        server.stopping.set()
        with trio.fail_after(2):
            await server.ended.wait()


async def test_a_client_that_does_not_read_does_not_hold_up_a_cancellation():
    serve = partial(serve_http, pour, Bind(port=0), stopping=trio.Event())
    with trio.fail_after(5):
        async with AsyncExitStack() as clients, trio.open_nursery() as nursery:
            server = Server(await nursery.start(serve), trio.Event())
            client = await clients.enter_async_context(server.open_client())
            await client.send(POUR)
            assert await client.stream.receive_some(100)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()


async def test_a_client_gets_no_more_connections_than_its_share():
    options = {"server_limits": ServerLimits(connections_per_client_max=2)}
    async with open_server(say_ok, **options) as server, server.open_client() as first:
        await first.ask(GET)
        async with server.open_client() as second, server.open_client() as third:
            await second.ask(GET)
            reply = await third.reply()
            assert (reply.status, reply.headers["retry-after"]) == (429, "1")
            check_problem(reply)
            await third.wait_closed()
            await second.stream.aclose()
            await wait_until_well(server)


async def test_all_clients_together_get_no_more_connections_than_there_are():
    options = {"server_limits": ServerLimits(connections_max=1)}
    async with open_server(say_ok, **options) as server:
        async with server.open_client() as first, server.open_client() as second:
            await first.ask(GET)
            reply = await second.reply()
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            check_problem(reply)
        await wait_until_well(server)


def check_problem(reply: Reply) -> None:
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert len(reply.headers["x-request-id"]) == 32
    assert json.loads(reply.body)["status"] == reply.status


async def wait_until_well(server: Server) -> None:
    """Wait until the server has noticed that a connection is gone."""
    while True:
        try:
            if await server.is_well():
                return
        except (EOFError, trio.BrokenResourceError):
            pass


async def test_a_reply_to_an_unread_body_arrives_and_the_connection_goes_on():
    async with open_server(say_ok) as server, server.open_client() as client:
        assert (await client.ask(post(b"x" * 2_000_000))).body == b"ok"
        assert (await client.ask(GET)).body == b"ok"


async def test_a_body_that_nobody_reads_does_not_hold_its_connection():
    async with open_server(say_ok, grace_s=5) as server, server.open_client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
        await send_until_cut(client)
        server.stopping.set()
        with trio.fail_after(2):
            await server.ended.wait()


async def test_an_application_that_fails_without_reading_does_not_hold_its_connection():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(OK)
        await trio.testing.wait_all_tasks_blocked(0.05)  # until its queue is full
        raise ValueError

    async with open_server(app, grace_s=8) as server, server.open_client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
        await send_until_cut(client)
        server.stopping.set()
        with trio.fail_after(4):
            await server.ended.wait()


async def send_until_cut(client: Client) -> None:
    try:
        while True:
            await client.send(b"x" * 65536)
    except trio.BrokenResourceError:
        pass


async def test_a_connection_whose_client_has_gone_is_not_kept():
    gate = Gate()
    options = {"server_limits": ServerLimits(connections_max=1)}
    async with open_server(gate, **options) as server:
        async with server.open_client() as client:
            await client.send(GET)
            await gate.entered.wait()
        gate.opened.set()
        await wait_until_well(server)


async def test_without_room_for_another_connection_the_server_waits_for_some(
    caplog: pytest.LogCaptureFixture,
):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with open_server(say_ok) as server:
        client = trio.socket.socket()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
            await client.connect(("127.0.0.1", int(server.addresses[0].rpartition(":")[2])))
            await client.send(GET)
            while "cannot accept connections" not in caplog.text:
                await trio.testing.wait_all_tasks_blocked(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await Client(trio.SocketStream(client)).reply()).status == 200
        client.close()


async def test_a_unix_socket_is_for_its_user_alone_and_is_removed(tmp_path: Path):
    path = tmp_path / "api.sock"
    async with open_server(say_ok, bind=Bind(path=str(path))) as server:
        assert server.addresses == [f"unix:{path}"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with await trio.open_unix_socket(path) as stream:
            assert (await Client(stream).ask(GET)).status == 200
    assert not path.exists()


async def test_a_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with open_server(say_ok, bind=Bind(path=str(path))), await trio.open_unix_socket(path):
        pass


async def test_a_unix_socket_in_use_and_a_file_are_not_replaced(tmp_path: Path):
    path = tmp_path / "api.sock"
    async with open_server(say_ok, bind=Bind(path=str(path))):
        with pytest.raises(ConfigurationError, match="another process"):
            await serve_http(say_ok, Bind(path=str(path)), stopping=trio.Event())
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="no socket"):
        await serve_http(say_ok, Bind(path=str(path)), stopping=trio.Event())
    assert path.read_text() == "mine"


async def test_an_address_in_use_is_a_configuration_error():
    async with open_server(say_ok) as server:
        port = int(server.addresses[0].rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
            await serve_http(say_ok, Bind(port=port), stopping=trio.Event())


async def test_no_descriptor_is_left_open():
    before = len(os.listdir("/proc/self/fd"))
    async with open_server(say_ok) as server:
        for _ in range(10):
            assert await server.is_well()
    assert len(os.listdir("/proc/self/fd")) <= before
