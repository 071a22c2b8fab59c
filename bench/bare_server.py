"""The bound of `http`: Hypercorn and Starlette with nothing behind them, on trio, in a process of its own.

python -m bench.bare_server        prints `listening on http://127.0.0.1:PORT`

`POST` reads the body, parses it and answers 201 with a small document: the least that such a server does.
"""

from __future__ import annotations

import json

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sagakeep.runtime.collector import turn_collector_off


async def create(request: Request) -> JSONResponse:
    document = json.loads(await request.body())
    return JSONResponse({"id": "1", "name": document["name"]}, 201)


async def run() -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.keep_alive_max_requests = 1 << 62
    app: ASGIFramework = Starlette(routes=[Route("/api/sagas", create, methods=["POST"])])  # type: ignore[assignment]  # the same in other words
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(serve, app, config)
        turn_collector_off()
        print("listening on", addresses[0], flush=True)


if __name__ == "__main__":
    trio.run(run)
