"""The sagas of the benches on Restate: the service, run by an environment that has the SDK and Hypercorn.

python bench/peers/restate_service.py        prints `listening on http://127.0.0.1:PORT`

A handler of two steps in this process, each journalled by the server; one in ten is refused at the second, and
its first is undone by a step more.
"""

from __future__ import annotations

import asyncio
import socket

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config


async def nothing() -> None:
    return None


async def refuse() -> None:
    raise restate.TerminalError("as asked")


async def order(context: restate.Context, is_refused: bool) -> str:
    await context.run_typed("reserve", nothing)
    try:
        await context.run_typed("charge", refuse if is_refused else nothing)
    except restate.TerminalError:
        await context.run_typed("undo", nothing)
        return "compensated"
    return "completed"


async def run() -> None:
    service = restate.Service("order")
    service.handler("run")(order)
    listening = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.errorlog = None
    print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    await serve(restate.app([service]), config)


if __name__ == "__main__":
    asyncio.run(run())
