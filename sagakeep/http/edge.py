"""What every request passes before the application, outermost first.

    request id, safe headers, bugs     (request_id)
    Host                               here: a web page must not reach a loopback server by a name
                                       of its own (DNS rebinding)
    Origin                             here, too: nor change anything by the right name, with what a
                                       browser sends without asking (a POST that has no body)
    who                                (auth)
    body: bytes and time, of all, too  (body_limit)

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
_READS: Final = frozenset({"GET", "HEAD"})
_ORIGIN: Final = re.compile(r"https?://(.+)")
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@?#\s]+)(?::([0-9]{1,5}))?")


def edge(
    app: ASGIApp,
    *,
    hosts: Iterable[str] = (),
    keys: Sequence[ApiKey] = (),
    body_bytes_max: int = limits.BODY_BYTES_MAX,
    batch_bytes_max: int = limits.BATCH_BYTES_MAX,
    bodies_bytes_max: int = limits.BODIES_BYTES_MAX,
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
        all_bytes_max=bodies_bytes_max,
        seconds_max=body_s_max,
    )
    known = frozenset(host.lower() for host in hosts)
    return with_request_id(
        check_host(check_origin(authenticate(limited, keys), known), _LOCAL_HOSTS | known)
    )


def check_host(app: ASGIApp, allowed: frozenset[str]) -> ASGIApp:
    """Wrap an application: 421 for a request that is meant for another server."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if _is_of(allowed, _only(scope, b"host") or ""):
            await app(scope, receive, send)
        else:
            detail = "Host names neither this server's address nor a configured host"
            reply = problem(421, "Misdirected request", detail, instance=scope["path"])
            await reply(scope, receive, send)

    return wrapped


def check_origin(app: ASGIApp, allowed: frozenset[str]) -> ASGIApp:
    """Wrap an application: 403 for a change that a page of another site asks for.

    Such a page cannot read a reply, so what only reads is served. Programs send no Origin.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        origin = _only(scope, b"origin")
        if scope["method"] in _READS or origin is None or _is_ours(allowed, origin, scope):
            await app(scope, receive, send)
        else:
            detail = "Origin is neither this server nor a configured host"
            reply = problem(403, "Foreign origin", detail, instance=scope["path"])
            await reply(scope, receive, send)

    return wrapped


def _is_ours(allowed: frozenset[str], origin: str, scope: Scope) -> bool:
    match = _ORIGIN.fullmatch(origin)
    return match is not None and (match[1] == _only(scope, b"host") or _is_of(allowed, match[1]))


def _is_of(allowed: frozenset[str], host: str) -> bool:
    """Tell whether `NAME` or `NAME:PORT` is allowed with any port, or with this one."""
    match = _HOST.fullmatch(host)
    return match is not None and (match[1] in allowed or host in allowed)


def _only(scope: Scope, name: bytes) -> str | None:
    """Return a header in lower case, "" when it is there more than once, None when it is not."""
    given = [value for field, value in scope["headers"] if field == name]
    if not given:
        return None
    return given[0].decode("latin-1").strip().lower() if len(given) == 1 else ""
