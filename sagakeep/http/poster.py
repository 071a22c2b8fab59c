"""Post an event to a URL: one request, one status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio
from pyqwest import Headers, ReadError, RemoteProtocolError, Request, WriteError

from sagakeep.http.caller import CONNECT_S_MAX, reason_of, transport_for
from sagakeep.webhook import Posted

POST_S_MAX: Final = 15.0  # a receiver that is well takes an event at once, and works on it later
CONNECTIONS_MAX: Final = 20  # more than a webhook makes at a time


class HttpPoster:
    """The way to one URL; what the receiver says is not read."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport = transport_for(url, CONNECTIONS_MAX, CONNECT_S_MAX)

    async def post(self, headers: Mapping[str, str], body: bytes) -> Posted:
        """Send one event; what goes wrong is told."""
        request = Request("POST", self._url, Headers(headers.items()), body)
        try:
            with trio.move_on_after(POST_S_MAX):
                async with await self._transport.execute(request) as response:
                    return Posted(response.status)
            return Posted(0, f"no reply within {POST_S_MAX:g} s")
        except (OSError, ReadError, WriteError, RemoteProtocolError, RuntimeError) as error:
            return Posted(0, f"no connection: {reason_of(error)}")

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._transport.aclose()
