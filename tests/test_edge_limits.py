"""The limits of the edge as they are configured: each at the limit, and one beyond it, at a real process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import trio
from fuzz.server import Server, running_server
from http_client import Client, Reply

BODY_S_MAX = 1.5
LIMITS = {
    "connectionsMax": 6,
    "connectionsPerClientMax": 3,
    "headersSMax": 0.4,
    "bodySMax": BODY_S_MAX,
    "writeStallSMax": 0.4,
    "waitSMax": 0.3,
    "pageMax": 4,
    "bodyBytesMax": 3000,
    "batchBytesMax": 9000,
    "bodiesBytesMax": 9001,
    "batchSagasMax": 3,
    "stepsMax": 2,
    "retriesMax": 5,
    "timeoutSMax": 60.0,
    "tagsMax": 2,
    "tagCharsMax": 8,
}
JSON = "application/json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("limits") / "server", limits=LIMITS) as server:
        yield server
        server.check_rest()
        server.end()


async def connect(server: Server) -> Client:
    return Client(await trio.open_tcp_stream("127.0.0.1", server.port))


async def ask(server: Server, method: str, path: str, body: object = None, *fields: str) -> Reply:
    """Ask on a connection of its own, which is closed, and seen to be closed, before it returns."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
    lines += [f"Content-Type: {JSON}", f"Content-Length: {len(data)}"] if body is not None else []
    client = await connect(server)
    async with client.stream:
        reply = await client.ask("\r\n".join([*lines, "", ""]).encode() + data)
        await client.wait_closed()
    return reply


def step(at: int = 0, **more: object) -> dict[str, object]:
    return {"id": f"s{at}", "service": "inventory", "action": "reserve", **more}


def saga(*steps: dict[str, object], **more: object) -> dict[str, object]:
    return {"name": "limits", "steps": list(steps or [step()]), **more}


def padded(document: object, size: int) -> bytes:
    """A document of so many bytes."""
    return json.dumps(document).encode().ljust(size)


@pytest.mark.parametrize(
    ("taken", "refused"),
    [
        (saga(step(0), step(1)), saga(step(0), step(1), step(2))),
        (saga(step(maxRetries=5)), saga(step(maxRetries=6))),
        (saga(maxRetries=5), saga(maxRetries=6)),
        (saga(), saga(timeout=300)),  # the default is no more than what is allowed
        (saga(timeout=60), saga(timeout=60.001)),
        (saga(step(timeout=60)), saga(step(timeout=60.001))),
        (saga(tags={"a": "", "b": ""}), saga(tags={"a": "", "b": "", "c": ""})),
        (saga(tags={"k" * 8: "v" * 8}), saga(tags={"k" * 9: ""})),
        (saga(tags={"k": "v" * 8}), saga(tags={"k": "v" * 9})),
    ],
)
async def test_a_definition(server: Server, taken: object, refused: object) -> None:
    assert (await ask(server, "POST", "/api/sagas", taken)).status == 201
    assert (await ask(server, "POST", "/api/sagas", refused)).status == 422


async def test_a_body(server: Server) -> None:
    assert (await ask(server, "POST", "/api/sagas", padded(saga(), 3000))).status == 201
    assert (await ask(server, "POST", "/api/sagas", padded(saga(), 3001))).status == 413


async def test_a_batch(server: Server) -> None:
    path = "/api/sagas/batch"
    for body, status in (
        (padded([saga()], 9000), 200),
        (padded([saga()], 9001), 413),
        ([saga()] * 3, 200),
        ([saga()] * 4, 422),
    ):
        client = await connect(server)
        async with client.stream:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
            await client.send(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            said = await client.stream.receive_some()
        assert said.startswith(b"HTTP/1.1 %d " % status)


async def test_all_bodies_together(server: Server) -> None:
    head = (
        b"POST /api/sagas/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    )
    holding = await connect(server)
    async with holding.stream:
        await holding.send(head + b"Content-Length: 9000\r\n\r\n" + b" " * 8600)
        with trio.fail_after(BODY_S_MAX):  # until the server has read it
            while (await ask(server, "POST", "/api/sagas", padded(saga(), 402))).status != 503:
                pass
        assert (await ask(server, "POST", "/api/sagas", padded(saga(), 401))).status == 201


async def test_a_page(server: Server) -> None:
    for path in ("/api/sagas?limit=", "/api/sagas/s-1/events?limit="):
        if "events" in path:
            await ask(server, "POST", "/api/sagas", saga(id="s-1"))
        assert (await ask(server, "HEAD", f"{path}4")).status == 200
        assert (await ask(server, "GET", f"{path}5")).status == 422


async def test_a_wait(server: Server) -> None:
    waiting = saga(step(action="busy", maxRetries=5))
    for given, applied in (("0.3", "0.3"), ("0.31", "0.3")):
        began_s = time.monotonic()
        reply = await ask(server, "POST", "/api/sagas", waiting, f"Prefer: wait={given}")
        assert reply.headers["preference-applied"] == f"wait={applied}"
        assert 0.3 <= time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: local", b""),
        (
            b"POST /api/sagas HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5\r\n\r\n{",
            b"HTTP/1.1 408 ",
        ),
    ],
    ids=["head", "body"],
)
async def test_a_slow_client(server: Server, sent: bytes, said: bytes) -> None:
    client = await connect(server)
    async with client.stream:
        began_s = time.monotonic()
        await client.send(sent)
        heard = b""
        with trio.fail_after(10):
            while data := await client.stream.receive_some():
                heard += data
        assert heard.startswith(said)
        assert time.monotonic() - began_s >= 0.4


async def test_connections_of_one_client(server: Server) -> None:
    async with trio.open_nursery() as nursery:
        clients = [await connect(server) for _ in range(3)]
        for client in clients:
            assert (
                await client.ask(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            ).status == 200
        async with (await connect(server)).stream as stream:
            assert (await Client(stream).reply()).status == 429
        for client in clients:
            nursery.start_soon(client.stream.aclose)
