"""Dashboard: the files of `sagakeep/ui`, served as they are; there is no build step.

    /ui, /ui/sagas/ID ...        one page, which reads its address and asks the public API
    /ui/static/VERSION/FILE      its parts; VERSION is a digest of all of them, so each may be cached for ever

The files are read once, and what is served is looked up among them, so that no path leads anywhere else. None of
them is secret: they are served without a key, and the page asks for one when the API does. What the page may load
is said by a strict policy: from here, and nothing inline.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from sagakeep.http.auth import DASHBOARD
from sagakeep.http.requests import is_unchanged

_STATIC: Final = f"{DASHBOARD}/static/"
_READS: Final = frozenset({"GET", "HEAD"})
_MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class File(NamedTuple):
    """One file, as it is served."""

    body: bytes
    media_type: str
    etag: str


class Files(NamedTuple):
    """The page, and its parts by their paths below `/ui/static/`, VERSION included."""

    page: File
    parts: Mapping[str, File]


class Dashboard:
    """Answers for `/` and for everything below `/ui`."""

    def __init__(self) -> None:
        self._files = read_files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _READS:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        response = self._response(Request(scope))
        await response(scope, receive, send)

    def _response(self, request: Request) -> Response:
        path: str = request.scope["path"]
        if path == "/":
            return RedirectResponse(DASHBOARD, 307)
        if not path.startswith(_STATIC):
            return _reply(request, self._files.page, "no-cache")
        part = self._files.parts.get(path.removeprefix(_STATIC))
        if part is None:
            raise HTTPException(404)
        return _reply(request, part, _FOR_EVER)


def _reply(request: Request, file: File, caching: str) -> Response:
    headers = {**_HEADERS, "ETag": file.etag, "Cache-Control": caching}
    if is_unchanged(request, file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)


@functools.cache
def read_files() -> Files:
    """Read all files of the package, and put the version of them into the page."""
    bodies = {
        name: one.read_bytes() for name, one in _walk(resources.files("sagakeep").joinpath("ui"))
    }
    page = bodies.pop("index.html")
    digest = hashlib.sha256(page)
    for name in sorted(bodies):
        digest.update(name.encode() + b"\0" + bodies[name])
    version = digest.hexdigest()[:16]
    versioned = page.replace(_STATIC.encode(), f"{_STATIC}{version}/".encode())
    parts = {f"{version}/{name}": _file(name, body) for name, body in bodies.items()}
    return Files(_file("index.html", versioned), parts)


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for one in folder.iterdir():
        name = prefix + one.name
        if one.is_dir():
            yield from _walk(one, f"{name}/")
        elif _suffix(name) in _MEDIA_TYPES:
            yield name, one


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _file(name: str, body: bytes) -> File:
    return File(body, _MEDIA_TYPES[_suffix(name)], f'"{hashlib.sha256(body).hexdigest()[:24]}"')
