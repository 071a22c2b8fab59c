"""The server that is measured: `python -m sagakeep serve`, with the services of `bench.served` in its process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from bench.connection import Connection
from bench.processes import Running, open_python

SAGAS: Final = "/api/sagas"
POLL_S: Final = 0.01
CONFIGURATION: Final = """
[services.nothing]
python = "bench.served:nothing"
[services.away]
python = "bench.served:away"
breakerFailures = 0
rampCallsPerS = 0
[services.loop]
python = "bench.served:loop"
[log]
level = "warning"
"""


@asynccontextmanager
async def open_sagakeep(directory: str) -> AsyncIterator[Running]:
    """Run a server whose data and configuration are in a directory, at a free port."""
    path = trio.Path(directory, "sagakeep.toml")
    await path.write_text(CONFIGURATION)
    words = ["--config", str(path), "--data", f"{directory}/data", "--bind", "127.0.0.1:0"]
    async with open_python("-m", "sagakeep", "serve", *words) as server:
        yield server


async def finished(connection: Connection) -> int:
    """How many sagas are completed or compensated."""
    numbers = (await connection.get(f"{SAGAS}/stats")).json()
    return _whole(numbers, "completedSagas") + _whole(numbers, "compensatedSagas")


async def wait_finished(connection: Connection, sagas: int) -> None:
    """Wait until so many sagas are completed or compensated."""
    while await finished(connection) < sagas:  # noqa: ASYNC110 - another process's
        await trio.sleep(POLL_S)


async def do_at_loop(connection: Connection, action: str) -> dict[str, object]:
    """Call the service `loop` by a saga, and return the result."""
    step = {"id": "ask", "service": "loop", "action": action}
    body = msgspec.json.encode({"name": "loop", "steps": [step]})
    saga = (await connection.post(SAGAS, body)).json()
    status: object = None
    while status != "completed":
        await trio.sleep(POLL_S)
        saga = (await connection.get(f"{SAGAS}/{saga['id']}")).json()
        status = saga["status"]
        if status not in ("running", "pending", "completed"):
            raise AssertionError(f"the saga that looks at the loop: {saga}")
    steps = msgspec.convert(saga["steps"], list[dict[str, object]])
    return msgspec.convert(steps[0].get("result") or {}, dict[str, object])


def _whole(numbers: dict[str, object], name: str) -> int:
    return msgspec.convert(numbers[name], int)
