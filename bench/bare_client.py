"""The bound of `calls`: the same calls by the same client, and nothing else."""

from __future__ import annotations

import json
from typing import Final

import trio
from pyqwest import Headers, HTTPTransport, HTTPVersion, Request

from bench.benchmark import Progress
from bench.sagas import PAYLOAD, REFUSED_EVERY

BODY: Final = json.dumps(PAYLOAD).encode()
HEADERS: Final = [
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("user-agent", "sagakeep"),
    ("idempotency-key", "01a21c0a-4283-7020-97fb-7b2c099aad84/reserve/1"),
    ("saga-id", "01a21c0a-4283-7020-97fb-7b2c099aad84"),
    ("saga-name", "order"),
    ("saga-step", "reserve"),
    ("saga-attempt", "1"),
    ("saga-phase", "action"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
]


async def make_calls(url: str, sagas: int, at_once: int, progress: Progress) -> None:
    """Make the calls of so many sagas; raises when a service says anything else than it must."""
    transport = HTTPTransport(
        http_version=HTTPVersion.HTTP1,
        pool_max_idle_per_host=at_once,
        max_connections_per_address=at_once,
        enable_gzip=False,
        enable_brotli=False,
        enable_zstd=False,
        follow_redirects=False,
        enable_otel=False,
    )
    numbers = iter(range(sagas))

    async def call(action: str, status: int) -> None:
        request = Request("POST", f"{url}/{action}", Headers(HEADERS), BODY)
        async with await transport.execute(request) as response:
            async for _ in response.content:
                break  # of known length: its end is not asked for, as the product does not
        if response.status != status:
            raise AssertionError(f"{action}: expected {status}, got {response.status}")

    async def client() -> None:
        for number in numbers:
            await call("do", 200)
            if number % REFUSED_EVERY:
                await call("do", 200)
            else:
                await call("refuse", 422)
                await call("undo", 200)
            progress(1)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(client)
    finally:
        await transport.aclose()
