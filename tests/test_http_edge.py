from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing
from http_client import Client, Reply, open_server
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sagakeep.errors import JournalBroken, JournalCorrupt, SagaNotFound
from sagakeep.http.edge import edge
from sagakeep.http.problems import EXCEPTION_HANDLERS

BODY_BYTES_MAX = 1000
BATCH_BYTES_MAX = 3000


async def size(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


async def crash(request: Request) -> Response:
    raise ZeroDivisionError("the secret is 42")


async def missing(request: Request) -> Response:
    raise SagaNotFound("s-1")


async def broken(request: Request) -> Response:
    raise JournalBroken("/var/lib/secret: fsync failed")


async def corrupt(request: Request) -> Response:
    raise JournalCorrupt("/var/lib/secret", 7, "wrong")


async def cached(request: Request) -> Response:
    return Response("x", headers={"Cache-Control": "max-age=60"})


def routes() -> Starlette:
    return Starlette(
        routes=[
            Route("/", size, methods=["GET", "POST"]),
            Route("/api/sagas/batch", size, methods=["POST", "PUT"]),
            Route("/crash", crash),
            Route("/missing", missing),
            Route("/broken", broken),
            Route("/corrupt", corrupt),
            Route("/cached", cached),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )


def edged(app: ASGIApp | None = None, **options: object) -> ASGIApp:
    bounds = {"body_bytes_max": BODY_BYTES_MAX, "batch_bytes_max": BATCH_BYTES_MAX}
    return edge(app or routes(), **(bounds | options))


def request(path: str = "/", method: str = "GET", body: bytes | None = None, *fields: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *fields]
    if not any(field.lower().startswith("host:") for field in fields):
        lines.append("Host: localhost")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    head = request("/", "POST", None, "Transfer-Encoding: chunked")
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + (b"0\r\n\r\n" if end else b"")


async def ask(data: bytes, app: ASGIApp | None = None, **options: object) -> Reply:
    async with open_server(edged(app, **options)) as server, server.open_client() as client:
        return await client.ask(data)


def document(reply: Reply) -> dict[str, object]:
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-request-id"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    found = json.loads(reply.body)
    assert found["status"] == reply.status
    assert {"type", "title", "detail"} <= set(found)
    return found


async def test_every_reply_has_an_id_and_safe_headers():
    reply = await ask(request())
    assert (reply.status, json.loads(reply.body)) == (200, {"bytes": 0})
    assert len(reply.headers["x-request-id"]) == 32
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


async def test_two_requests_have_two_ids():
    async with open_server(edged()) as server, server.open_client() as client:
        ids = {(await client.ask(request())).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


async def test_a_sane_id_of_the_client_is_kept():
    reply = await ask(request("/", "GET", None, "X-Request-Id: web-1:a.b_c"))
    assert reply.headers["x-request-id"] == "web-1:a.b_c"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a,b", "1\r\nX-Request-Id: 2"])
async def test_any_other_id_of_the_client_is_replaced(given: str):
    reply = await ask(request("/", "GET", None, f"X-Request-Id: {given}"))
    assert len(reply.headers["x-request-id"]) == 32


async def test_the_application_may_say_how_long_its_reply_keeps():
    assert (await ask(request("/cached"))).headers["cache-control"] == "max-age=60"


async def test_a_bug_is_told_without_its_trace_and_logged_once(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        reply = await ask(request("/crash", "GET", None, "X-Request-Id: r-1"))
    assert document(reply)["title"] == "Internal error"
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert b"Zero" not in reply.body
    assert [record.getMessage() for record in caplog.records] == ["request r-1: GET /crash"]
    assert caplog.records[0].exc_info is not None


async def test_a_bug_of_an_application_that_is_not_starlette_is_told_too():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ExceptionGroup("two", [ValueError(), KeyError()])

    assert document(await ask(request(), app=app))["status"] == 500


async def test_a_bug_in_the_middle_of_a_reply_cuts_it_short(caplog: pytest.LogCaptureFixture):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise ValueError

    async with open_server(edged(app)) as server, server.open_client() as client:
        await client.send(request())
        said = b""
        while data := await client.stream.receive_some():
            said += data
    assert b"begun" in said
    assert not said.endswith(b"0\r\n\r\n")
    assert len(caplog.records) == 1


async def test_an_error_of_ours_is_told_by_the_table():
    found = document(await ask(request("/missing")))
    assert (found["status"], found["instance"]) == (404, "/missing")
    assert found["detail"] == "there is no saga 's-1'"


async def test_an_error_that_is_for_operators_is_told_as_a_bug():
    reply = await ask(request("/corrupt"))
    assert document(reply)["status"] == 500
    assert b"secret" not in reply.body


async def test_an_error_that_ends_the_server_is_told_without_the_names_of_its_files():
    reply = await ask(request("/broken"))
    assert (document(reply)["status"], reply.headers["retry-after"]) == (503, "5")
    assert b"secret" not in reply.body


async def test_a_path_and_a_method_that_are_not_there_have_the_same_shape():
    assert document(await ask(request("/nowhere")))["status"] == 404
    reply = await ask(request("/", "DELETE"))
    assert document(reply)["status"] == 405
    assert {word.strip() for word in reply.headers["allow"].split(",")} == {"GET", "HEAD", "POST"}


async def test_a_client_that_leaves_in_its_body_leaves_no_trace(caplog: pytest.LogCaptureFixture):
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Request(scope, receive).body()
        except ClientDisconnect:
            ended.set()
            raise

    async with open_server(edged(app)) as server:
        async with server.open_client() as client:
            await client.send(request("/", "POST", b"x" * 100)[:-50])
            await trio.testing.wait_all_tasks_blocked(0.05)
        await ended.wait()
    assert caplog.records == []


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "sagas.example",
        "sagas.example:9",
        "other.example:8080",
    ],
)
async def test_a_host_of_ours_is_served(host: str):
    hosts = ["Sagas.example", "other.example:8080"]
    assert (await ask(request("/", "GET", None, f"Host: {host}"), hosts=hosts)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "other.example:81",
        "other.example",
        "localhost:x",
        "localhost:123456",
        "localhost:",
        "a@localhost",
        "localhost/",
        "[::1",
        "127.0.0.2",
        "::1",
    ],
)
async def test_a_host_of_somebody_else_is_misdirected(host: str):
    data = request("/", "GET", None, f"Host: {host}")
    assert document(await ask(data, hosts=["other.example:8080"]))["status"] == 421


async def test_a_request_without_a_host_is_misdirected():
    assert document(await ask(b"GET / HTTP/1.0\r\n\r\n"))["status"] == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:81",
        "https://other.example",
        "localhost",
        "",
    ],
)
@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "other.example:8080"])
async def test_a_page_of_another_site_changes_nothing(origin: str, host: str):
    fields = (f"Host: {host}", f"Origin: {origin}")
    app, hosts = routes(), ["other.example:8080"]
    found = document(await ask(request("/", "POST", b"", *fields), app=app, hosts=hosts))
    assert (found["status"], found["title"]) == (403, "Foreign origin")
    assert (await ask(request("/", "GET", None, *fields), hosts=hosts)).status == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("LocalHost:8080", "http://localhost:8080"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("127.0.0.1:8080", "https://sagas.example"),
        ("sagas.example", "https://sagas.example:444"),
    ],
)
async def test_a_page_of_the_same_site_or_of_a_configured_host_is_served(host: str, origin: str):
    fields = (f"Host: {host}", f"Origin: {origin}")
    assert (await ask(request("/", "POST", b"", *fields), hosts=["sagas.example"])).status == 200


async def test_two_origins_are_none_of_ours():
    fields = ("Origin: http://localhost", "Origin: http://evil.example")
    assert document(await ask(request("/", "POST", b"", *fields)))["status"] == 403


@pytest.mark.parametrize(
    ("path", "method", "bytes_max"),
    [
        ("/", "POST", BODY_BYTES_MAX),
        ("/api/sagas/batch", "POST", BATCH_BYTES_MAX),
        ("/api/sagas/batch", "PUT", BODY_BYTES_MAX),
    ],
)
async def test_a_body_at_its_limit_is_read_and_one_beyond_is_not(
    path: str, method: str, bytes_max: int
):
    longest = b"x" * bytes_max
    reply = await ask(request(path, method, longest))
    assert json.loads(reply.body) == {"bytes": bytes_max}
    found = document(await ask(request(path, method, longest + b"x")))
    assert (found["status"], found["instance"]) == (413, path)
    assert str(bytes_max) in str(found["detail"])


async def test_a_body_is_refused_for_its_length_before_it_is_sent():
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n"
    assert document(await ask(head))["status"] == 413


async def test_a_body_of_untold_length_is_refused_while_it_streams():
    half = b"x" * (BODY_BYTES_MAX // 2)
    assert json.loads((await ask(chunked(half, half))).body) == {"bytes": BODY_BYTES_MAX}
    assert document(await ask(chunked(half, half, b"x", end=False)))["status"] == 413


async def test_a_refused_body_is_told_even_by_an_application_that_is_not_starlette():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    reply = await ask(chunked(b"x" * 2000, end=False), app=app)
    assert document(reply)["status"] == 413


async def test_all_bodies_together_have_a_bound_and_one_that_is_through_makes_room():
    options = {"body_bytes_max": 1000, "bodies_bytes_max": 1500}
    async with open_server(edged(**options)) as server, AsyncExitStack() as clients:
        first, second = [await clients.enter_async_context(server.open_client()) for _ in range(2)]
        await first.send(request("/", "POST", b"x" * 1000)[:-1])
        await trio.testing.wait_all_tasks_blocked(0.05)
        await second.send(request("/", "POST", b"y" * 502))
        reply = await second.reply()
        assert (document(reply)["status"], reply.headers["retry-after"]) == (503, "1")
        assert reply.headers["connection"] == "close"
        third = await clients.enter_async_context(server.open_client())
        assert json.loads((await third.ask(request("/", "POST", b"y" * 501))).body) == {
            "bytes": 501
        }
        await trio.testing.wait_all_tasks_blocked(0.05)
        await first.send(b"x")
        assert json.loads((await first.reply()).body) == {"bytes": 1000}
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert (await third.ask(request("/", "POST", b"z" * 1000))).status == 200


async def test_a_client_that_leaves_gives_its_room_back():
    options = {"body_bytes_max": 1000, "bodies_bytes_max": 1000}
    async with open_server(edged(**options)) as server:
        for _ in range(3):
            async with server.open_client() as client:
                await client.send(request("/", "POST", b"x" * 1000)[:-1])
                await trio.testing.wait_all_tasks_blocked(0.05)
        async with server.open_client() as client:
            assert (await client.ask(request("/", "POST", b"x" * 1000))).status == 200


async def test_a_body_that_does_not_come_in_time_is_refused():
    data = request("/", "POST", b"x" * 100)[:-1]
    assert document(await ask(data, body_s_max=0.1))["status"] == 408


async def test_a_body_that_drips_is_refused_in_time_and_others_are_served():
    async with open_server(edged(body_s_max=0.15)) as server:
        async with server.open_client() as client, trio.open_nursery() as nursery:
            await client.send(request("/", "POST", b"x" * 500)[:-500])
            nursery.start_soon(drip, client)
            assert document(await client.reply())["status"] == 408
            nursery.cancel_scope.cancel()
        assert await server.is_well()


async def drip(client: Client) -> None:
    try:
        while True:
            await client.send(b"x")
            await trio.sleep(0.02)
    except trio.BrokenResourceError:
        pass


async def test_an_application_may_take_longer_than_a_body():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(0.2)
        body = await Request(scope, receive).body()
        with trio.move_on_after(0.2):
            await receive()
        await JSONResponse({"bytes": len(body)})(scope, receive, send)

    reply = await ask(request("/", "POST", b"xyz"), app=app, body_s_max=0.1)
    assert json.loads(reply.body) == {"bytes": 3}


async def test_a_websocket_scope_is_a_bug_of_the_server():
    with pytest.raises(NotImplementedError):
        await edged()({"type": "websocket"}, _never, _never)


async def _never(*_: object) -> None:
    raise AssertionError
