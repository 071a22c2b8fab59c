"""What every request passes before the application, outermost first.

    request id, safe headers, bugs     (request_id)
    Host                               here: a web page must not reach a loopback server by a name
                                       of its own (DNS rebinding)
    who                                (auth)
    body: bytes and time               (body_limit)

All of it is pure ASGI: nothing buffers, and a cancelled request is a cancelled application.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from sagakeep import limits
from sagakeep.http.auth import ApiKey, authenticate
from sagakeep.http.body_limit import limit_body
from sagakeep.http.problems import problem
from sagakeep.http.request_id import with_request_id

BATCH_PATH: Final = "/api/sagas/batch"
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@?#\s]+)(?::([0-9]+))?")


def edge(
    app: ASGIApp,
    *,
    hosts: Iterable[str] = (),
    keys: Sequence[ApiKey] = (),
    body_bytes_max: int = limits.BODY_BYTES_MAX,
    batch_bytes_max: int = limits.BATCH_BYTES_MAX,
    body_s_max: float = limits.BODY_S_MAX,
) -> ASGIApp:
    """Wrap the application in all of it.

    `hosts` are the names, besides the loopback's, that a request may be for: `name` with any port, or
    `name:port`. Without `keys` nobody is asked who they are.
    """
    limited = limit_body(
        app,
        bytes_max=body_bytes_max,
        batch_path=BATCH_PATH,
        batch_bytes_max=batch_bytes_max,
        seconds_max=body_s_max,
    )
    return with_request_id(check_host(authenticate(limited, keys), hosts))


def check_host(app: ASGIApp, hosts: Iterable[str]) -> ASGIApp:
    """Wrap an application: 421 for a request that is meant for another server."""
    allowed = _LOCAL_HOSTS | {host.lower() for host in hosts}

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if _is_for(allowed, scope):
            await app(scope, receive, send)
        else:
            detail = "Host names neither this server's address nor a configured host"
            reply = problem(421, "Misdirected request", detail, instance=scope["path"])
            await reply(scope, receive, send)

    return wrapped


def _is_for(allowed: frozenset[str], scope: Scope) -> bool:
    given = [value for name, value in scope["headers"] if name == b"host"]
    host = given[0].decode("latin-1").strip().lower() if len(given) == 1 else ""
    match = _HOST.fullmatch(host)
    return match is not None and (match[1] in allowed or host in allowed)
