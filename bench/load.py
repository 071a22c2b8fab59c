"""The client's side: what is sent to a server, at full speed, at a pace, or one after the other to time it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import msgspec
import trio

from bench.benchmark import Progress
from bench.connection import Connection
from bench.sagas import REFUSED_EVERY, make_document, make_waiting
from bench.server import SAGAS

BATCHES: Final = f"{SAGAS}/batch"
BATCH: Final = 500

_encode: Final = msgspec.json.encode
_GOOD: Final = make_document("nothing")
_BAD: Final = make_document("nothing", "refuse")
_AWAY: Final = make_waiting("away")
_GOOD_BODY, _BAD_BODY, _AWAY_BODY = _encode(_GOOD), _encode(_BAD), _encode(_AWAY)


async def post_sagas(connections: Sequence[Connection], sagas: int, progress: Progress) -> None:
    """POST so many, one after the other on each connection; one in ten will be refused and compensated."""
    numbers = iter(range(sagas))

    async def client(connection: Connection) -> None:
        for number in numbers:
            await connection.post(SAGAS, _GOOD_BODY if number % REFUSED_EVERY else _BAD_BODY)
            progress(1)

    await on_each(connections, client)


async def post_batches(connections: Sequence[Connection], sagas: int, progress: Progress) -> None:
    """The same in batches of BATCH."""
    documents = [_GOOD if number % REFUSED_EVERY else _BAD for number in range(sagas)]
    await _post_documents(connections, documents, progress)


async def park_sagas(
    connections: Sequence[Connection], sagas: int, progress: Progress
) -> list[str]:
    """POST so many, in batches, whose service is away; returns their ids."""
    return await _post_documents(connections, [_AWAY] * sagas, progress)


async def _post_documents(
    connections: Sequence[Connection], documents: Sequence[dict[str, object]], progress: Progress
) -> list[str]:
    ids: list[str] = []
    batches = (documents[at : at + BATCH] for at in range(0, len(documents), BATCH))

    async def client(connection: Connection) -> None:
        for batch in batches:
            answer = await connection.post(BATCHES, _encode(batch), expect=200)
            ids.extend(_ids_of(answer.body))
            progress(len(batch))

    await on_each(connections, client)
    return ids


class _Saga(msgspec.Struct):
    id: str


class _Entry(msgspec.Struct):
    saga: _Saga


class _Results(msgspec.Struct):
    results: list[_Entry]


def _ids_of(body: bytes) -> Iterator[str]:
    """Raises when an entry was refused."""
    return (entry.saga.id for entry in msgspec.json.decode(body, type=_Results).results)


async def post_at_pace(connections: Sequence[Connection], posts_per_s: float) -> None:
    """POST sagas that run to their end, for ever, spread evenly over time and connections."""
    period_s = len(connections) / posts_per_s

    async def client(connection: Connection) -> None:
        due_s = trio.current_time()
        while True:
            due_s += period_s
            await trio.sleep_until(due_s)
            await connection.post(SAGAS, _GOOD_BODY)

    await on_each(connections, client)


async def time_operations(
    connection: Connection, waiting: Sequence[str], progress: Progress
) -> dict[str, list[float]]:
    """Time, for each saga that waits: POST of another, GET of it, a page of the list, and its compensation."""
    operations: dict[str, Callable[[str], Awaitable[object]]] = {
        "post": lambda _: connection.post(SAGAS, _AWAY_BODY),
        "get": lambda saga_id: connection.get(f"{SAGAS}/{saga_id}"),
        "list": lambda _: connection.get(f"{SAGAS}?limit=50"),
        "compensate": lambda saga_id: connection.put(f"{SAGAS}/{saga_id}/compensate", b"{}"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in operations}
    for saga_id in waiting:
        for name, operation in operations.items():
            seconds[name].append(await seconds_of(operation(saga_id)))
        progress(1)
    return seconds


async def seconds_of(doing: Awaitable[object]) -> float:
    """Wait for it; return how long that took."""
    began_s = time.perf_counter()
    await doing
    return time.perf_counter() - began_s


async def on_each(
    connections: Sequence[Connection], client: Callable[[Connection], Awaitable[None]]
) -> None:
    async with trio.open_nursery() as nursery:
        for connection in connections:
            nursery.start_soon(client, connection)
