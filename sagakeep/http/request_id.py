"""Give every request an id, every reply its safe headers, and every bug a reply without a trace."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagakeep.http.problems import bug

HEADER: Final = b"x-request-id"
_SANE: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_log: Final = logging.getLogger(__name__)


def new_request_id() -> str:
    """Make an id that nobody can guess."""
    return secrets.token_hex(16)


def secure_headers(request_id: str) -> list[tuple[bytes, bytes]]:
    """List what every reply carries."""
    return [
        (HEADER, request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]


def with_request_id(app: ASGIApp) -> ASGIApp:
    """Wrap an application; its requests find the id in `scope["state"]["request_id"]`.

    A client's own X-Request-Id is kept when it is sane. An application's own Cache-Control is kept.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"this server has no {scope['type']}")
        request_id = _request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _completed(message, request_id)}
            await send(message)

        try:
            await app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception:  # a bug: logged once, told without its trace
            fields = {"saga": scope.get("path_params", {}).get("id", "")}
            text = "request %s: %s %s"
            _log.exception(text, request_id, scope["method"], scope["path"], extra=fields)
            if not started:  # else the reply is cut short, which its client can see
                await bug(scope["path"])(scope, receive, send_with_headers)

    return wrapped


def _request_id_of(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == HEADER]
    sane = len(given) == 1 and _SANE.fullmatch(given[0])
    return given[0].decode() if sane else new_request_id()


def _completed(message: Message, request_id: str) -> list[tuple[bytes, bytes]]:
    headers = MutableHeaders(raw=list(message.get("headers", [])))
    for name, value in secure_headers(request_id):
        headers.setdefault(name.decode(), value.decode())
    return headers.raw
