"""The Restate server in a directory of its own, with the service of the benches registered."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from bench.connection import Connection, open_connections
from bench.processes import open_process
from bench.provenance import ROOT

ENDPOINT: Final = str(ROOT / "bench" / "peers" / "restate_service.py")
START_S_MAX: Final = 120.0
POLL_S: Final = 0.1
END_S_MAX: Final = 30.0


@asynccontextmanager
async def open_restate(server: str, python: str, directory: str) -> AsyncIterator[int]:
    """Run server and service; yields the port at which the sagas are asked for."""
    ingress, admin, node = _free_ports(3)
    environ = {
        **os.environ,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
    }
    command = [server, "--base-dir", f"{directory}/restate"]
    # The SDK takes SIGTERM from whoever serves it, and then nobody ends the process. It keeps nothing.
    async with open_process([python, ENDPOINT], signal.SIGKILL) as service:
        process = await trio.lowlevel.open_process(
            command,
            env=environ,
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with trio.fail_after(START_S_MAX):
                await _register(admin, f"http://127.0.0.1:{service.port}")
                await _wait_served(ingress)
            yield ingress
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)


async def _register(admin: int, uri: str) -> None:
    body = msgspec.json.encode({"uri": uri})
    while True:
        try:
            async with open_connections(admin, 1) as (connection,):
                if (await connection.ask("POST", "/deployments", body)).status in (200, 201):
                    return
        except (OSError, EOFError):
            pass  # it is not up yet
        await trio.sleep(POLL_S)


async def _wait_served(ingress: int) -> None:
    while True:
        try:
            async with open_connections(ingress, 1) as (connection,):
                if (await connection.ask("POST", "/order/run", b"false")).status == 200:
                    return
        except (OSError, EOFError):
            pass
        await trio.sleep(POLL_S)


async def run_order(connection: Connection, is_refused: bool) -> str:
    """Ask for a saga, and wait for its end."""
    answer = await connection.post("/order/run", b"true" if is_refused else b"false", expect=200)
    return msgspec.json.decode(answer.body, type=str)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(END_S_MAX):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
